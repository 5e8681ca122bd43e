//go:build linux && amd64

package faults

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"unsafe"

	"nosa/compute/cuda/driver"
)

// boxArgs is the struct of faults.cu.
type boxArgs struct {
	from, to               driver.TensorMap
	column, row, bytes, at int32
}

const boxShared = 4 << 10

func (g *gpu) box(name string, a boxArgs) error {
	f, err := g.Function(g.module, "fault_"+name)
	if err != nil {
		g.t.Fatal(err)
	}
	one := driver.Dim{X: 1, Y: 1, Z: 1}
	g.Launch(f, one, driver.Dim{X: 32, Y: 1, Z: 1}, boxShared, g.stream, unsafe.Slice((*byte)(unsafe.Pointer(&a)), unsafe.Sizeof(a)))
	return errors.Join(g.Err(), g.Synchronize(g.stream))
}

func (g *gpu) tensorMap(m driver.Matrix) driver.TensorMap {
	t, err := g.EncodeTensorMap(m)
	if err != nil {
		g.t.Fatal(err)
	}
	return t
}

// numbered is a matrix of bf16 that has its elements' numbers, from 1, on the GPU.
func (g *gpu) numbered(rows, columns int) uintptr {
	data := make([]byte, 2*rows*columns)
	for i := range rows * columns {
		binary.LittleEndian.PutUint16(data[2*i:], uint16(i+1))
	}
	return g.upload(data)
}

// TestBoxes: a box arrives with zeros where the matrix has ended, leaves again without what lies
// outside of where it goes to, and touches nothing else.
func TestBoxes(t *testing.T) {
	g := open(t)
	const rows, columns = 11, 72
	from := g.numbered(rows, columns)
	for _, at := range [][2]int32{{0, 0}, {3, 0}, {6, 0}, {0, 16}, {5, 24}, {-3, -8}, {100, 0}} { // row, column
		const wide = 80 // of the other matrix
		to := g.upload(make([]byte, 2*(rows+4)*wide))
		a := boxArgs{row: at[0], column: at[1], bytes: 1024,
			from: g.tensorMap(driver.Matrix{Addr: from, Rows: rows, Columns: columns, BoxRows: 8, BoxColumns: 64}),
			to:   g.tensorMap(driver.Matrix{Addr: to, Rows: rows + 4, Columns: wide, BoxRows: 8, BoxColumns: 64})}
		if err := g.box("box", a); err != nil {
			t.Fatal(err)
		}
		got := g.words(to, (rows+4)*wide/2)
		for i := range (rows + 4) * wide {
			r, c := i/wide, i%wide
			var want uint16
			if r >= int(at[0]) && r < int(at[0])+8 && c >= int(at[1]) && c < int(at[1])+64 && r < rows && c < columns {
				want = uint16(r*columns + c + 1)
			}
			if v := uint16(got[i/2] >> (16 * (i % 2))); v != want {
				t.Fatalf("box at %d: element %d, %d is %d, want %d", at, r, c, v, want)
			}
		}
	}
}

// TestBoxFaults: bytes that were not announced, or not as many; places that are not whole lines; no
// map; a store that nobody waits for.
func TestBoxFaults(t *testing.T) {
	for name, c := range map[string]struct {
		kernel string
		change func(*boxArgs)
		want   string
	}{
		"too few announced":  {"box", func(a *boxArgs) { a.bytes = 512 }, "its threads wait for each other"},
		"too many announced": {"box", func(a *boxArgs) { a.bytes = 2048 }, "its threads wait for each other"},
		"place":              {"box", func(a *boxArgs) { a.at = 64 }, "is not a multiple of 128"},
		"no map":             {"box", func(a *boxArgs) { a.from = driver.TensorMap{} }, "there is no tensor map"},
		"left":               {"box_left", func(*boxArgs) {}, "1 stores of boxes are not waited for"},
	} {
		t.Run(name, func(t *testing.T) {
			g := open(t)
			m := g.tensorMap(driver.Matrix{Addr: g.numbered(8, 64), Rows: 8, Columns: 64, BoxRows: 8, BoxColumns: 64})
			a := boxArgs{from: m, to: m, bytes: 1024}
			c.change(&a)
			if err := g.box(c.kernel, a); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error lacks %q: %v", c.want, err)
			}
		})
	}
}

// TestTensorMaps: what no map can be of.
func TestTensorMaps(t *testing.T) {
	g := open(t)
	p := g.alloc(1 << 12)
	right := driver.Matrix{Addr: p, Rows: 8, Columns: 64, BoxRows: 8, BoxColumns: 64}
	g.tensorMap(right)
	for want, change := range map[string]func(*driver.Matrix){
		"is not a multiple of 16": func(m *driver.Matrix) { m.Addr += 8 },
		"a stride of 122 bytes":   func(m *driver.Matrix) { m.Columns = 61 },
		"a size of 0":             func(m *driver.Matrix) { m.Rows = 0 },
		"a box of 257":            func(m *driver.Matrix) { m.BoxRows = 257 },
		"a box's line of 256":     func(m *driver.Matrix) { m.BoxColumns = 128 },
	} {
		m := right
		change(&m)
		if _, err := g.EncodeTensorMap(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", m, err, want)
		}
	}
}
