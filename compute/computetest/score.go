package computetest

import (
	"math"
	"testing"

	"nosa/compute"
)

var scoreCases = []struct {
	layout           compute.Layout
	group, pos, rows int
}{
	{compute.Layout{Heads: 1, Dim: 4, Block: 8, Kernel: 4, Stride: 2, Scores: true}, 2, 82, 1},
	{compute.Layout{Heads: 1, Dim: 4, Block: 8, Kernel: 4, Stride: 2, Scores: true}, 2, 0, 8},
	{compute.Layout{Heads: 2, Dim: 64, Block: 64, Kernel: 32, Stride: 16, Scores: true}, 3, 64 * 9, 64},
	{compute.Layout{Heads: 2, Dim: 16, Block: 64, Kernel: 32, Stride: 16, Scores: true}, 8, 64*40 + 31, 1},
	{compute.Layout{Heads: 3, Dim: 80, Block: 16, Kernel: 16, Stride: 16, Scores: true}, 1, 16*21 + 3, 5},
	{compute.Layout{Heads: 1, Dim: 20, Block: 16, Kernel: 16, Stride: 4, Scores: true}, 5, 16*30 + 12, 4},
	{compute.Layout{Heads: 1, Dim: 128, Block: 8, Kernel: 8, Stride: 8, Scores: true}, 2, 8 * 600, 8},
	{compute.Layout{Heads: 2, Dim: 16, Block: 64, Kernel: 32, Stride: 16, Scores: true}, 4, 20, 3}, // no window yet
	{compute.Layout{Heads: 2, Dim: 16, Block: 64, Kernel: 32, Stride: 16, Scores: true, Type: compute.KVBF16}, 4, 20, 3},
	{compute.Layout{Heads: 2, Dim: 128, Block: 64, Kernel: 32, Stride: 16, Type: compute.KVBF16}, 16, 64*140 + 20, 20},
	{compute.Layout{Heads: 3, Dim: 64, Block: 64, Kernel: 32, Stride: 16, Type: compute.KVQ8}, 3, 64 * 70, 64},
	{compute.Layout{Heads: 1, Dim: 80, Block: 16, Kernel: 16, Stride: 4, Type: compute.KVF16}, 5, 16*200 + 3, 7},
	{compute.Layout{Heads: 2, Dim: 48, Block: 8, Kernel: 8, Stride: 8, Type: compute.KVQ4}, 2, 8 * 600, 8},
}

// scoreBlocks compares block scores, and a row alone with the same row in a tile.
func (s *suite) scoreBlocks(t *testing.T) {
	for i, tc := range scoreCases {
		if heavy(t, i, tc.rows*tc.layout.Heads*tc.group*tc.pos/max(1, tc.layout.Stride)*tc.layout.Dim) {
			continue
		}
		sc := s.newScene(t, tc.layout, tc.group, tc.pos, tc.rows)
		out := s.empty(t, tc.rows, tc.layout.Heads, sc.blocks)
		c, tile := sc.on(onDev)
		rc, rt := sc.on(onRef)
		s.dev.ScoreBlocks(out.dev, sc.q.dev, c, tile)
		s.ref.ScoreBlocks(out.ref, sc.q.ref, rc, rt)
		rounded := s.tol.Rounded / 8 // means are float16, and queries are rounded to no less
		if tc.layout.Type == compute.KVF32 {
			rounded = 0
		}
		bound := 5*rounded + s.tol.Sum*5*math.Sqrt(float64(tc.layout.Dim))*5
		t.Logf("case %d", i)
		s.close(t, "block scores", out, func(_ int, want float64) float64 {
			return bound * (math.Abs(want) + 1e-6) * float64(tc.group)
		})
		all := read(s.dev, out.dev)
		for _, r := range []int{0, tc.rows - 1} {
			one := tile
			one.Row, one.Pos, one.N = tile.Row+r, tile.Pos+r, 1
			alone := s.empty(t, 1, tc.layout.Heads, sc.blocks)
			s.dev.ScoreBlocks(alone.dev, sc.q.dev, c, one)
			n := tc.layout.Heads * sc.blocks
			same(t, "a row alone", read(s.dev, alone.dev), all[r*n:(r+1)*n])
		}
	}
}

