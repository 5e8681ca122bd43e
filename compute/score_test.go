package compute

import (
	"math"
	"math/rand/v2"
	"testing"
)

// asSpecified is steps 1 to 3 of spec nosa, section 3, from the raw keys, for one
// row at position pos and one KV head: softmax over the compressed keys of each
// query head, summed, and the maximum over a block's windows.
func asSpecified(st story, row, head int) []float64 {
	l, pos := st.c.Layout, st.t.Pos+row
	var keys [][]float64
	for m := 0; m*l.Stride+l.Kernel <= pos+1; m++ {
		mean := make([]float64, l.Dim)
		for j := m * l.Stride; j < m*l.Stride+l.Kernel; j++ {
			for d := range mean {
				mean[d] += float64(st.k.F32()[(j*l.Heads+head)*l.Dim+d]) / float64(l.Kernel)
			}
		}
		keys = append(keys, mean)
	}
	sum := make([]float64, len(keys))
	for g := range st.group {
		q := st.q.F32()[(row*l.Heads*st.group+head*st.group+g)*l.Dim:][:l.Dim]
		p := make([]float64, len(keys))
		var total float64
		for m, key := range keys {
			for d, x := range q {
				p[m] += float64(x) * key[d] / math.Sqrt(float64(l.Dim))
			}
			p[m] = math.Exp(p[m])
			total += p[m]
		}
		for m := range p {
			sum[m] += p[m] / total
		}
	}
	return overlapping(l, sum, pos/l.Block+1)
}

// overlapping takes the maximum over the windows that share a token with a block.
func overlapping(l Layout, window []float64, blocks int) []float64 {
	out := make([]float64, blocks)
	for b := range out {
		out[b] = math.Inf(-1)
		for m, x := range window {
			if from := m * l.Stride; from < (b+1)*l.Block && from+l.Kernel > b*l.Block {
				out[b] = max(out[b], x)
			}
		}
	}
	return out
}

func TestScores(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, tc := range []struct {
		l            Layout
		group        int
		tokens, rows int
	}{
		{Layout{Heads: 1, Dim: 4, Block: 8, Kernel: 4, Stride: 2, Scores: true}, 2, 83, 3},
		{Layout{Heads: 2, Dim: 4, Block: 64, Kernel: 32, Stride: 16, Scores: true}, 3, 64*4 + 33, 33},
		{Layout{Heads: 1, Dim: 3, Block: 8, Kernel: 8, Stride: 2, Scores: true}, 1, 60, 4},
		{Layout{Heads: 1, Dim: 3, Block: 4, Kernel: 4, Stride: 4, Scores: true}, 1, 64, 4},
		{Layout{Heads: 1, Dim: 4, Block: 64, Kernel: 32, Stride: 16, Scores: true}, 1, 31, 31},
		{Layout{Heads: 1, Dim: 4, Block: 64, Kernel: 32, Stride: 16, Scores: true}, 1, 33, 4},
	} {
		st := newStory(rng, tc.l, tc.group, tc.tokens, tc.rows)
		blocks := st.t.Own(tc.l.Block) + 1
		n := tc.rows * tc.l.Heads * blocks
		query, score := F32s(make([]float32, n), tc.rows, tc.l.Heads, blocks), F32s(make([]float32, n), tc.rows, tc.l.Heads, blocks)
		ScoreBlocks(query, st.q, st.c, st.t)
		ScoreImportance(score, st.c, st.t)
		for r := range tc.rows {
			var windows []float64
			for h := range tc.l.Heads {
				windows = windows[:0]
				for m := 0; m*tc.l.Stride+tc.l.Kernel <= st.t.Pos+r+1; m++ {
					var mean float64
					for j := m * tc.l.Stride; j < m*tc.l.Stride+tc.l.Kernel; j++ {
						mean += float64(st.s.F32()[j*tc.l.Heads+h]) / float64(tc.l.Kernel)
					}
					windows = append(windows, mean)
				}
				at := (r*tc.l.Heads + h) * blocks
				agree(t, "ScoreBlocks", query.F32()[at:at+blocks], asSpecified(st, r, h))
				agree(t, "ScoreImportance", score.F32()[at:at+blocks], overlapping(tc.l, windows, blocks))
			}
		}
	}
}

func agree(t *testing.T, what string, got []float32, want []float64) {
	t.Helper()
	for b, w := range want {
		g := float64(got[b])
		if g == w {
			continue
		}
		if d := math.Abs(g - w); !(d <= 2e-6*(1+math.Abs(w))) {
			t.Fatalf("%s: block %d of %d scores %v, want %v", what, b, len(want), g, w)
		}
	}
}
