//go:build linux && amd64

package step

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// chosen is what rows get from the GPU.
type chosen struct {
	byQuery, byScore []float32 // [n, heads, most]
	blocks, count    []int32   // [n, heads, places], [n, heads]
}

const untouched = -12345

// ask runs score and choose for rows, in launches for up to the given number of blocks. The
// choice is one thread block's of a row and KV head; parts must make the same.
func (s *selectScene) ask(q []float32, pos, seat []int32, blocks int, p compute.SelectParams) chosen {
	s.Helper()
	if err := s.s.check(s.g, s.l, s.group, blocks); err != nil {
		s.Fatal(err)
	}
	n, heads, places := len(pos), s.l.Heads, p.Most()
	dirty := slices.Repeat([]byte{0xff}, s.s.scratchBytes(s.l, s.group, n, blocks))
	common, on := scoring(s.g, s.c, s.rows(pos, seat), s.l, s.group, blocks, p, s.bytes(dirty)), s.floats(q)
	askIn := func(part int) chosen {
		s.d.Upload(compute.Tensor{Type: dtype.U8, Dims: [4]int{len(dirty), 1, 1, 1}, Rank: 1, Addr: common.weight}, dirty)
		common.cut(blocks, part)
		if p.ByQuery {
			a := scores(common, on)
			s.s.score(s.g, &a)
		}
		to := selectionArgs{places: int32(places), blocks: s.ints(slices.Repeat([]int32{untouched}, n*heads*places)),
			count: s.ints(slices.Repeat([]int32{untouched}, n*heads))}
		a := choosing(common, to, p, blocks)
		blank := slices.Repeat([]float32{untouched}, n*heads*s.most)
		a.byQuery, a.byScore = s.floats(blank), s.floats(blank)
		s.s.choose(s.g, &a, blocks)
		return chosen{s.backFloats(a.byQuery, len(blank)), s.backFloats(a.byScore, len(blank)), s.backInts(to.blocks, n*heads*places), s.backInts(to.count, n*heads)}
	}
	whole := askIn(blocks)
	for _, part := range []int{256, 1 + s.IntN(blocks)} {
		what, in := fmt.Sprintf("%+v in parts of %d", p, part), askIn(part)
		s.sameBits(what+": by the query", in.byQuery, whole.byQuery)
		s.sameBits(what+": by importance", in.byScore, whole.byScore)
		if !slices.Equal(in.count, whole.count) || !slices.Equal(in.blocks, whole.blocks) {
			s.Fatalf("%s: %d %d, whole %d %d", what, in.count, in.blocks, whole.count, whole.blocks)
		}
	}
	return whole
}

// against holds what rows got against the definitions: scores by the query nearly, by
// importance and the choice by both exactly.
func (s *selectScene) against(got chosen, q []float32, pos, seat []int32, p compute.SelectParams) {
	s.Helper()
	heads, places := s.l.Heads, p.Most()
	for r, at := range pos {
		what := fmt.Sprintf("row %d at %d, %+v", r, at, p)
		blocks, count := got.blocks[r*heads*places:][:heads*places], got.count[r*heads:][:heads]
		if at < 0 {
			for _, v := range slices.Concat(blocks, count) {
				if v != untouched {
					s.Fatalf("%s: something is written", what)
				}
			}
			continue
		}
		own := int(at) / s.l.Block
		tile := compute.Tile{Row: r, N: 1, Pos: int(at), Tables: s.tables(seat[r])}
		var byQuery, byScore compute.Tensor
		part := func(v []float32) compute.Tensor {
			var x []float32
			for h := range heads {
				x = append(x, v[(r*heads+h)*s.most:][:own+1]...)
			}
			return compute.F32s(x, 1, heads, own+1)
		}
		want := compute.F32s(make([]float32, heads*(own+1)), 1, heads, own+1)
		if every := int(at) < p.DenseLen || own+1 <= p.K; p.ByQuery {
			byQuery = part(got.byQuery)
			if !every {
				compute.ScoreBlocks(want, compute.F32s(q, len(pos), heads*s.group, s.l.Dim), &s.want, tile)
				s.near(what+": scores by the query", byQuery.F32(), want.F32(), 3e-5, 1e-12)
			}
		}
		if every := int(at) < p.DenseLen || own+1 <= p.K; p.ByScore {
			byScore = part(got.byScore)
			if !every {
				compute.ScoreImportance(want, &s.want, tile)
				s.near(what+": importance", byScore.F32(), want.F32(), 0, 0) // the same but for the sign of zero
			}
		}
		sel := compute.Selection{Blocks: compute.I32s(make([]int32, heads*places), 1, heads, places), Count: compute.I32s(make([]int32, heads), 1, heads)}
		compute.Select(sel, byQuery, byScore, tile, s.l.Block, p)
		if !slices.Equal(count, sel.Count.I32()) {
			s.Fatalf("%s: %d blocks, the definition says %d", what, count, sel.Count.I32())
		}
		for h := range heads {
			if w := sel.Blocks.I32()[h*places:][:places]; count[h] >= 0 && !slices.Equal(blocks[h*places:][:places], w) {
				s.Fatalf("%s: head %d has %d, the definition says %d", what, h, blocks[h*places:][:places], w)
			}
		}
	}
}

