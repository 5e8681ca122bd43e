package kv

// Prefetch begins to read blocks from disk that are known to be wanted soon, into
// pages of the host pool that nothing wants sooner. It takes as many as fit and
// never fails: what could not be read ahead is read when it is wanted, and what
// goes wrong with it is said then. want is as for Recall and is not kept.
//
// What the step before wanted of each layer is read ahead in any case.
func (s *Store) Prefetch(q *Sequence, layer int, want [][]int32) {
	s.enter()
	defer s.leave()
	if s.disk == nil || q.freed {
		return
	}
	s.settle(false)
	for h, w := range want {
		for _, number := range w {
			if !s.readAhead(q.tables[layer][h][number]) {
				s.startLoads(false)
				return
			}
		}
	}
	s.startLoads(false)
}

// readAhead readies the reading of a block that is nowhere but on disk, and
// reports whether more may be.
func (s *Store) readAhead(id int32) bool {
	b := &s.blocks[id]
	if s.pool.SlotOf[id] >= 0 || b.page >= 0 || !b.inRecord() || b.has(dying) {
		return true
	}
	if s.ahead >= s.mostAhead() || s.waitLoad.len() > 0 {
		return false // recalls come first
	}
	page := s.takePage(false)
	if page < 0 {
		return false
	}
	b.is |= ahead
	s.ahead++
	s.load(id, page)
	return true
}

// mostAhead is how many reads that nobody waits for may be under way: enough for
// the disk while the caller computes.
func (s *Store) mostAhead() int { return min(8*s.cfg.Workers, max(1, s.cfg.HostPages/4)) }

// foresight is what a sequence's layers wanted last, and how far of it has been
// read ahead. Neighbouring steps want mostly the same blocks.
type foresight struct {
	ids  [][][]int32 // by layer and head
	pass int64       // that is being read ahead: passes of layers are counted over all steps
	head int
	at   int // in ids
}

func newForesight(layers, heads, columns int) foresight {
	f := foresight{ids: make([][][]int32, layers)}
	room := make([]int32, layers*heads*columns)
	for layer := range f.ids {
		f.ids[layer] = make([][]int32, heads)
		for h := range f.ids[layer] {
			f.ids[layer][h], room = room[:0:columns], room[columns:]
		}
	}
	return f
}

// remember notes what a recall wants.
func (s *Store) remember(q *Sequence, layer int, want [][]int32) {
	if s.disk == nil {
		return
	}
	for h, w := range want {
		ids, to := q.tables[layer][h], q.foresight.ids[layer][h][:0]
		for _, b := range w {
			to = append(to, ids[b])
		}
		q.foresight.ids[layer][h] = to
	}
}

// foresee reads ahead what layers after this one wanted in the step before, round
// to this layer's in the next step, as far as the disk keeps up and pages can be
// had that are wanted later.
func (s *Store) foresee(q *Sequence, layer int) {
	if s.disk == nil || q.freed || s.closed {
		return
	}
	f, layers := &q.foresight, int64(s.cfg.Layers)
	now := s.step*layers + int64(layer)
	if f.pass <= now || f.pass > now+layers {
		f.pass, f.head, f.at = now+1, 0, 0
	}
	for ; f.pass < now+layers; f.pass, f.head = f.pass+1, 0 {
		heads := f.ids[f.pass%layers]
		for ; f.head < len(heads); f.head, f.at = f.head+1, 0 {
			for ids := heads[f.head]; f.at < len(ids); f.at++ {
				if !s.readAhead(ids[f.at]) {
					s.startLoads(false)
					return
				}
			}
		}
	}
	s.startLoads(false)
}
