package kv

import "unsafe"

// block is what the store knows of one id. Its slot is in Pool.SlotOf.
type block struct {
	owner  *Sequence // that computed it; for statistics
	column *column   // under whose key it is published, or nil
	refs   int32     // sequences that hold it
	layer  int32
	head   int32
	number int32
	page   int32  // of the host pool, or −1
	rec    int32  // of the disk file, or −1
	crc    uint32 // of its bytes
	busy   int32  // transfers under way
	holds  int32  // rounds that read it in its page, or wait for it there
	sits   int32  // seats that have it in their tables, and keep its page or wait for it there
	seen   int32  // step in which it was last wanted without having a slot
	is     state
}

const blockSize = int64(unsafe.Sizeof(block{})) + 25 // with its entries in SlotOf, a table, a column, a foresight, the free ids and for those who watch

// state is a set of what is the case for a block.
type state uint32

const (
	live     state = 1 << iota // born, and not given back yet
	due                        // all its tokens are reserved: it will need a home
	full                       // sealed: its bytes will never change
	dying                      // without holders, but not idle yet
	waitDown                   // in its slot, waits for a page to be copied to
	down                       // slot → page is under way
	waitLoad                   // has a slot to fill, waits for a page to be read into
	load                       // disk → page is under way, and → slot where one was wanted at its start
	up                         // page → slot is under way
	spill                      // page → disk is under way
	filling                    // its slot does not hold it yet: waitLoad, load or up
	bad                        // its slot will never hold it: what should have filled it failed
	ahead                      // load was not asked for by a recall
	listing                    // its column's entry in the ledger is being written, or erased
	expected                   // its page is there for a step to write it to
	unsummed                   // a step has written it to its page: crc is not known yet
	foreign                    // its record was written by a process before, and has not been read yet
	written                    // by Write, in the place of others
)

func (b *block) has(s state) bool { return b.is&s != 0 }

// inPage reports whether the host pool holds the block's bytes.
func (b *block) inPage() bool { return b.page >= 0 && !b.has(down|load|expected) }

// inRecord reports whether the disk holds the block's bytes.
func (b *block) inRecord() bool { return b.rec >= 0 && !b.has(spill) }

// birth takes a column for the next blocks of q; the caller knows that there is one.
func (s *Store) birth(q *Sequence) {
	column, number := s.free.take(q.place.wish(q.columns)), len(q.columns)
	for layer, heads := range q.tables {
		for h := range heads {
			id := s.id(layer, h, column)
			s.blocks[id] = block{
				owner: q, refs: 1, page: -1, rec: -1, is: live,
				layer: int32(layer), head: int32(h), number: int32(number),
			}
			if s.watched != nil {
				s.watched[id] = wanted{}
			}
			heads[h] = append(heads[h], id)
		}
		q.rewritten.grow(layer, int32(number))
		s.count(q, layer, func(l *LayerStats) { l.Born += int64(len(heads)) })
	}
	q.columns = append(q.columns, column)
	s.bear(column)
}

// bear counts the blocks of a column that are born.
func (s *Store) bear(column int32) {
	width := s.cfg.Layers * s.cfg.Layout.Heads
	s.left[column], s.held[column] = int32(width), int32(width)
	s.live += width
}

// retain is one more holder of a block.
func (s *Store) retain(id int32) {
	b := &s.blocks[id]
	if b.refs++; b.refs == 1 {
		s.adopt(b.column)
	}
}

// letGo is one holder less. The last one ends the block, unless its column is kept
// for others.
func (s *Store) letGo(id int32) {
	b := &s.blocks[id]
	switch b.refs--; {
	case b.refs > 0:
	case s.cfg.Retain && b.column != nil:
		s.abandon(b.column)
	default:
		s.unpublish(b)
		s.end(id)
	}
}

// end is the end of a block without holders: at once if nothing is under way with
// it, else when the last transfer has reported.
func (s *Store) end(id int32) {
	b := &s.blocks[id]
	b.is |= dying
	s.dying++
	column := s.columnOf(id)
	if s.held[column]--; s.held[column] == 0 && !s.isSpare(column) {
		s.dyingColumns++
	}
	if b.has(due) {
		s.dyingDue++
	}
	if b.has(waitDown) {
		b.is &^= waitDown
		s.unpin(id)
	}
	if b.has(waitLoad) {
		b.is &^= waitLoad
		s.faults[id] = ErrClosed
		if b.has(filling) {
			b.is = b.is&^filling | bad
			s.unpin(id)
		}
	}
	s.bury(id)
}

// bury gives everything of a dying block back, if nothing needs it any more.
func (s *Store) bury(id int32) {
	b := &s.blocks[id]
	if !b.has(dying) || b.busy > 0 || b.holds+b.sits > 0 {
		return
	}
	if !s.pool.Drop(id) {
		return // a recall holds it; its end comes here again
	}
	if b.page >= 0 {
		s.host.release(b.page)
	}
	if b.rec >= 0 {
		s.disk.release(b.rec)
	}
	if b.has(due) {
		s.due--
		s.dyingDue--
	}
	delete(s.faults, id)
	s.count(b.owner, int(b.layer), func(l *LayerStats) { l.Freed++ })
	s.blocks[id] = block{page: -1, rec: -1}
	s.dying--
	s.live--
	column := s.columnOf(id)
	if s.left[column]--; s.left[column] == 0 && !s.isSpare(column) {
		s.free.give(column)
		s.dyingColumns--
		s.seats.ended(column)
	}
}

// unpin takes back one pin of a block's slot, and empties the slot if it was the
// last thing that kept a bad or dying block there.
func (s *Store) unpin(id int32) {
	slot := [1]int32{s.pool.SlotOf[id]}
	s.pool.Unpin(slot[:])
	b := &s.blocks[id]
	if s.pool.Pins[slot[0]] > 0 {
		return
	}
	if b.has(bad) {
		s.pool.Drop(id)
		b.is &^= bad
		s.unready--
		delete(s.faults, id)
	}
	if b.has(dying) {
		s.bury(id)
	}
}

// hold keeps a block readable in its page for a round, or has it read into one,
// and reports whether it is there.
func (s *Store) hold(id int32) bool {
	b := &s.blocks[id]
	b.holds++
	switch {
	case b.page >= 0:
		s.host.pin(b.page)
		return !b.has(load)
	case !b.has(waitLoad):
		b.is |= waitLoad
		s.waitLoad.push(id)
	}
	return false
}

// unhold takes a hold back.
func (s *Store) unhold(id int32) {
	b := &s.blocks[id]
	b.holds--
	switch {
	case b.page >= 0:
		if s.disk != nil {
			s.host.pass(b.page)
		}
		s.host.unpin(b.page, b.inRecord())
	case b.holds+b.sits > 0 || b.has(filling|bad):
	default:
		b.is &^= waitLoad
		if len(s.faults) > 0 {
			delete(s.faults, id)
		}
	}
	if b.has(dying) {
		s.bury(id)
	}
}
