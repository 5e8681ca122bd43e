//go:build linux && amd64

package step

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// TestStepLong decodes behind a million tokens, whose blocks are made up: with all of them
// in slots, and with few slots and the rest in the host's memory, the bits are the same.
func TestStepLong(t *testing.T) {
	const tokens, steps = 1 << 20, 3
	l := compute.Layout{Block: 64, Kernel: 32, Stride: 16, Scores: true, Type: compute.KVBF16}
	w := newWorld(t, Shape{Layers: 2, Hidden: 64, Intermediate: 96, Vocab: 80, Heads: 4, KVHeads: 1, Dim: 16, RopeBase: 1e6}, dtype.BF16, l)
	p := compute.SelectParams{Init: 1, Local: 16, Query: 16, K: 64, ByQuery: true, ByScore: true}
	columns := tokens/l.Block + 1
	table := make([]int32, columns)
	for i, c := range rand.New(rand.NewPCG(5, 6)).Perm(columns) {
		table[i] = int32(c)
	}
	var want [][]float32
	for _, s := range []setting{{rows: 1, columns: columns}, {rows: 1, columns: columns, slots: 3 * 64}, {rows: 1, columns: columns, slots: 3 * 64, keepSelected: true}} {
		r := w.start(p, columns*l.Block, 1, s)
		rng := rand.New(rand.NewPCG(3, 4)) // the same blocks every time
		ids := len(w.model.Layers) * columns
		data := numbers(dtype.BF16, rng, ids*w.layout.BlockBytes()/2)
		size := w.layout.BlockBytes()
		if s.slots == 0 {
			w.d.Upload(r.cache.Slots, data)
		} else {
			for id := range ids {
				copy(r.pages[id*(size+16):], data[id*size:(id+1)*size])
			}
		}
		for _, x := range []compute.Tensor{r.cache.Segments, r.cache.SegScore, r.cache.Score} {
			w.d.Upload(x, numbers(x.Type, rng, x.Len()))
		}
		tail := compute.NewTensor(dtype.F32, numbers(dtype.F32, rng, 2*l.Block*16), 1, 2, l.Block*16)
		x, err := w.d.Alloc(dtype.F32, 1, 2, l.Block*16)
		if err != nil {
			t.Fatal(err)
		}
		r.own = append(r.own, x)
		w.d.Upload(x, tail.Data)
		pages := make([]int32, 0, 2*columns)
		for _, c := range table {
			pages = append(pages, int32(columns)+c, c) // of layers 0 and 1: an id's own page
		}
		r.step.Sit(0, []compute.Tensor{x, x})
		r.step.Grow(0, table, pages)
		r.seats[0] = table
		var got [][]float32
		for n := range steps {
			got = append(got, slices.Clone(r.feed(compute.StepRow{Seat: 0, Pos: int32(tokens + n), Token: int32(n)})[0]))
			counts, err := r.step.Wait()
			if err != nil {
				t.Fatal(err)
			}
			for i, c := range counts.Layers {
				if c.Selected != int64(p.K) || s.slots > 0 && n == 0 && c.Misses != int64(p.K)-1 {
					t.Errorf("%+v, step %d, layer %d: %+v", s, n, i, c)
				}
			}
		}
		for n, logits := range got {
			for _, v := range logits {
				if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
					t.Fatalf("%+v, step %d: %v", s, n, v)
				}
			}
			if want != nil && !slices.Equal(logits, want[n]) {
				t.Errorf("%+v, step %d: %v, resident %v", s, n, logits[:4], want[n][:4])
			}
		}
		if want == nil {
			want = got
		}
		r.close()
	}
}

// numbers are n of them between −1 and 1, encoded.
func numbers(t dtype.Type, rng *rand.Rand, n int) []byte {
	size, err := t.Size(n)
	if err != nil {
		panic(err)
	}
	out := make([]byte, size)
	if t == dtype.F32 {
		for i := range n {
			binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(2*rng.Float32()-1))
		}
		return out
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = 2*rng.Float32() - 1
	}
	dtype.Encode(t, out, v)
	return out
}
