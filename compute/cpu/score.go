package cpu

import (
	"math"

	"nosa/compute"
)

// score is the task of ScoreBlocks; a piece is a run of a tile's rows for one KV
// head. The steps are those of compute.ScoreBlocks: products with the segments'
// means, their sums over windows, softmax, sum over the heads of a group, maximum
// over a block's windows.
type score struct {
	k      *kernels
	out, q []float32
	cache  *compute.Cache
	tile   compute.Tile

	heads, group, dim, blocks, segs, reach int
	scale                                  float32
	span                                   int // rows of a piece
}

// ScoreBlocks: see compute.ScoreBlocks.
func (d *Device) ScoreBlocks(out, q compute.Tensor, c *compute.Cache, t compute.Tile) {
	s := &d.score
	*s = score{
		k: &d.kernels, out: out.F32(), q: q.F32(), cache: c, tile: t,
		heads: q.Dims[1], group: q.Dims[1] / c.Heads, dim: c.Dim,
		blocks: t.Own(c.Block) + 1, segs: c.Layout.Segments(), reach: c.Span(),
		scale: float32(1 / (float64(c.Span()) * math.Sqrt(float64(c.Dim)))),
	}
	_ = s.out[:t.N*c.Heads*s.blocks]
	_ = s.q[:(t.Row+t.N)*s.heads*s.dim]
	cuts := 1
	if d.threads > 1 {
		cuts = min((3*d.threads+c.Heads-1)/c.Heads, t.N)
	}
	s.span = (t.N + cuts - 1) / cuts
	d.team.do(s, c.Heads*((t.N+s.span-1)/s.span))
	*s = score{}
}

func (s *score) run(w *worker, piece int) {
	head := piece % s.cache.Heads
	from := piece / s.cache.Heads * s.span
	to := min(s.tile.N, from+s.span)
	most := s.blocks * s.segs
	part, sum := room(&w.logits, 3*most), room(&w.sum, most)
	means := s.gather(w, head, s.cache.Windows(s.tile.Pos+to)+s.reach-1)
	for r := from; r < to; r++ {
		m := s.cache.Windows(s.tile.Pos + r + 1)
		clear(sum[:m])
		for g := 0; g < s.group && m > 0; g += 3 {
			n := min(3, s.group-g)
			s.products(part, most, means, r, head, g, n, m+s.reach-1)
			for j := range n {
				s.addWindows(w, sum[:m], part[j*most:][:m+s.reach-1])
			}
		}
		poolBlocks(s.out[(r*s.cache.Heads+head)*s.blocks:][:s.blocks], sum[:m], s.segs, s.reach)
	}
}

// gather copies the first count segments' means into one run.
func (s *score) gather(w *worker, head, count int) []float32 {
	size := s.segs * s.dim
	means := room(&w.keys, (count+s.segs-1)/s.segs*size)
	for b := 0; b*s.segs < count; b++ {
		summary := s.cache.Summary(s.tile.Tables[head][b])
		for i := range s.segs {
			s.cache.Mean(means[b*size+i*s.dim:][:s.dim], summary, i)
		}
	}
	return means
}

// products sets part[j·os:] to the products of n query heads from g on with the
// means of the first count segments: those gathered, or each block's in turn.
func (s *score) products(part []float32, os int, means []float32, r, head, g, n, count int) {
	q := s.q[((s.tile.Row+r)*s.heads+head*s.group+g)*s.dim:][:n*s.dim]
	s.multiply(part, os, q, means, n, count)
}

func (s *score) multiply(part []float32, os int, q, means []float32, n, count int) {
	if n == 3 {
		s.k.dot3(part, os, q[:s.dim], q[s.dim:2*s.dim], q[2*s.dim:], means, s.dim, count)
		return
	}
	for j := range n {
		s.k.dot1(part[j*os:], q[j*s.dim:(j+1)*s.dim], means, s.dim, count)
	}
}

// addWindows adds the softmax over windows of one query head to sum. part holds
// the products with the segments and is overwritten.
func (s *score) addWindows(w *worker, sum, part []float32) {
	win := part[:len(sum)]
	if s.reach == 2 { // as published; the general case in two numbers
		for i, y := range part[1:] {
			win[i] += y
		}
	} else {
		for i := range win {
			x := part[i]
			for _, y := range part[i+1 : i+s.reach] {
				x += y
			}
			win[i] = x
		}
	}
	w.state = [2]float32{negInf, 0}
	s.k.softmax(win, nil, &w.state, s.scale)
	w.state[0] = 1 / w.state[1]
	s.k.weigh(sum, w.state[:1], win, 1)
}

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
