//go:build linux && amd64

package step

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"nosa/compute"
)

// TestAngles: those of the definition, but for a last digit.
func TestAngles(t *testing.T) {
	s := newSelectScene(t, selectShapes[0].l, 1, []int{1})
	rope := &compute.Rope{Inv: make([]float32, 37), Factor: 1.25}
	for i := range rope.Inv {
		rope.Inv[i] = float32(math.Pow(10000, -float64(i)/37))
	}
	pos := []int32{0, 17, -1, 131071, 1 << 20}
	n := 2 * len(rope.Inv)
	out := s.floats(slices.Repeat([]float32{-7}, len(pos)*n))
	s.s.angles(s.g, &anglesArgs{rows: s.rows(pos, make([]int32, len(pos))), out: out, inv: s.floats(rope.Inv), pairs: int32(len(rope.Inv)), factor: rope.Factor})
	got, want := s.backFloats(out, len(pos)*n), make([]float32, len(pos)*n)
	compute.Angles(want, pos, rope)
	copy(want[2*n:], slices.Repeat([]float32{-7}, n))
	s.near("angles", got, want, 1e-7, 1e-9)
}

// TestAppend: sequences grow token by token, each from a place of its own, and now and then
// a row is nobody's. What comes is what the definitions make of the same product; all else
// stays as it was.
func TestAppend(t *testing.T) {
	for i, tc := range selectShapes {
		for _, norm := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d/norm=%v", i, norm), func(t *testing.T) {
				s := newSelectScene(t, tc.l, tc.group, []int{3, 5, 4, 4})
				s.growth(norm, i%3 != 1, i%2 == 0)
			})
		}
	}
}

func (s *selectScene) growth(norm, scores, interleaved bool) {
	l, heads := s.l, s.l.Heads*s.group
	s.want.Scores = scores
	rope := &compute.Rope{Inv: make([]float32, l.Dim/2-l.Dim/2/4), Factor: 1.1, Interleaved: interleaved}
	for i := range rope.Inv {
		rope.Inv[i] = float32(math.Pow(100, -float64(i)/float64(len(rope.Inv))))
	}
	width := (heads + 2*l.Heads) * l.Dim
	const n = 5
	seat := []int32{2, 0, 1, 3, 1}
	pos := []int32{int32(l.Block*3 - 1), int32(l.Block + 3%l.Block), int32(l.Block * 4), 0, -1}
	delta, bias, scale := s.normal(l.Heads*l.Heads*l.Dim), s.normal(l.Heads), s.normal(l.Heads)
	qNorm, kNorm := s.normal(l.Dim), s.normal(l.Dim)
	a := appendArgs{c: s.c, q: s.floats(slices.Repeat([]float32{-7}, n*heads*l.Dim)), group: int32(s.group), eps: 1e-5}
	a.rope(rope)
	if norm {
		a.qNorm, a.kNorm = s.floats(qNorm), s.floats(kNorm)
	}
	if scores {
		a.delta, a.bias, a.scale = s.floats(delta), s.floats(bias), s.floats(scale)
	} else {
		bias = nil
	}
	angles := s.floats(make([]float32, n*2*len(rope.Inv)))
	a.angles = angles
	for step := range l.Block/2 + 2 {
		qkv := s.normal(n * width)
		for r := range n { // a channel of keys whose means are beyond float16
			qkv[r*width+heads*l.Dim] *= 1e6
		}
		a.qkv, a.rows = s.floats(qkv), s.rows(pos, seat)
		s.s.angles(s.g, &anglesArgs{rows: a.rows, out: angles, inv: s.floats(rope.Inv), pairs: a.pairs, factor: rope.Factor})
		s.s.append(s.g, &a)
		turned := s.backFloats(angles, n*2*len(rope.Inv))
		q := s.backFloats(a.q, n*heads*l.Dim)
		for r, p := range pos {
			if p < 0 {
				continue
			}
			row := qkv[r*width : (r+1)*width]
			wq, k, v := row[:heads*l.Dim], row[heads*l.Dim:][:l.Heads*l.Dim], row[(heads+l.Heads)*l.Dim:]
			if norm {
				compute.RMSNorm(wq, wq, qNorm, a.eps)
				compute.RMSNorm(k, k, kNorm, a.eps)
			}
			angle := turned[r*2*len(rope.Inv):][:2*len(rope.Inv)]
			compute.Rotate(wq, angle, heads, l.Dim, rope)
			compute.Rotate(k, angle, l.Heads, l.Dim, rope)
			var score compute.Tensor
			if scores {
				score = compute.F32s(make([]float32, l.Heads), l.Heads)
				compute.Importance(score.F32(), v, delta, bias, scale)
			}
			compute.Append(&s.want, compute.Tile{N: 1, Pos: int(p), Tables: s.tables(seat[r]), Tail: s.tail(seat[r])},
				compute.F32s(k, len(k)), compute.F32s(v, len(v)), score)
			got := q[r*heads*l.Dim:][:heads*l.Dim]
			if norm {
				s.near(fmt.Sprintf("step %d, queries of row %d", step, r), got, wq, 1e-5, 1e-5)
			} else {
				s.sameBits(fmt.Sprintf("step %d, queries of row %d", step, r), got, wq)
			}
			pos[r]++
		}
		if step%3 == 0 { // the last row takes the second's turn, and its seat
			pos[1], pos[4] = pos[4], pos[1]
			seat[1], seat[4] = seat[4], seat[1]
		}
	}
	ids := s.layers * l.Heads * s.columns
	tails, means := s.backFloats(s.c.tails, len(s.tails)), s.back(s.c.means, ids*l.SummaryBytes())
	if norm {
		s.near("tails", tails, s.tails, 1e-5, 1e-5)
		got, want := make([]float32, l.Dim), make([]float32, l.Dim)
		for id := range ids {
			for seg := range l.Segments() {
				l.Mean(got, means[id*l.SummaryBytes():][:l.SummaryBytes()], seg)
				l.Mean(want, s.want.Summary(int32(id)), seg)
				s.near(fmt.Sprintf("mean %d of block %d", seg, id), got, want, 1e-3, 1e-4)
			}
		}
	} else {
		s.sameBits("tails", tails, s.tails)
		if string(means) != string(s.want.Segments.Data) {
			s.Fatal("means are others than the definition's")
		}
	}
	s.near("scores of tokens", s.backFloats(s.c.tokenScore, ids*l.Block), s.want.Score.F32(), 1e-5, 1e-5)
	s.near("scores of segments", s.backFloats(s.c.segmentScore, ids*l.Segments()), s.want.SegScore.F32(), 1e-5, 1e-5)
}
