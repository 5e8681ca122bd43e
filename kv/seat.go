package kv

import (
	"context"
	"fmt"

	"nosa/compute"
)

// seats are those of a device that decodes by itself: see compute.Step. A sequence that
// sits has told the device its columns, and the device finds their blocks without the
// store:
//
//	host pool     each block lies in a page that it keeps as long as its sequence sits, and
//	              an open one has the page that the device will write it to. What the
//	              device keeps in slots of its own it knows alone.
//	no host pool  each block's slot is its id, and nothing ever moves.
//
// The open block lies with the device, and comes back to the tail when the sequence
// rises. So a sequence either sits, or goes through Seal and Recall.
//
// Pages that are kept are no room for others. Above a disk that is needed for room a quarter
// of the pool is never kept, and who waits for a page that can not be had otherwise makes those rise that are
// not in the step that is being made, the one first that has not been in one for longest.
type seats struct {
	step  compute.Step
	taken []*Sequence // by seat; nil: free
	lined []*Sequence // for the next step
	most  int         // pages that may be kept; 0 without a host pool

	known []bool  // by column: whether a table has had it, so that the device may have blocks of it in slots
	stale []int32 // columns that were known, and whose blocks have ended

	pages []int32 // scratch of grow
}

// In steps: how long a sequence that is in none keeps its seat and its pages from those
// that want them, and goes the ordinary way after it has had to rise; and how long one does
// for which there was no room.
const (
	idleSteps  = 64
	retrySteps = 8
)

// SetStep names the device's steps, made with the store's StepOptions. Without it no
// sequence ever sits.
func (s *Store) SetStep(step compute.Step) {
	s.enter()
	defer s.leave()
	st := &seats{step: step, taken: make([]*Sequence, s.cfg.Seats), known: make([]bool, len(s.left))}
	if s.host != nil {
		st.most = s.cfg.HostPages
		if s.cfg.HostPages < s.cfg.Blocks && s.disk != nil {
			st.most -= (s.cfg.HostPages + 3) / 4
		}
	}
	s.seats = st
}

// StepOptions is the store's part of what a Step must know.
func (s *Store) StepOptions() compute.StepOptions {
	o := compute.StepOptions{
		Seats: s.cfg.Seats, Columns: len(s.left), FirstSlot: s.cfg.Slots, Resident: s.host == nil, KeepSelected: s.cfg.Keep == KeepSelected,
	}
	if s.host != nil {
		o.Pages, o.Stride = s.host.arena, s.host.stride
	} else {
		o.FirstSlot = 0
	}
	return o
}

// Sit lines a sequence up for the device's next step: it has a seat, and its table there
// has all columns that are reserved. Without a seat it is given one, if there is room; what
// is on disk is read first. false: there is none, and the sequence goes the ordinary way.
// What is lined up stays as it is until Stepped, or the next step begins.
func (q *Sequence) Sit(ctx context.Context) (seat int, ok bool) {
	s := q.store
	s.enter()
	defer s.leave()
	st := s.seats
	if st == nil || q.freed || q.opt.Rewrites || q.seat < 0 && s.step < q.later {
		return -1, false
	}
	q.lined = true // so that it is not made to rise for its own needs
	if q.seat < 0 {
		ok = s.seat(ctx, q)
	} else {
		ok = q.told == len(q.columns) || s.grow(ctx, q)
	}
	if !ok {
		q.lined, q.later = false, s.step+retrySteps
		if q.seat >= 0 {
			s.rise(q, true)
		}
		return -1, false
	}
	q.ran = s.step
	st.lined = append(st.lined, q)
	return q.seat, true
}

// Rise takes a sequence's seat away, if it has one: its blocks go as others do, and it
// takes the ordinary way.
func (q *Sequence) Rise() {
	s := q.store
	s.enter()
	defer s.leave()
	if q.seat >= 0 {
		s.rise(q, true)
		s.settle(false)
	}
}

// Stepped takes into the books what a step has done whose rows were the next tokens of
// these sequences, which have been lined up for it. Advance comes after it.
func (s *Store) Stepped(rows []*Sequence, counts compute.StepCounts) {
	s.enter()
	defer s.leave()
	for layer, c := range counts.Layers {
		s.layers[layer].add(s.countsOf(c))
	}
	for i, q := range rows {
		if q.freed || q.seat < 0 {
			panic(fmt.Sprintf("kv: sequence %d was in a step and does not sit", q.number))
		}
		q.stepped.add(s.countsOf(counts.Rows[i]))
		if size := s.cfg.Layout.Block; (q.len+1)%size == 0 {
			s.sealed(q, q.len/size)
		}
	}
	s.seats.unline()
	s.settle(false)
}

func (s *Store) countsOf(c compute.StepCount) LayerStats {
	return LayerStats{Selected: c.Selected, Hits: c.Hits, HostHits: c.Misses, BytesUp: c.Misses * int64(s.cfg.Layout.BlockBytes())}
}