// params draws what selection may be asked for, for a row among the given number of blocks.
func (s *selectScene) params(blocks int) compute.SelectParams {
	p := compute.SelectParams{Init: s.IntN(3), Local: s.IntN(6), Query: s.IntN(20), K: 1 + s.IntN(max(1, blocks)), ByQuery: true, ByScore: true}
	switch s.IntN(4) {
	case 0:
		p.ByQuery = false
	case 1:
		p.ByScore = false
	}
	if s.IntN(4) == 0 {
		p.DenseLen = s.IntN(blocks * s.l.Block)
	}
	return p
}

// TestChoose: rows of different lengths, at the borders of windows, blocks and chunks, with
// rows that are nobody's, against the definitions; and each row alone, in launches for other
// lengths, to the bit.
func TestChoose(t *testing.T) {
	for i, tc := range selectShapes {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			l := tc.l
			chunk := scoreChunk * l.Stride // tokens of as many windows
			most := (2*chunk+l.Kernel)/l.Block + 40
			lengths := []int{most, 1 + chunk/l.Block, 2*chunk/l.Block + 2}
			s := newSelectScene(t, l, tc.group, lengths)
			var pos, seat []int32
			row := func(at, in int) { pos, seat = append(pos, int32(at)), append(seat, int32(in)) }
			row(most*l.Block-1, 0)
			row(-1, 1)
			row(0, 1)
			row(l.Kernel-1, 1)
			row(l.Kernel-2, 1)
			for _, m := range []int{scoreChunk - 1, scoreChunk, scoreChunk + 1, 2 * scoreChunk} { // so many windows
				row(min(most*l.Block-1, (m-1)*l.Stride+l.Kernel-1), 0)
			}
			row(-1, 0)
			row(s.IntN(lengths[1]*l.Block), 1)
			row(s.IntN(lengths[2]*l.Block), 2)
			row((lengths[2]-1)*l.Block, 2)
			q := s.normal(len(pos) * l.Heads * tc.group * l.Dim)
			for r := range pos { // of very different sizes
				scale := float32(math.Exp2(float64(s.IntN(5) - 3)))
				for j := range l.Heads * tc.group * l.Dim {
					q[r*l.Heads*tc.group*l.Dim+j] *= scale
				}
			}
			for range 3 {
				p := s.params(most)
				all := s.ask(q, pos, seat, most, p)
				s.against(all, q, pos, seat, p)
				for _, r := range s.Perm(len(pos))[:3] {
					if pos[r] >= 0 {
						s.alone(all, q, pos, seat, r, p)
					}
				}
			}
		})
	}
}

// alone holds a row by itself against what it got beside others.
func (s *selectScene) alone(all chosen, q []float32, pos, seat []int32, r int, p compute.SelectParams) {
	s.Helper()
	heads, width, places := s.l.Heads, s.l.Heads*s.group*s.l.Dim, p.Most()
	one := s.ask(q[r*width:][:width], pos[r:r+1], seat[r:r+1], int(pos[r])/s.l.Block+1, p)
	s.sameBits("by the query, alone", one.byQuery, all.byQuery[r*heads*s.most:][:heads*s.most])
	s.sameBits("by importance, alone", one.byScore, all.byScore[r*heads*s.most:][:heads*s.most])
	if !slices.Equal(one.count, all.count[r*heads:][:heads]) || !slices.Equal(one.blocks, all.blocks[r*heads*places:][:heads*places]) {
		s.Fatalf("row %d alone selects %d %d", r, one.count, one.blocks)
	}
}

// TestChooseTies: blocks of the same means, importance of few values, of infinite ones, of
// what is not a number, and of a mean that rounds to the zero below zero.
func TestChooseTies(t *testing.T) {
	for _, stride := range []int{16, 8} {
		t.Run(fmt.Sprint(stride), func(t *testing.T) { chooseTies(t, stride) })
	}
}

