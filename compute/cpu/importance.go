package cpu

import "nosa/compute"

// poolBlocks takes for block b the maximum over the windows that overlap it.
func poolBlocks(out, win []float32, segs, span int) {
	for b := range out {
		best := negInf
		for _, x := range win[min(len(win), max(0, segs*b-span+1)):min(len(win), segs*b+segs)] {
			best = max(best, x)
		}
		out[b] = best
	}
}

// ScoreImportance: see compute.ScoreImportance, whose bits these are. The windows
// are summed once per tile, and rows that see the same ones share their result.
func (d *Device) ScoreImportance(out compute.Tensor, c *compute.Cache, t compute.Tile) {
	o, scores := out.F32(), c.SegScore.F32()
	blocks, segs, span := t.Own(c.Block)+1, c.Layout.Segments(), c.Span()
	win := room(&d.team.workers[0].sum, blocks*segs)
	for h := range c.Heads {
		most := c.Windows(t.Pos + t.N)
		for w := range most {
			var sum float64
			for i := w; i < w+span; i++ {
				sum += float64(scores[int(t.Tables[h][i/segs])*segs+i%segs])
			}
			win[w] = float32(sum / float64(span))
		}
		seen := -1
		for r := range t.N {
			row := o[(r*c.Heads+h)*blocks:][:blocks]
			if m := c.Windows(t.Pos + r + 1); m != seen {
				poolBlocks(row, win[:m], segs, span)
				seen = m
			} else {
				copy(row, o[((r-1)*c.Heads+h)*blocks:][:blocks])
			}
		}
	}
}
