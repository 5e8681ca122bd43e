package cpu

import (
	"encoding/binary"

	"nosa/dtype"
)

// scoreMemory is what a worker needs for ScoreBlocks.
type scoreMemory struct {
	own   softmaxed
	q     []float32 // queries by tiles, [steps, height, 4] each
	tiles []int     // height of each
	part  []float32 // products of a chunk, after those of the block before it
	panel []float32 // means of some blocks
	sum   []float32

	chosen chosen
}

// queries lays out the queries of rows for one KV head as the products read them:
// tiles of nearly the same height, channels beyond the last zero.
func (s *score) queries(m *scoreMemory, head, from, to int) {
	n := (to - from) * s.group
	tiles := (n + s.k.tall - 1) / s.k.tall
	m.tiles = m.tiles[:0]
	q := room(&m.q, n*s.steps*4)
	dim, done := s.cache.Dim, 0
	for i := range tiles {
		height := n / tiles
		if i < n%tiles {
			height++
		}
		tile := q[done*s.steps*4:][:height*s.steps*4]
		for j := range height {
			r, g := (done+j)/s.group, (done+j)%s.group
			src := s.q[((s.tile.Row+from+r)*s.heads+head*s.group+g)*dim:][:dim]
			for d := range s.steps {
				dst := tile[(d*height+j)*4:][:4]
				clear(dst[copy(dst, src[4*d:]):])
			}
		}
		m.tiles = append(m.tiles, height)
		done += height
	}
}

// partRow is the distance between the products of two queries: those of a chunk,
// the block before it, and what a kernel may write beyond.
func (s *score) partRow() int { return (chunkBlocks+1)*s.segs + 16 }

// walk takes the chunks first to last−1 for rows.
func (s *score) walk(m *scoreMemory, x *softmaxed, head, from, to, first, last int) {
	n, os, size := (to-from)*s.group, s.partRow(), chunkBlocks*s.segs
	part := room(&m.part, n*os)
	table := s.tile.Tables[head]
	for c := first; c < last; c++ {
		// A chunk's first windows begin in the block before it.
		block, at := c*chunkBlocks, s.segs
		switch {
		case c > first:
			for j := range n {
				copy(part[j*os:][:s.segs], part[j*os+size:][:s.segs])
			}
		case c > 0:
			block, at = block-1, 0
		}
		end := min((c+1)*chunkBlocks, (s.segments(to-1)+s.segs-1)/s.segs)
		ahead := min(last*chunkBlocks, len(table))
		s.products(m, part[at:], os, table[block:end:ahead])
		for j := range n {
			i, most := max(c*size, s.span-1), min(s.segments(from+j/s.group), (c+1)*size)
			if i >= most {
				x.tops[j*s.chunks+c], x.sums[j*s.chunks+c] = negInf, 0
				continue
			}
			// Part begins segs places before the chunk, and a window span−1 before its last.
			p := part[j*os+i-c*size+s.segs-(s.span-1):][:most-i+s.span-1]
			x.tops[j*s.chunks+c], x.sums[j*s.chunks+c] = s.k.windows(x.windows[j*x.places+i:j*x.places+most], p, s.span, s.scale)
		}
	}
}

// products multiplies all queries with the segments of the table's blocks.
func (s *score) products(m *scoreMemory, part []float32, os int, table []int32) {
	wide := s.cache.SummaryType() == dtype.F32
	if s.segs != 4 {
		s.anySegments(m, part, os, table, wide)
		return
	}
	n, size := 0, s.cache.SummaryBytes()
	for _, h := range m.tiles {
		n += h
	}
	for len(table) > 0 {
		blocks := min(panelBlocks, len(table))
		ids := table[:blocks]
		expand := !wide && n > fewQueries
		if expand {
			s.k.widen(room(&m.panel, blocks*4*4*s.steps), s.cache.Segments.Data, size, ids)
		}
		q, out := m.q, part
		for i, h := range m.tiles {
			if i == 1 {
				ids = ids[:blocks:blocks] // the first tile has asked for what comes next
			}
			switch {
			case wide:
				s.k.means32(out, os, q, h, s.steps, s.cache.Segments.F32(), ids)
			case expand:
				s.k.means32(out, os, q, h, s.steps, m.panel, inOrder[:blocks:blocks])
			default:
				s.k.means16(out, os, q, h, s.steps, s.cache.Segments.Data, ids)
			}
			if i < len(m.tiles)-1 {
				q, out = q[h*s.steps*4:], out[h*os:]
			}
		}
		table, part = table[blocks:], part[4*blocks:]
	}
}

// inOrder is the table of a panel.
var inOrder = [panelBlocks]int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

// anySegments is products for blocks of other than four segments, in plain Go.
func (s *score) anySegments(m *scoreMemory, part []float32, os int, table []int32, wide bool) {
	for b, id := range table {
		summary := s.cache.Summary(id)
		at := func(i int) float32 { return dtype.F16ToF32(binary.LittleEndian.Uint16(summary[2*i:])) }
		if wide {
			values := s.cache.Segments.F32()[int(id)*len(summary)/4:]
			at = func(i int) float32 { return values[i] }
		}
		q, out := m.q, part[b*s.segs:]
		for i, h := range m.tiles {
			meansGo(out, os, q, h, s.steps, s.segs, at)
			if i < len(m.tiles)-1 {
				q, out = q[h*s.steps*4:], out[h*os:]
			}
		}
	}
}
