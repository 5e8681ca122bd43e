package cpu

import (
	"math"
	"sync/atomic"

	"nosa/compute"
)

// score is the task of ScoreBlocks. The steps are those of compute.ScoreBlocks:
// products with the segments' means, their sums over windows, softmax, sum over the
// heads of a group, maximum over a block's windows.
//
// They go by chunks of the context, at the same places for every row: a chunk's
// exponentials are taken against its own maximum, and its share of the softmax is
// put right when all maxima are known. So a tile of one row can give the chunks to
// different threads, the products are still in the first cache when they become
// exponentials, and neither shows in the bits.
//
// A piece of a tile of many rows is a run of its rows for one KV head, so many that
// their exponentials stay in the second cache. A piece of a tile of one row is a run
// of chunks of one KV head; the last one to end pools the head.
type score struct {
	k      *kernels
	out, q []float32
	cache  *compute.Cache
	tile   compute.Tile

	heads, group, steps, blocks, segs, span int
	scale                                   float32
	chunks                                  int // of the longest row

	rows int // of a piece; 0 in a tile of one row

	alone oneRow
}

// oneRow is what the pieces of a tile of one row share; it stays from call to call.
type oneRow struct {
	pieces int // of a KV head
	heads  []softmaxed
	left   []atomic.Int32 // by KV head: pieces that have not ended
}

// softmaxed is the softmax over windows of the queries of some rows and one KV
// head. A window is known by its last segment, so that windows before span−1 do not
// exist.
type softmaxed struct {
	windows []float32 // [queries, places]: e^(logit − its chunk's maximum)
	tops    []float32 // [queries, chunks]: maxima of products, then the chunk's factor
	sums    []float32 // [queries, chunks]
	places  int
}

// chunkBlocks is the number of blocks of a chunk.
const chunkBlocks = 64

// panelBlocks is how many blocks' means are multiplied with all of a piece's
// queries before the next ones: 16 KiB of float32 at 64 channels.
const panelBlocks = 16

// The second cache's share for a piece's exponentials, in float32s, and the most
// queries for which means are not expanded first.
const (
	windowsRoom = 192 << 10
	fewQueries  = 12
)

// ScoreBlocks: see compute.ScoreBlocks.
func (d *Device) ScoreBlocks(out, q compute.Tensor, c *compute.Cache, t compute.Tile) {
	s := &d.score
	s.k, s.out, s.q, s.cache, s.tile = &d.kernels, out.F32(), q.F32(), c, t
	s.heads, s.group, s.steps = q.Dims[1], q.Dims[1]/c.Heads, c.SummarySteps()
	s.blocks, s.segs, s.span = t.Own(c.Block)+1, c.Layout.Segments(), c.Span()
	s.scale = float32(1 / (float64(s.span) * math.Sqrt(float64(c.Dim))))
	_ = s.out[:t.N*c.Heads*s.blocks]
	_ = s.q[:(t.Row+t.N)*s.heads*c.Dim]
	most := s.segments(t.N - 1)
	s.chunks = s.chunksOf(most)
	if t.N == 1 {
		s.one(d)
	} else {
		cuts := (3*d.threads + c.Heads - 1) / c.Heads
		if d.threads == 1 {
			cuts = 1
		}
		s.rows = max(1, min((t.N+cuts-1)/cuts, windowsRoom/max(1, s.group*most)))
		d.team.do(s, c.Heads*((t.N+s.rows-1)/s.rows))
	}
	s.out, s.q, s.cache, s.tile = nil, nil, nil, compute.Tile{}
}

// segments is the number of segments in the windows that row r of the tile sees.
func (s *score) segments(r int) int {
	if m := s.cache.Windows(s.tile.Pos + r + 1); m > 0 {
		return m + s.span - 1
	}
	return 0
}

// chunksOf is the number of chunks of n segments.
func (s *score) chunksOf(n int) int {
	size := chunkBlocks * max(1, s.segs)
	return (n + size - 1) / size
}

