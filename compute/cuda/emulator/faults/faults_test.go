//go:build linux && amd64

package faults

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// args is the struct of faults.cu.
type args struct {
	out, in uintptr
	n, _    int32
}

// gpu is a context of the emulator, with its kernels.
type gpu struct {
	*driver.Context
	t      *testing.T
	stream driver.Stream
	module driver.Module
}

func open(t *testing.T) *gpu {
	t.Helper()
	d, err := driver.Load()
	if errors.Is(err, driver.ErrNoDriver) {
		t.Skipf("needs the emulator of scripts/cuda/emulate: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if p, err := d.Properties(0); err != nil || p.Name != "emulated GPU" {
		t.Skipf("needs the emulator of scripts/cuda/emulate: this is %s, %v", p.Name, err)
	}
	c, err := d.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	// A fatbin's header alone: the emulator has the kernels itself.
	image := make([]byte, 16)
	binary.LittleEndian.PutUint32(image, 0xba55ed50)
	binary.LittleEndian.PutUint16(image[6:], 16)
	g := &gpu{Context: c, t: t}
	if g.module, err = c.LoadModule(image); err != nil {
		t.Fatal(err)
	}
	g.stream = g.newStream()
	return g
}

func (g *gpu) newStream() driver.Stream {
	s, err := g.NewStream(0)
	if err != nil {
		g.t.Fatal(err)
	}
	return s
}

func (g *gpu) alloc(bytes int) uintptr {
	p, err := g.Alloc(bytes)
	if err != nil {
		g.t.Fatal(err)
	}
	return p
}

func (g *gpu) launch(s driver.Stream, name string, blocks, threads, shared int, a any) {
	f, err := g.Function(g.module, name)
	if err != nil {
		g.t.Fatal(err)
	}
	var params []byte
	switch a := a.(type) {
	case args:
		params = unsafe.Slice((*byte)(unsafe.Pointer(&a)), unsafe.Sizeof(a))
	case [3]uintptr:
		params = unsafe.Slice((*byte)(unsafe.Pointer(&a)), unsafe.Sizeof(a))
	}
	g.Launch(f, driver.Dim{X: blocks, Y: 1, Z: 1}, driver.Dim{X: threads, Y: 1, Z: 1}, shared, s, params)
}

// words are n of them, from the GPU.
func (g *gpu) words(p uintptr, n int) []int32 {
	host, err := g.AllocHost(4 * n)
	if err != nil {
		g.t.Fatal(err)
	}
	g.CopyOut(g.stream, uintptr(unsafe.Pointer(&host[0])), p, 4*n)
	if err := errors.Join(g.Synchronize(g.stream), g.Err()); err != nil {
		g.t.Fatal(err)
	}
	w := make([]int32, n)
	copy(w, unsafe.Slice((*int32)(unsafe.Pointer(&host[0])), n))
	if err := g.FreeHost(host); err != nil {
		g.t.Fatal(err)
	}
	return w
}

// upload copies bytes to the GPU.
func (g *gpu) upload(b []byte) uintptr {
	host, err := g.AllocHost(len(b))
	if err != nil {
		g.t.Fatal(err)
	}
	copy(host, b)
	p := g.alloc(len(b))
	g.CopyIn(g.stream, p, uintptr(unsafe.Pointer(&host[0])), len(b))
	if err := errors.Join(g.Synchronize(g.stream), g.Err(), g.FreeHost(host)); err != nil {
		g.t.Fatal(err)
	}
	return p
}

const unwritten = 0x7fa07fa0

// TestFaults: each is named, with its kernel, block and thread, by the next call that
// waits, and by all after it.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name            string
		n               int32
		threads, shared int
		want            []string
	}{
		{"write", 64, 64, 0, []string{"thread (", "write at", " of 256 bytes of the GPU's memory"}},
		{"write", 1 << 20, 1, 0, []string{"write at", "byte 4194304 of 256 bytes"}},
		{"write", -1024, 1, 0, []string{"write at", " bytes of the GPU's memory"}},
		{"read", 64, 1, 0, []string{"thread (0,0,0)", "read at", "byte 256 of 256 bytes"}},
		{"null", 0, 1, 0, []string{"the pointer is null", "faults.cu:"}},
		{"index", 32, 32, 0, []string{"index 32 is outside of the array", "faults.cu:"}},
		{"dynamic", 36, 32, 128, []string{"read at", " of dynamic shared memory, which has 128"}},
		{"dynamic", 36, 36, 140, []string{"byte 140 of dynamic shared memory, which has 140"}},
		{"aligned", 3, 1, 0, []string{"is not a multiple of 16", "faults.cu:"}},
		{"shift", 32, 1, 0, []string{"a shift by 32", "faults.cu:"}},
		{"divide", 0, 1, 0, []string{"division by zero"}},
		{"two_barriers", 0, 64, 0, []string{"comes to the barrier of", "others wait at that of"}},
		{"missing_lane", 0, 64, 0, []string{"its threads wait for each other", " 5 at the barrier of", "in __shfl_xor_sync"}},
		{"no_mask", 0, 32, 0, []string{"its mask 00000001 does not have the lane itself"}},
		{"part", 32, 96, 0, []string{"its threads wait for each other", "0-31 in the barrier of a part of the block"}},
		{"range_unmade", 1, 32, 48, []string{"there is no mbarrier at"}},
		{"range_short", 1, 32, 48, []string{"its threads wait for each other", "0-31 in a wait for an mbarrier"}},
		{"products_left", 0, 128, 1024, []string{"ends, and 1 products (wgmma) that it posted are not waited for"}},
		{"half_a_warp", 0, 32, 0, []string{"mma: lanes of the warp are missing"}},
	} {
		t.Run(fmt.Sprint(c.name, c.n), func(t *testing.T) {
			g := open(t)
			mem := g.alloc(256)
			g.launch(g.stream, "fault_"+c.name, 1, c.threads, c.shared, args{out: mem, in: mem, n: c.n})
			err := g.Synchronize(g.stream)
			for _, want := range append(c.want, "kernel fault_"+c.name+", block (0,0,0)") {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("the error lacks %q: %v", want, err)
				}
			}
			if again := g.Synchronize(g.stream); again == nil {
				t.Error("the error is forgotten")
			}
		})
	}
	g := open(t)
	p := g.alloc(256)
	if err := g.Free(p); err != nil {
		t.Fatal(err)
	}
	g.launch(g.stream, "fault_copy", 1, 64, 0, args{out: p, in: g.alloc(256)})
	if err := g.Synchronize(g.stream); err == nil || !strings.Contains(err.Error(), "which have been freed") {
		t.Errorf("memory that has been freed: %v", err)
	}
}

