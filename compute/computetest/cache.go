package computetest

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// append: one block is filled token by token, in pieces and at once. The tail and
// scores are copies, to the bit; so are the means whatever the pieces.
func (s *suite) append(t *testing.T) {
	for _, l := range []compute.Layout{
		{Heads: 1, Dim: 4, Block: 8, Kernel: 4, Stride: 2, Scores: true},
		{Heads: 3, Dim: 64, Block: 64, Kernel: 32, Stride: 16},
		{Heads: 2, Dim: 80, Block: 64, Kernel: 32, Stride: 16, Scores: true},
		{Heads: 2, Dim: 16, Block: 16},
		{Heads: 1, Dim: 20, Block: 32, Kernel: 32, Stride: 32, Scores: true},
	} {
		width := l.Heads * l.Dim
		k, v := s.f32(t, s.normal(l.Block*width), l.Block, l.Heads, l.Dim), s.f32(t, s.normal(l.Block*width), l.Block, l.Heads, l.Dim)
		var score pair
		if l.Scores {
			score = s.f32(t, s.normal(l.Block*l.Heads), l.Block, l.Heads)
		}
		var want [][]float32
		for round, pieces := range [][]int{{l.Block}, {1}, {3, 1, 2}, {5}} {
			dst := s.newSummaries(t, l)
			for at, i := 0, 0; at < l.Block; i++ {
				n := min(pieces[i%len(pieces)], l.Block-at)
				dst.append(at, n, k, v, score)
				at += n
			}
			got := dst.read(s.dev, onDev)
			if round == 0 {
				for i, p := range dst.all() {
					s.close(t, fmt.Sprintf("tensor %d", i), p, func(_ int, want float64) float64 {
						return s.tol.Point * (math.Abs(want) + 1)
					})
				}
				same(t, "tail", got[0], read(s.ref, dst.tail.ref))
				want = got
				continue
			}
			for i, g := range got {
				same(t, fmt.Sprintf("pieces of %v, tensor %d", pieces, i), g, want[i])
			}
		}
	}
}

// summaries is a tail with the summaries that appending fills.
type summaries struct {
	s                     *suite
	layout                compute.Layout
	tables                [][]int32
	tail, seg, sego, scor pair
}

func (s *suite) newSummaries(t *testing.T, l compute.Layout) *summaries {
	t.Helper()
	d := &summaries{s: s, layout: l, tail: s.f32(t, make([]float32, l.Heads*2*l.Block*l.Dim), l.Heads, 2, l.Block, l.Dim)}
	ids := l.Heads + 2
	for h := range l.Heads { // the own block is the second
		d.tables = append(d.tables, []int32{0, int32(ids - 1 - h)})
	}
	if l.Stride > 0 {
		d.seg = s.means(t, l, ids, func() []float32 { return nil })
	}
	if l.Scores {
		d.scor = s.f32(t, make([]float32, ids*l.Block), ids, l.Block)
		if l.Stride > 0 {
			d.sego = s.f32(t, make([]float32, ids*l.Segments()), ids, l.Segments())
		}
	}
	return d
}

func (d *summaries) append(at, n int, k, v, score pair) {
	for _, side := range []struct {
		dev compute.Device
		of  func(pair) compute.Tensor
	}{{d.s.dev, onDev}, {d.s.ref, onRef}} {
		c := &compute.Cache{Layout: d.layout, Segments: side.of(d.seg), SegScore: side.of(d.sego), Score: side.of(d.scor)}
		tile := compute.Tile{Row: at, N: n, Pos: d.layout.Block + at, Tables: d.tables, Tail: side.of(d.tail)}
		side.dev.Append(c, tile, side.of(k), side.of(v), side.of(score))
	}
}

func (d *summaries) all() []pair {
	all := []pair{d.tail}
	for _, p := range []pair{d.seg, d.sego, d.scor} {
		if !p.ref.None() {
			all = append(all, p)
		}
	}
	return all
}

func (d *summaries) read(dev compute.Device, side func(pair) compute.Tensor) [][]float32 {
	var out [][]float32
	for _, p := range d.all() {
		out = append(out, read(dev, side(p)))
	}
	return out
}

// seal: a full block in each format. Plain formats are the same bytes everywhere;
// a code of a quantised one may fall to the other side of a tie.
func (s *suite) seal(t *testing.T) {
	for _, kv := range kvTypes {
		for _, shape := range [][3]int{{1, 4, 8}, {2, 64, 64}, {3, 20, 16}, {1, 80, 64}, {1, 7, 3}, {2, 128, 64}} {
			l := compute.Layout{Heads: shape[0], Dim: shape[1], Block: shape[2], Type: kv}
			tail := s.normal(l.Heads * 2 * l.Block * l.Dim)
			for d := range l.Dim { // constant channels and tokens have no range
				tail[d] = 2.5
			}
			for i := range l.Block {
				tail[i*l.Dim] = -7
			}
			p := s.f32(t, tail, l.Heads, 2, l.Block, l.Dim)
			slots := s.put(t, dtype.U8, make([]byte, 4*l.BlockBytes()), 4, l.BlockBytes())
			for h := range l.Heads {
				slot := int32(3 - h)
				tile := compute.Tile{N: 1, Pos: l.Block - 1}
				tile.Tail = p.dev
				s.dev.Seal(&compute.Cache{Layout: l, Slots: slots.dev}, tile, h, slot)
				tile.Tail = p.ref
				s.ref.Seal(&compute.Cache{Layout: l, Slots: slots.ref}, tile, h, slot)
			}
			got, want := make([]byte, slots.ref.Bytes()), slots.ref.Data
			s.dev.Download(got, slots.dev)
			if kv <= compute.KVF16 {
				if !bytes.Equal(got, want) {
					t.Fatalf("%v %v: other bytes than the definition's", kv, shape)
				}
				continue
			}
			steps := 255.0
			if kv == compute.KVQ4 {
				steps = 15
			}
			n := l.Block * l.Dim
			for slot := range 4 {
				k, v, rk, rv := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
				l.DecodeBlock(k, v, got[slot*l.BlockBytes():][:l.BlockBytes()])
				l.DecodeBlock(rk, rv, want[slot*l.BlockBytes():][:l.BlockBytes()])
				for i := range n {
					// Ranges of normal values are below 16.
					if d := max(math.Abs(float64(k[i]-rk[i])), math.Abs(float64(v[i]-rv[i]))); !(d <= 16/steps) {
						t.Fatalf("%v %v slot %d element %d: k %v v %v, the definition says %v and %v", kv, shape, slot, i, k[i], v[i], rk[i], rv[i])
					}
				}
			}
		}
	}
}

// transfer: what FillSlot put in place comes back from CopySlot, and no
// neighbour's bytes change.
func (s *suite) transfer(t *testing.T) {
	l := compute.Layout{Heads: 1, Dim: 20, Block: 8, Type: compute.KVQ4}
	const slots = 5
	size := l.BlockBytes()
	pool := s.alloc(t, s.dev, dtype.U8, slots, size)
	c := &compute.Cache{Layout: l, Slots: pool}
	want := make([]byte, slots*size)
	for i := range want {
		want[i] = byte(s.rng.Uint32())
	}
	for _, i := range s.rng.Perm(slots) {
		s.dev.FillSlot(c, int32(i), want[i*size:(i+1)*size])
	}
	if err := s.dev.Sync(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, slots*size)
	for i := range slots {
		s.dev.CopySlot(c, got[i*size:(i+1)*size], int32(i))
	}
	if err := s.dev.Sync(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("CopySlot returns other bytes than FillSlot was given")
	}
}