// one shares out the chunks of a tile of one row.
func (s *score) one(d *Device) {
	s.rows = 0
	heads := s.cache.Heads
	cuts := 1
	if d.threads > 1 {
		// A few pieces for each thread, and as many for one as for another: what is not
		// asked for ahead is the beginning of each.
		cuts = (3*d.threads + heads - 1) / heads
		for range d.threads {
			if heads*cuts%d.threads == 0 {
				break
			}
			cuts++
		}
	}
	run := max(1, (s.chunks+cuts-1)/cuts)
	o := &s.alone
	o.pieces = max(1, (s.chunks+run-1)/run)
	for len(o.heads) < heads {
		o.heads = append(o.heads, softmaxed{})
	}
	if len(o.left) < heads {
		o.left = make([]atomic.Int32, heads)
	}
	for h := range heads {
		o.heads[h].make(s, 1)
		o.left[h].Store(int32(o.pieces))
	}
	d.team.do(s, heads*o.pieces)
}

// make gives room for the windows of rows.
func (x *softmaxed) make(s *score, rows int) {
	n := rows * s.group
	x.places = (s.chunks*chunkBlocks + 1) * s.segs
	room(&x.windows, n*x.places)
	room(&x.tops, n*s.chunks)
	room(&x.sums, n*s.chunks)
}

func (s *score) run(w *worker, piece int) {
	m := &w.score
	if s.rows > 0 {
		head, from := piece%s.cache.Heads, piece/s.cache.Heads*s.rows
		to := min(s.tile.N, from+s.rows)
		m.own.make(s, to-from)
		s.queries(m, head, from, to)
		s.walk(m, &m.own, head, from, to, 0, s.chunksOf(s.segments(to-1)))
		for r := from; r < to; r++ {
			s.pool(m, &m.own, head, r, (r-from)*s.group)
		}
		return
	}
	o := &s.alone
	head, part := piece/o.pieces, piece%o.pieces
	x := &o.heads[head]
	s.queries(m, head, 0, 1)
	s.walk(m, x, head, 0, 1, part*s.chunks/o.pieces, (part+1)*s.chunks/o.pieces)
	if o.left[head].Add(-1) == 0 {
		s.pool(m, x, head, 0, 0)
	}
}

// pool sets a row's scores of blocks: the share of each chunk, the sum over the
// group's queries, from j on, and the maximum over a block's windows.
func (s *score) pool(m *scoreMemory, x *softmaxed, head, r, j int) {
	n := s.segments(r)
	out := s.out[(r*s.cache.Heads+head)*s.blocks:][:s.blocks]
	size := chunkBlocks * s.segs
	chunks := s.chunksOf(n)
	for g := j; g < j+s.group; g++ {
		factor, sums := x.tops[g*s.chunks:][:chunks], x.sums[g*s.chunks:][:chunks]
		// A row of maxima is a row of windows of one product each.
		s.k.windows(factor, factor, 1, s.scale)
		var total float32
		for c, f := range factor {
			total += float32(sums[c] * f)
		}
		for c := range factor {
			factor[c] /= total
		}
	}
	sum := room(&m.sum, grown(n))[:n]
	for c := range chunks {
		from, to := max(c*size, s.span-1), min(n, (c+1)*size)
		s.k.blend(sum[from:to], x.windows[j*x.places+from:], x.places, x.tops[j*s.chunks+c:], s.chunks, s.group)
	}
	s.maxima(out, sum)
}

// maxima sets out[b] to the maximum over the windows that overlap block b, and −∞
// where there is none.
func (s *score) maxima(out, windows []float32) {
	quick := 1
	if s.segs == 4 && s.span == 2 { // as published; all blocks but the first and the last ones
		if n := (len(windows)-1)/4 - 1; n > 0 {
			s.k.pool(out[1:1+n], windows[4:])
			quick = 1 + n
		}
	}
	for b := range out {
		if b > 0 && b < quick {
			continue
		}
		best := negInf
		for i := max(s.segs*b, s.span-1); i < min(len(windows), s.segs*(b+1)+s.span-1); i++ {
			best = max(best, windows[i])
		}
		out[b] = best
	}
}