// TestSlack: what is written beside memory, in its pages, is found when
// it is freed.
func TestSlack(t *testing.T) {
	for _, n := range []int32{15, -1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			g := open(t)
			p := g.alloc(60)
			g.launch(g.stream, "fault_write", 1, 1, 0, args{out: p, n: n})
			if err := g.Synchronize(g.stream); err != nil {
				t.Fatal(err)
			}
			if err := g.Free(p); err == nil || !strings.Contains(err.Error(), "have been written") {
				t.Errorf("Free: %v", err)
			}
		})
	}
}

// TestUnwritten: nobody's bytes are no zeros, in the GPU's memory as in shared memory, and a
// copy of the kernel's has not come before it was waited for.
func TestUnwritten(t *testing.T) {
	g := open(t)
	out, in := g.alloc(256), g.alloc(256)
	g.launch(g.stream, "fault_copy", 1, 64, 0, args{out: out, in: in})
	for i, v := range g.words(out, 64) {
		if v != unwritten {
			t.Fatalf("word %d is %#x", i, v)
		}
	}
	if !math.IsNaN(float64(math.Float32frombits(unwritten))) {
		t.Error("what is unwritten is a number")
	}
	src := make([]byte, 32)
	for i := range 8 {
		binary.LittleEndian.PutUint32(src[4*i:], uint32(i+1))
	}
	in = g.upload(src)
	for name, want := range map[string][8]int32{
		"no_wait":  {unwritten, unwritten, unwritten, unwritten, unwritten, unwritten, unwritten, unwritten},
		"wait_one": {1, 2, 3, 4, unwritten, unwritten, unwritten, unwritten},
		"wait_all": {1, 2, 3, 4},
	} {
		g.launch(g.stream, "fault_"+name, 1, 32, 0, args{out: out, in: in})
		if got := [8]int32(g.words(out, 8)); got != want {
			t.Errorf("%s: %#x, want %#x", name, got, want)
		}
	}
}