// sealed notes that a step has filled the blocks of a column.
func (s *Store) sealed(q *Sequence, number int) {
	size := int64(s.cfg.Layout.BlockBytes())
	for layer, heads := range q.tables {
		for _, ids := range heads {
			id := ids[number]
			b := &s.blocks[id]
			b.is |= full
			if s.host == nil {
				slot, _ := s.pool.Place(id, s.step, anyTime)
				s.one[1][0] = slot
				s.pool.Unpin(s.one[1][:])
				continue
			}
			b.is &^= expected
			s.expected--
			if s.disk != nil {
				b.is |= unsummed
			}
			s.host.filled(b.page)
		}
		if s.host != nil {
			s.count(q, layer, func(l *LayerStats) { l.BytesDown += size * int64(len(heads)) })
		}
	}
}

// seat gives a sequence a seat, if one can be had.
func (s *Store) seat(ctx context.Context, q *Sequence) bool {
	st := s.seats
	at := st.free()
	for at < 0 && s.makeRise(idleSteps) {
		at = st.free()
	}
	if at < 0 {
		return false
	}
	if s.host != nil && !s.keepPages(ctx, q) {
		return false
	}
	st.taken[at], q.seat = q, at
	st.step.Sit(at, q.tails())
	s.tell(q)
	return true
}

// tails are the open blocks, by layer.
func (q *Sequence) tails() []compute.Tensor {
	t := make([]compute.Tensor, len(q.tables))
	for layer := range t {
		t[layer] = q.Tail(layer)
	}
	return t
}

// grow is for columns that are new since the last step.
func (s *Store) grow(ctx context.Context, q *Sequence) bool {
	if s.host != nil && !s.keepPages(ctx, q) {
		return false
	}
	s.tell(q)
	return true
}

// tell tells the device the columns that its table does not have yet.
func (s *Store) tell(q *Sequence) {
	st := s.seats
	st.pages = st.pages[:0]
	if s.host != nil {
		for b := q.told; b < len(q.columns); b++ {
			for _, heads := range q.tables {
				for _, ids := range heads {
					st.pages = append(st.pages, s.blocks[ids[b]].page)
				}
			}
		}
		if len(st.stale) > 0 {
			st.step.Drop(st.stale)
			st.stale = st.stale[:0]
		}
		for _, c := range q.columns[q.told:] {
			st.known[c] = true
		}
	}
	st.step.Grow(q.seat, q.columns[q.told:], st.pages)
	q.told = len(q.columns)
}

// keepPages gives pages to the blocks of columns that are not in q's table yet, or reports
// false and changes nothing. Blocks on disk are read; those on their way down are waited
// for. Open blocks get the pages that they will be written to: they take the homes that
// they need when they are full.
func (s *Store) keepPages(ctx context.Context, q *Sequence) bool {
	if !s.roomToSit(q) || !s.reserveHomes(q) {
		return false
	}
	fails, from := s.spillFails, q.told
	each := func(layer int, f func(id int32) (bool, error)) func() (bool, error) {
		return func() (bool, error) {
			for _, ids := range q.tables[layer] {
				for _, id := range ids[from:] {
					if ok, err := f(id); !ok {
						if err == nil && s.spillFails > fails {
							err = s.spillErr
						}
						return false, err
					}
				}
			}
			return true, nil
		}
	}
	sat := 0 // layers whose blocks are sat on
	err := error(nil)
	for layer := 0; layer < len(q.tables) && err == nil; layer++ {
		if err = s.await(ctx, q, layer, each(layer, func(id int32) (bool, error) { return !s.blocks[id].has(waitDown | down), nil })); err != nil {
			break
		}
		for _, ids := range q.tables[layer] {
			for _, id := range ids[from:] {
				s.sit(id)
			}
		}
		sat++
	}
	if err == nil && s.waitLoad.len() > 0 {
		s.makeRoom(true)
	}
	for layer := 0; layer < sat && err == nil; layer++ {
		err = s.await(ctx, q, layer, each(layer, s.isThere))
	}
	if err == nil {
		return true
	}
	s.log.Debug("a sequence could not be seated", "sequence", q.number, "error", err)
	for layer := range sat {
		for _, ids := range q.tables[layer] {
			for _, id := range ids[from:] {
				s.unsit(id)
			}
		}
	}
	return false
}

// isThere reports whether the page of a block that is sat on is ready. An open block takes
// one here.
func (s *Store) isThere(id int32) (bool, error) {
	b := &s.blocks[id]
	switch {
	case b.has(expected), b.has(full) && b.inPage():
		return true, nil
	case b.has(full):
		if b.has(waitLoad | load) {
			return false, nil
		}
		return false, s.faults[id]
	}
	page := s.takePage(true)
	if page < 0 {
		return false, nil
	}
	b.page = page
	b.is |= expected
	s.expected++
	s.host.give(page, id)
	s.host.sit(page)
	return true, nil
}

// roomToSit reports whether as many pages may be kept as the columns that q's table lacks
// need. Who has been in no step for long rises for it.
func (s *Store) roomToSit(q *Sequence) bool {
	need := 0
	for _, heads := range q.tables {
		for _, ids := range heads {
			for _, id := range ids[q.told:] {
				if s.blocks[id].sits == 0 {
					need++
				}
			}
		}
	}
	for s.sat+need > s.seats.most {
		if need > s.seats.most || !s.makeRise(idleSteps) {
			return false
		}
	}
	return true
}

