package compute

import "math"

var negInf = float32(math.Inf(-1))

// ScoreBlocks sets out [N, kvHeads, blocks] to how much each row's query asks
// for each visible block (spec nosa, section 3, steps 2 and 3): the softmax of
// q·ck/√dim over the compressed keys that lie entirely at or before the row,
// summed over the query heads of a group, then the maximum over the windows that
// overlap a block. A block that no such window overlaps gets −∞.
//
// q is [rows, heads, dim]; the compressed key of window m is the mean of the
// segments m … m+Span−1, so its product with q is the mean of their products.
func ScoreBlocks(out, q Tensor, c *Cache, t Tile) {
	blocks, heads := t.Own(c.Block)+1, q.Dims[1]
	group, segs, span := heads/c.Heads, c.Layout.Segments(), c.Span()
	part := make([]float64, blocks*segs)
	win := make([]float64, blocks*segs)
	sum := make([]float32, blocks*segs)
	mean := make([]float32, c.Dim)
	for r := range t.N {
		m := c.Windows(t.Pos + r + 1)
		for h := range c.Heads {
			clear(sum[:m])
			for g := range group {
				qh := q.F32()[((t.Row+r)*heads+h*group+g)*c.Dim:][:c.Dim]
				top := math.Inf(-1)
				for i := 0; m > 0 && i < m+span-1; i++ {
					c.Mean(mean, c.Summary(t.Tables[h][i/segs]), i%segs)
					part[i] = dot(qh, mean)
				}
				for w := range m {
					win[w] = 0
					for i := w; i < w+span; i++ {
						win[w] += part[i]
					}
					win[w] /= float64(span) * math.Sqrt(float64(c.Dim))
					top = max(top, win[w])
				}
				var total float64
				for w := range m {
					win[w] = math.Exp(win[w] - top)
					total += win[w]
				}
				for w := range m {
					sum[w] += float32(win[w] / total)
				}
			}
			poolBlocks(out.F32()[(r*c.Heads+h)*blocks:][:blocks], sum[:m], segs, span)
		}
	}
}

// ScoreImportance sets out [N, kvHeads, blocks] to the query-independent score
// of each visible block (step 6): the mean of the tokens' scores over each
// window, then the maximum over the windows that overlap a block.
func ScoreImportance(out Tensor, c *Cache, t Tile) {
	blocks, segs, span := t.Own(c.Block)+1, c.Layout.Segments(), c.Span()
	win := make([]float32, blocks*segs)
	for r := range t.N {
		m := c.Windows(t.Pos + r + 1)
		for h := range c.Heads {
			for w := range m {
				var sum float64
				for i := w; i < w+span; i++ {
					sum += float64(c.SegScore.F32()[int(t.Tables[h][i/segs])*segs+i%segs])
				}
				win[w] = float32(sum / float64(span))
			}
			poolBlocks(out.F32()[(r*c.Heads+h)*blocks:][:blocks], win[:m], segs, span)
		}
	}
}

// poolBlocks takes for block b the maximum over windows segs·b−(span−1) …
// segs·b+segs−1, those that overlap it. Windows that do not exist are skipped.
func poolBlocks(out, win []float32, segs, span int) {
	for b := range out {
		best := negInf
		for w := max(0, segs*b-span+1); w < min(len(win), segs*b+segs); w++ {
			best = max(best, win[w])
		}
		out[b] = best
	}
}