// TestBarrier: without a barrier a neighbour's word is not there, whichever goes first; with
// it it is.
func TestBarrier(t *testing.T) {
	g := open(t)
	out := g.alloc(4 * 256)
	for name, all := range map[string]bool{"barrier": true, "no_barrier": false} {
		right := 0
		for _, n := range []int32{1, 255} { // those after and those before
			g.launch(g.stream, "fault_"+name, 1, 256, 0, args{out: out, n: n})
			for i, v := range g.words(out, 256) {
				if v == (int32(i)+n)%256 {
					right++
				}
			}
		}
		if (right == 512) != all {
			t.Errorf("%s: %d of 512 are right", name, right)
		}
	}
}

// TestCluster: blocks of a cluster are beside each other, and what they read of each other is there
// between their barriers alone.
func TestCluster(t *testing.T) {
	launch := func(g *gpu, name string, blocks int, out uintptr) {
		f, err := g.Function(g.module, "fault_"+name)
		if err != nil {
			t.Fatal(err)
		}
		a := args{out: out, n: 4}
		size := func(n int) driver.Dim { return driver.Dim{X: n, Y: 1, Z: 1} }
		g.LaunchClusters(f, size(blocks), size(4), size(32), true, 16*32, g.stream, unsafe.Slice((*byte)(unsafe.Pointer(&a)), unsafe.Sizeof(a)))
	}
	g := open(t)
	out := g.alloc(4 * 4 * 32)
	launch(g, "cluster", 4, out)
	for i, v := range g.words(out, 4*32) {
		if want := int32(100*((i/32+1)%4) + i%32); v != want {
			t.Fatalf("word %d is %d, want %d", i, v, want)
		}
	}
	launch(g, "cluster", 6, out)
	if err := g.Err(); err == nil || !strings.Contains(err.Error(), "clusters of 4,1,1") {
		t.Errorf("six blocks in clusters of four: %v", err)
	}
	launch(g, "cluster_before", 4, out)
	wrong := 0
	for i, v := range g.words(out, 4*32) {
		if v != int32(100*((i/32+1)%4)+i%32) {
			wrong++
		}
	}
	if wrong == 0 {
		t.Error("words are there before the barrier")
	}
	launch(g, "cluster_after", 4, out)
	if err := g.Synchronize(g.stream); err == nil || !strings.Contains(err.Error(), "of the cluster has ended") {
		t.Errorf("shared memory of a block that has ended: %v", err)
	}
}

// TestPart: a part of a block meets, in two rounds of launches.
func TestPart(t *testing.T) {
	g := open(t)
	out := g.alloc(256)
	for range 2 {
		g.launch(g.stream, "fault_part", 2, 96, 0, args{out: out, n: 64})
	}
	for i, v := range g.words(out, 64) {
		if int(v) != 63-i {
			t.Errorf("thread %d reads %d, want %d", i, v, 63-i)
		}
	}
}

// TestRange: a range comes before its mbarrier's phase ends, and perhaps not sooner.
func TestRange(t *testing.T) {
	g := open(t)
	src := make([]byte, 32)
	for i := range 8 {
		binary.LittleEndian.PutUint32(src[4*i:], uint32(i+1))
	}
	in, out := g.upload(src), g.alloc(32)
	g.launch(g.stream, "fault_range", 1, 32, 48, args{out: out, in: in, n: 1})
	if got, want := [8]int32(g.words(out, 8)), [8]int32{1, 2, 3, 4, 5, 6, 7, 8}; got != want {
		t.Errorf("%d, want %d", got, want)
	}
}

// TestProducts: sums of products are there when they have been waited for, and not sooner; shared memory that
// changes meanwhile is what they are of.
func TestProducts(t *testing.T) {
	g := open(t)
	out := g.alloc(4 * 256)
	const never = math.MinInt32 // what is not a number, as a number
	for _, c := range []struct {
		name string
		n    int32
		want [2]int32
	}{
		{"products", 0, [2]int32{16, 32}}, {"products", 1, [2]int32{16, 32}},
		{"products_early", 0, [2]int32{16, never}}, {"products_early", 1, [2]int32{16, 0}},
	} {
		g.launch(g.stream, "fault_"+c.name, 1, 128, 5<<10, args{out: out, n: c.n})
		for i, v := range g.words(out, 256) {
			if v != c.want[i%2] {
				t.Fatalf("%s, %d: word %d is %d, want %d", c.name, c.n, i, v, c.want[i%2])
			}
		}
	}
}

