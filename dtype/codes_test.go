package dtype

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestReadGroup: the integers of a group stand for the values of Decode, to the bit, for random blocks of every
// quantised format.
func TestReadGroup(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	formats := 0
	for f := F32; f < count; f++ {
		if !f.Quantised() {
			continue
		}
		formats++
		for range 50 {
			const elements = 512
			size, err := f.Size(elements)
			if err != nil {
				t.Fatal(err)
			}
			row := make([]byte, size)
			for i := range row {
				row[i] = byte(rng.Uint32())
			}
			want := make([]float32, elements)
			Decode(f, want, row)
			for at := range elements / GroupLen {
				var g Group
				ReadGroup(f, &g, row, at)
				for i, c := range g.Code {
					v := g.Factor(i/16) * float32(int(c)-f.Zero())
					if f.HasMinimum() {
						v = float32(v) + g.Minimum()
					} else if g.Minimum() != 0 {
						t.Fatalf("%v has a minimum of %v", f, g.Minimum())
					}
					w := want[at*GroupLen+i]
					if math.Float32bits(v) != math.Float32bits(w) && !(v != v && w != w) {
						t.Fatalf("%v: element %d of group %d is %v, want %v", f, i, at, v, w)
					}
				}
			}
		}
	}
	if formats != 8 {
		t.Errorf("%d quantised formats, want 8", formats)
	}
}

func TestReadGroupPanics(t *testing.T) {
	for name, read := range map[string]func(){
		"plain format": func() { ReadGroup(F32, new(Group), make([]byte, 128), 0) },
		"short row":    func() { ReadGroup(Q4_0, new(Group), make([]byte, 35), 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			read()
		}()
	}
}
