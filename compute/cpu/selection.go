package cpu

import "nosa/compute"

// selection is the task of Select; a piece is a run of a tile's rows.
type selection struct {
	k                *kernels
	sel              compute.Selection
	byQuery, byScore []float32
	tile             compute.Tile
	own, heads       int
	params           compute.SelectParams
	from, to         int // the blocks that are not forced
	step             int
}

// Select: see compute.Select, whose result this is: only those blocks are ranked
// that may be among the best, and nothing but their scores is looked at for the
// others.
func (d *Device) Select(sel compute.Selection, byQuery, byScore compute.Tensor, t compute.Tile, block int, p compute.SelectParams) {
	s := &d.selection
	*s = selection{k: &d.kernels, sel: sel, tile: t, own: t.Own(block), heads: sel.Blocks.Dims[1], params: p}
	if p.ByQuery {
		s.byQuery = byQuery.F32()[:t.N*s.heads*(s.own+1)]
	}
	if p.ByScore {
		s.byScore = byScore.F32()[:t.N*s.heads*(s.own+1)]
	}
	s.from = min(p.Init, s.own+1)
	s.to = max(s.from, s.own-p.Local)
	var pieces int
	s.step, pieces = d.share(t.N, s.heads*(512+(s.own+1)/4))
	d.team.do(s, pieces)
	*s = selection{}
}

func (s *selection) run(w *worker, piece int) {
	m, p := &w.score.chosen, s.params
	n, free := s.own+1, s.to-s.from
	places := s.sel.Blocks.Dims[2]
	for at := piece * s.step * s.heads; at < min(s.tile.N, (piece+1)*s.step)*s.heads; at++ {
		count := &s.sel.Count.I32()[at]
		if s.tile.Pos+at/s.heads < p.DenseLen || n <= p.K {
			*count = -1
			continue
		}
		have := n - free
		byQuery, byScore := room(&m.pick[0], grown(free))[:0], room(&m.pick[1], grown(free))[:0]
		if p.ByQuery {
			want := p.K
			if p.ByScore {
				want = min(p.K, p.Init+p.Local+p.Query)
			}
			byQuery = m.best(s.k, byQuery, s.byQuery[at*n+s.from:at*n+s.to], nil, min(want-have, free))
			have += len(byQuery)
		}
		if p.ByScore {
			byScore = m.best(s.k, byScore, s.byScore[at*n+s.from:at*n+s.to], byQuery, min(p.K-have, free-len(byQuery)))
			have += len(byScore)
		}
		row := s.sel.Blocks.I32()[at*places : (at+1)*places]
		*count = int32(have)
		s.list(row[:have], byQuery, byScore)
		for i := have; i < places; i++ {
			row[i] = -1
		}
	}
}

// list sets row to the forced blocks and those of two lists, ascending; the lists
// count from the first block that is not forced.
func (s *selection) list(row []int32, a, b []int32) {
	i, first := 0, int32(s.from)
	for ; i < s.from; i++ {
		row[i] = int32(i)
	}
	for len(a)+len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && a[0] < b[0] {
			row[i] = first + a[0]
			a = a[1:]
		} else {
			row[i] = first + b[0]
			b = b[1:]
		}
		i++
	}
	for number := s.to; i < len(row); i, number = i+1, number+1 {
		row[i] = int32(number)
	}
}