// TestRefusals: what a launch may not ask for.
func TestRefusals(t *testing.T) {
	g := open(t)
	out := g.alloc(4 * 1024)
	for _, c := range []struct {
		name                    string
		blocks, threads, shared int
		want                    string
	}{
		{"copy", 1, 1025, 0, "a block of 1025,1,1"},
		{"copy", 0, 1, 0, "a grid of 0,1,1"},
		{"bounds", 1, 65, 0, "65 threads, compiled for 64"},
		{"dynamic", 1, 32, 48<<10 + 1, "49153 bytes of dynamic shared memory, it may have 49152"},
	} {
		g.launch(g.stream, "fault_"+c.name, c.blocks, c.threads, c.shared, args{out: out, in: out})
		if err := g.Err(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	g.launch(g.stream, "fault_bounds", 1, 64, 0, args{out: out})
	f, err := g.Function(g.module, "fault_dynamic")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.SetFunctionAttribute(f, driver.MaxDynamicShared, 227<<10); err != nil {
		t.Error(err)
	}
	if err := g.SetFunctionAttribute(f, driver.MaxDynamicShared, 227<<10+1); err == nil {
		t.Error("more shared memory than there is")
	}
	if _, err := g.Function(g.module, "fault_none"); err == nil {
		t.Error("a kernel that is none")
	}
	g.CopyIn(g.stream, out+4000, out, 200)
	if err := g.Err(); err == nil || !strings.Contains(err.Error(), "byte 4000 of 4096 bytes") {
		t.Errorf("a copy past the end: %v", err)
	}
	if err := g.Synchronize(g.stream); err != nil {
		t.Errorf("what was refused has been done: %v", err)
	}
}

// TestCapture: two streams that a graph has in common, and what may not be done meanwhile.
func TestCapture(t *testing.T) {
	g := open(t)
	src := make([]byte, 256)
	for i := range src {
		src[i] = byte(i)
	}
	in, mid, out := g.upload(src), g.alloc(256), g.alloc(256)
	other := g.newStream()
	fork, err1 := g.NewEvent(false)
	join, err2 := g.NewEvent(false)
	if err := errors.Join(err1, err2, g.BeginCapture(g.stream)); err != nil {
		t.Fatal(err)
	}
	g.Memset(g.stream, mid, 0, 256)
	g.Record(fork, g.stream)
	g.Wait(other, fork)
	g.launch(other, "fault_copy", 1, 64, 0, args{out: mid, in: in})
	g.Record(join, other)
	g.Wait(g.stream, join)
	g.launch(g.stream, "fault_copy", 1, 64, 0, args{out: out, in: mid})
	graph, err := g.EndCapture(g.stream)
	if err := errors.Join(err, g.Err()); err != nil {
		t.Fatal(err)
	}
	x, err := g.Instantiate(graph)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		g.Memset(g.stream, out, 0, 256)
		g.LaunchGraph(x, g.stream)
		if got := g.words(out, 64); got[63] != int32(binary.LittleEndian.Uint32(src[252:])) {
			t.Fatalf("%#x", got[63])
		}
	}
	for name, misuse := range map[string]func() error{
		"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED": func() error { return g.Synchronize(g.stream) },
		"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED": func() error {
			if _, err := g.Alloc(1); err == nil {
				return errors.New("memory comes while a stream captures")
			}
			_, err := g.EndCapture(g.stream)
			return err
		},
		"CUDA_ERROR_STREAM_CAPTURE_UNJOINED": func() error {
			g.Record(fork, g.stream)
			g.Wait(other, fork)
			g.launch(other, "fault_copy", 1, 64, 0, args{out: mid, in: in})
			_, err := g.EndCapture(g.stream)
			return err
		},
	} {
		if err := g.BeginCapture(g.stream); err != nil {
			t.Fatal(err)
		}
		if err := misuse(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %s", err, name)
		}
		_, _ = g.EndCapture(g.stream)
	}
}

// TestMatrices: what ldmatrix brings is what mma wants, and their product is the product.
func TestMatrices(t *testing.T) {
	g := open(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for name, c := range map[string]struct {
		code  dtype.Type
		trans bool // b is [k, n]
	}{"product_bf16": {dtype.BF16, false}, "product_f16_trans": {dtype.F16, true}} {
		var a [16][16]float32
		var b [16][8]float32
		ab, bb := make([]byte, 512), make([]byte, 256)
		for i := range 256 {
			v := float32(rng.IntN(17) - 8)
			a[i/16][i%16] = v
			put16(ab[2*i:], c.code, v)
		}
		for i := range 128 {
			v := float32(rng.IntN(17)-8) / 4
			b[i/8][i%8] = v
			at := i
			if !c.trans {
				at = i%8*16 + i/8
			}
			put16(bb[2*at:], c.code, v)
		}
		out := g.alloc(4 * 128)
		g.launch(g.stream, name, 1, 32, 0, [3]uintptr{out, g.upload(ab), g.upload(bb)})
		for i, v := range g.words(out, 128) {
			var want float32
			for k := range 16 {
				want += a[i/8][k] * b[k][i%8]
			}
			if got := math.Float32frombits(uint32(v)); got != want {
				t.Fatalf("%s: [%d, %d] is %v, want %v", name, i/8, i%8, got, want)
			}
		}
	}
}

// put16 writes a small number, which both formats have exactly.
func put16(b []byte, t dtype.Type, v float32) {
	if t == dtype.BF16 {
		binary.LittleEndian.PutUint16(b, uint16(math.Float32bits(v)>>16))
		return
	}
	var bits uint16
	if v != 0 {
		f := math.Float32bits(v)
		bits = uint16(f>>31<<15 | (f>>23&255-127+15)<<10 | f>>13&1023)
	}
	binary.LittleEndian.PutUint16(b, bits)
}

// TestOrders runs these tests again in each order, and sees that blocks and streams go by
// it.
func TestOrders(t *testing.T) {
	open(t)
	if os.Getenv("NOSA_EMULATED_CHILD") != "" {
		t.Skip("this is one of them")
	}
	for _, order := range []string{"forward", "backward", "random:3", "random:4"} {
		cmd := exec.Command(os.Args[0], "-test.run=^Test(Faults|Slack|Unwritten|Barrier|Refusals|Capture|Matrices|Boxes|BoxFaults|TensorMaps|Order)$", "-test.v")
		cmd.Env = append(os.Environ(), "NOSA_EMULATED_ORDER="+order, "NOSA_EMULATED_CHILD=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", order, err, out)
		}
	}
}

// TestOrder: blocks go in the order that was asked for, and of two streams that wait for no
// event the later one goes first where the order is backward.
func TestOrder(t *testing.T) {
	g := open(t)
	counter, out := g.upload(make([]byte, 4)), g.alloc(4*64)
	g.launch(g.stream, "fault_order", 64, 32, 0, args{out: out, in: counter})
	rising, falling := true, true
	for i, v := range g.words(out, 64) {
		rising = rising && int(v) == i
		falling = falling && int(v) == 63-i
	}
	order := os.Getenv("NOSA_EMULATED_ORDER")
	if rising != (order == "" || order == "forward") || falling != (order == "backward") {
		t.Errorf("%q: blocks rise: %v, fall: %v", order, rising, falling)
	}
	if order != "backward" {
		return
	}
	// The second stream should wait for the first, and does not.
	second := g.newStream()
	early := 0
	for range 20 {
		g.Memset(g.stream, out, 1, 256)
		if err := g.Synchronize(g.stream); err != nil {
			t.Fatal(err)
		}
		g.Memset(g.stream, out, 2, 256)
		g.Copy(second, counter, out, 4)
		if err := errors.Join(g.Synchronize(second), g.Synchronize(g.stream)); err != nil {
			t.Fatal(err)
		}
		if g.words(counter, 1)[0] == 0x01010101 {
			early++
		}
	}
	if early == 0 {
		t.Error("a stream that does not wait for another is never early")
	}
}