// reserveHomes has open blocks take homes as if they were full, as Reserve does.
func (s *Store) reserveHomes(q *Sequence) bool {
	if q.dues == len(q.columns) {
		return true
	}
	need := (len(q.columns) - q.dues) * s.cfg.Layers * s.cfg.Layout.Heads
	if !s.makeFree(q, q.promise, 0, need) {
		return false
	}
	for _, heads := range q.tables {
		for _, ids := range heads {
			for _, id := range ids[q.dues:] {
				s.blocks[id].is |= due
			}
		}
	}
	s.due += need
	q.dues = len(q.columns)
	promised := min(need, q.promise.homes)
	s.promised.add(0, -promised)
	q.promise.add(0, -promised)
	return true
}

// sit keeps a full block's page for a seat, or has it read into one.
func (s *Store) sit(id int32) {
	b := &s.blocks[id]
	if b.sits++; b.sits == 1 {
		s.sat++
	}
	switch {
	case !b.has(full):
	case b.page >= 0:
		s.host.sit(b.page)
	case !b.has(waitLoad):
		b.is |= waitLoad
		s.waitLoad.push(id)
	}
}

// unsit takes sit back.
func (s *Store) unsit(id int32) {
	b := &s.blocks[id]
	if b.sits--; b.sits == 0 {
		s.sat--
	}
	switch {
	case b.has(expected):
		b.is &^= expected
		s.expected--
		s.host.release(b.page)
		b.page = -1
	case b.page >= 0:
		s.host.stand(b.page, b.inRecord())
	case b.holds+b.sits > 0 || b.has(filling|bad):
	default:
		b.is &^= waitLoad
		delete(s.faults, id)
	}
}

// rise takes a sequence's seat away. The open block goes to its tail if anybody wants it.
func (s *Store) rise(q *Sequence, wanted bool) {
	st := s.seats
	var tails []compute.Tensor
	if wanted {
		tails = q.tails()
	}
	st.step.Rise(q.seat, tails)
	if s.host != nil {
		for _, heads := range q.tables {
			for _, ids := range heads {
				for _, id := range ids[:q.told] {
					s.unsit(id)
				}
			}
		}
	}
	st.taken[q.seat] = nil
	q.seat, q.told = -1, 0
}

// makeRise makes the sequence rise that has been in no step for longest, and for so many
// steps at least, and reports whether there was one. Those that are lined up stay.
func (s *Store) makeRise(idle int64) bool {
	var first *Sequence
	for _, q := range s.seats.taken {
		if q != nil && !q.lined && s.step-q.ran >= idle && (first == nil || q.ran < first.ran) {
			first = q
		}
	}
	if first == nil {
		return false
	}
	s.rise(first, true)
	first.later = s.step + idleSteps
	return true
}

// unseat makes room for who waits and can not be served otherwise.
func (s *Store) unseat() bool { return s.seats != nil && s.sat > 0 && s.makeRise(0) }

// free is a seat that nobody has, or −1.
func (st *seats) free() int {
	for at, q := range st.taken {
		if q == nil {
			return at
		}
	}
	return -1
}

// unline ends what has been lined up.
func (st *seats) unline() {
	if st == nil {
		return
	}
	for _, q := range st.lined {
		q.lined = false
	}
	st.lined = st.lined[:0]
}

// ended notes that a column has no blocks any more.
func (st *seats) ended(column int32) {
	if st != nil && st.known[column] {
		st.known[column] = false
		st.stale = append(st.stale, column)
	}
}

// sits is by id how many tables of seats have a block.
func (s *Store) sits() []int32 {
	n := make([]int32, len(s.blocks))
	if s.host == nil {
		return n
	}
	for q := range s.sequences {
		for _, heads := range q.tables {
			for _, ids := range heads {
				for _, id := range ids[:q.told] {
					n[id]++
				}
			}
		}
	}
	return n
}

// checkSeats: seats and sequences name each other, and what they are told is there.
func (s *Store) checkSeats() error {
	for q := range s.sequences {
		switch {
		case q.seat < 0 && q.told > 0, q.seat >= 0 && s.seats.taken[q.seat] != q:
			return fmt.Errorf("sequence %d sits on seat %d with %d columns", q.number, q.seat, q.told)
		case q.seat < 0 || s.host == nil:
			continue
		}
		for _, heads := range q.tables {
			for _, ids := range heads {
				for _, id := range ids[:q.told] {
					if b := &s.blocks[id]; !b.inPage() && !b.has(expected) {
						return fmt.Errorf("sequence %d sits without a page for id %d, state %b", q.number, id, b.is)
					}
				}
			}
		}
	}
	if s.seats == nil {
		return nil
	}
	for seat, q := range s.seats.taken {
		if q != nil && (q.freed || q.seat != seat) {
			return fmt.Errorf("seat %d is taken by sequence %d, which is freed: %v, or on seat %d", seat, q.number, q.freed, q.seat)
		}
	}
	return nil
}
