package kv

// queue is ids in the order of their coming. An id that no longer waits is
// passed over when its turn comes, so nothing is ever searched for.
type queue struct {
	ids  []int32
	head int
}

func (w *queue) push(id int32) {
	if 2*w.head >= len(w.ids) { // so that one that is never empty does not grow
		w.ids, w.head = append(w.ids[:0], w.ids[w.head:]...), 0
	}
	w.ids = append(w.ids, id)
}

// len counts those that no longer wait as well.
func (w *queue) len() int { return len(w.ids) - w.head }

// next serves the first id that is still in the given state, and reports whether
// there was one and it could be served.
func (w *queue) next(s *Store, waits state, serve func(id int32) bool) bool {
	for ; w.head < len(w.ids); w.head++ {
		id := w.ids[w.head]
		if !s.blocks[id].has(waits) {
			continue
		}
		if !serve(id) {
			return false
		}
		s.blocks[id].is &^= waits
		w.head++
		return true
	}
	return false
}

// makeRoom gives pages to those who wait for one, recalls first, and keeps pages
// ready for those who come: where a disk is below, cold blocks are written to it
// before their pages are asked for, so that write-through rarely waits.
func (s *Store) makeRoom(demand bool) {
	if s.host == nil {
		return
	}
	for s.waitLoad.next(s, waitLoad, func(id int32) bool {
		page := s.takePage(true)
		if page >= 0 {
			s.load(id, page)
		}
		return page >= 0
	}) {
	}
	s.startLoads(true)
	for s.waitDown.next(s, waitDown, func(id int32) bool {
		page := s.takePage(true)
		if page >= 0 {
			s.startDown(id, page)
		}
		return page >= 0
	}) {
	}
	// After a failed write the disk is asked again in the next step, or when
	// somebody needs it.
	if s.disk != nil && (s.spillHold != s.step || demand && s.waitLoad.len()+s.waitDown.len() > 0) {
		s.spillAhead()
	}
	if s.lasting != nil {
		s.list()
	}
}

// takePage finds a page for a block; see host.take.
func (s *Store) takePage(need bool) int32 {
	page, old := s.host.take(need)
	if old >= 0 {
		s.blocks[old].page = -1
	}
	return page
}

// spillAhead writes the coldest blocks without a record to disk, until as many
// pages are free or can go at once as wait for one and may soon do; all of them where
// they shall last.
func (s *Store) spillAhead() {
	h := s.host
	low := min(max(len(h.block)/4, 1), 4*s.cfg.Workers)
	want := low + s.waitLoad.len() + s.waitDown.len()
	for s.spills < 4*s.cfg.Workers && (s.cfg.lasts() || len(h.free)+h.idle+s.spills < want) {
		page := h.write()
		if page < 0 {
			return
		}
		rec := s.disk.take()
		if rec < 0 {
			return // every block that has no record has a page, and keeps it
		}
		s.startSpill(h.block[page], rec)
	}
}