func chooseTies(t *testing.T, stride int) {
	l := compute.Layout{Heads: 1, Dim: 64, Block: 16, Kernel: 16, Stride: stride, Type: compute.KVBF16}
	s := newSelectScene(t, l, 2, []int{90, 700, 40})
	infinite := float32(math.Inf(1))
	values := []float32{0.5, 0.5, 0, -infinite, infinite, 2, 2, -1, float32(math.NaN())}
	if stride == 8 {
		values = []float32{0, 0, -1e-45, -1e-45, -1e-45, -1, 1}
	}
	for i := range s.want.SegScore.F32() {
		s.want.SegScore.F32()[i] = values[s.IntN(len(values))]
	}
	s.c.segmentScore = s.floats(s.want.SegScore.F32())
	for _, row := range s.table {
		for b := range row {
			if s.IntN(3) > 0 {
				row[b] = row[s.IntN(b+1)]
			}
		}
	}
	var flat []int32
	for _, row := range s.table {
		flat = append(append(flat, row...), make([]int32, s.most-len(row))...)
	}
	s.c.table = s.ints(flat)
	pos, seat := []int32{90*16 - 1, 700*16 - 7, 40*16 - 16, 600 * 16, 521*16 + 3, 512*16 - 1}, []int32{0, 1, 2, 1, 1, 1}
	q := s.normal(len(pos) * 2 * 64)
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	for range rounds {
		p := s.params(90)
		s.against(s.ask(q, pos, seat, 700, p), q, pos, seat, p)
	}
}

// TestChooseExtremes: queries of all sizes that float32 has, also none and what is not a
// number, keep to the definition.
func TestChooseExtremes(t *testing.T) {
	s := newSelectScene(t, compute.Layout{Heads: 1, Dim: 128, Block: 64, Kernel: 32, Stride: 16, Type: compute.KVBF16}, 3, []int{50})
	p := compute.SelectParams{Init: 1, Local: 2, K: 9, ByQuery: true}
	pos := []int32{50*64 - 1}
	for _, scale := range []float32{0, 1e-42, 1e-30, 1e-3, 30} {
		q := s.normal(3 * 128)
		for i := range q {
			q[i] *= scale
		}
		s.against(s.ask(q, pos, []int32{0}, 50, p), q, pos, []int32{0}, p)
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 3e38} {
		q := s.normal(3 * 128)
		q[130] = float32(v)
		got := s.ask(q, pos, []int32{0}, 50, p)
		if got.count[0] != 9 || got.blocks[8] != 49 {
			t.Errorf("a query with %v: %d %d", v, got.count, got.blocks)
		}
		if v != 3e38 {
			s.against(got, q, pos, []int32{0}, p)
		}
	}
}

// TestChooseLong: more blocks than threads and than a scan's first round.
func TestChooseLong(t *testing.T) {
	s := newSelectScene(t, compute.Layout{Heads: 1, Dim: 64, Block: 16, Kernel: 16, Stride: 8, Type: compute.KVBF16}, 4, []int{5000, 3})
	pos, seat := []int32{5000*16 - 1, 2222*16 + 5, 7}, []int32{0, 0, 1}
	q := s.normal(len(pos) * 4 * 64)
	for _, p := range []compute.SelectParams{
		{Init: 1, Local: 16, K: 64, ByQuery: true},
		{Init: 2, Local: 5, Query: 40, K: 1500, ByQuery: true, ByScore: true},
	} {
		s.against(s.ask(q, pos, seat, 5000, p), q, pos, seat, p)
	}
}

// TestChooseManyChunks: more than a lane of a part has totals of at once.
func TestChooseManyChunks(t *testing.T) {
	s := newSelectScene(t, compute.Layout{Heads: 1, Dim: 4, Block: 128, Kernel: 4, Stride: 2, Type: compute.KVBF16}, 2, []int{1100})
	pos, seat := []int32{1100*128 - 1}, []int32{0}
	q := s.normal(2 * 4)
	p := compute.SelectParams{Init: 1, Local: 3, Query: 9, K: 40, ByQuery: true, ByScore: true}
	s.against(s.ask(q, pos, seat, 1100, p), q, pos, seat, p)
}

// TestChooseManyRows: more rows than lanes know at once, many of which nobody asks for, in
// parts of thread blocks that begin and end anywhere.
func TestChooseManyRows(t *testing.T) {
	for _, group := range []int{3, 19} {
		t.Run(fmt.Sprint(group), func(t *testing.T) {
			s := newSelectScene(t, compute.Layout{Heads: 2, Dim: 64, Block: 16, Kernel: 16, Stride: 8, Type: compute.KVBF16}, group, []int{150, 70, 9})
			p := compute.SelectParams{Init: 1, Local: 2, K: 12, DenseLen: 300, ByQuery: true}
			pos, seat := make([]int32, 140), make([]int32, 140)
			for r := range pos {
				seat[r] = int32(s.IntN(3))
				pos[r] = int32(s.IntN(len(s.table[seat[r]]) * 16))
				if r > 20 && r < 90 && r != 60 || s.IntN(3) == 0 {
					pos[r] = int32(s.IntN(300)) - 1
				}
			}
			q := s.normal(len(pos) * 2 * group * 64)
			all := s.ask(q, pos, seat, 150, p)
			s.against(all, q, pos, seat, p)
			for _, r := range []int{0, 60, 91, 139} {
				if pos[r] >= 0 {
					s.alone(all, q, pos, seat, r, p)
				}
			}
		})
	}
}