func (s *suite) scoreImportance(t *testing.T) {
	for _, tc := range scoreCases {
		tc.layout.Scores = true
		sc := s.newScene(t, tc.layout, tc.group, tc.pos, tc.rows)
		out := s.empty(t, tc.rows, tc.layout.Heads, sc.blocks)
		c, tile := sc.on(onDev)
		rc, rt := sc.on(onRef)
		s.dev.ScoreImportance(out.dev, c, tile)
		s.ref.ScoreImportance(out.ref, rc, rt)
		s.close(t, "importance of blocks", out, func(int, float64) float64 { return s.tol.Point * 5 })
	}
}

// selection is exact: the same scores give the same blocks, ties, infinities and
// scores that are not numbers included.
func (s *suite) selection(t *testing.T) {
	const block = 8
	for round := range 200 {
		own := s.rng.IntN(90)
		rows, heads := 1+s.rng.IntN(block), 1+s.rng.IntN(3)
		pos := own*block + s.rng.IntN(block-rows+1)
		p := compute.SelectParams{
			Init: s.rng.IntN(3), Local: s.rng.IntN(6), Query: s.rng.IntN(20), K: 1 + s.rng.IntN(70),
			ByQuery: s.rng.IntN(3) > 0, ByScore: s.rng.IntN(3) > 0,
		}
		if s.rng.IntN(4) == 0 {
			p.DenseLen = pos + s.rng.IntN(rows+1)
		}
		n := rows * heads * (own + 1)
		byQuery, byScore := s.f32(t, s.ties(n), rows, heads, own+1), s.f32(t, s.ties(n), rows, heads, own+1)
		if !p.ByQuery {
			byQuery = pair{}
		}
		if !p.ByScore {
			byScore = pair{}
		}
		tile := compute.Tile{N: rows, Pos: pos}
		blocks := s.i32(t, make([]int32, rows*heads*p.Most()), rows, heads, p.Most())
		count := s.i32(t, make([]int32, rows*heads), rows, heads)
		s.dev.Select(compute.Selection{Blocks: blocks.dev, Count: count.dev}, byQuery.dev, byScore.dev, tile, block, p)
		s.ref.Select(compute.Selection{Blocks: blocks.ref, Count: count.ref}, byQuery.ref, byScore.ref, tile, block, p)
		gotCount, wantCount := readInts(s.dev, count.dev), readInts(s.ref, count.ref)
		got, want := readInts(s.dev, blocks.dev), readInts(s.ref, blocks.ref)
		for i, c := range wantCount {
			if gotCount[i] != c {
				t.Fatalf("round %d %+v: row %d selects %d blocks, the definition %d", round, p, i/heads, gotCount[i], c)
			}
			for j := i * p.Most(); c >= 0 && j < (i+1)*p.Most(); j++ {
				if got[j] != want[j] {
					t.Fatalf("round %d %+v own %d: row %d place %d is %d, the definition says %d", round, p, own, i/heads, j-i*p.Most(), got[j], want[j])
				}
			}
		}
	}
}

// ties returns n scores among which many are equal, infinite or not numbers.
func (s *suite) ties(n int) []float32 {
	v := s.normal(n)
	for i := range v {
		switch s.rng.IntN(12) {
		case 0, 1, 2:
			v[i] = 0.5
		case 3:
			v[i] = float32(math.Inf(-1))
		case 4:
			v[i] = 0
		case 5:
			v[i] = float32(math.Copysign(0, -1))
		case 6:
			if i%7 == 0 {
				v[i] = float32(math.NaN())
			}
		}
	}
	return v
}
