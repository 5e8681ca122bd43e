package kv

// Prefetch begins to read blocks from disk that are known to be wanted soon (the
// next layer's, where selection does not wait for its query), into pages of the
// host pool that nothing has used in this step. It takes as many as fit and never
// fails: what could not be read ahead is read when it is wanted, and what goes
// wrong with it is said then. want is as for Recall and is not kept.
func (s *Store) Prefetch(q *Sequence, layer int, want [][]int32) {
	s.enter()
	defer s.leave()
	if s.disk == nil || q.freed {
		return
	}
	s.settle(false)
	most := min(4*s.cfg.Workers, max(1, s.cfg.HostPages/2))
	for h, w := range want {
		for _, number := range w {
			if s.ahead >= most || s.waitLoad.len() > 0 {
				return // recalls come first
			}
			id := q.tables[layer][h][number]
			b := &s.blocks[id]
			if s.pool.SlotOf[id] >= 0 || b.page >= 0 || !b.inRecord() {
				continue
			}
			page := s.takePage(s.step)
			if page < 0 {
				return
			}
			b.is |= ahead
			s.ahead++
			s.startLoad(id, page)
		}
	}
}
