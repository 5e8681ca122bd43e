package kv

import (
	"cmp"
	"fmt"
	"slices"
)

// move is the way of a transfer between two neighbouring tiers.
type move uint8

const (
	moveDown  move = iota // slot → page
	moveUp                // page → slot
	moveSpill             // page → record
	moveLoad              // record → page, and → slot if there is one
	moveEntry             // what records hold → ledger
	moveErase             // nothing → ledger
)

// transfer is one block on its way. A worker reads the places, moves the bytes
// and sets crc or err; everything else is the owner's business.
type transfer struct {
	move            move
	id              int32
	slot, page, rec int32 // rec is the entry's number where it goes to the ledger
	crc             uint32
	err             error
	unsummed        bool // crc is to be found on the way to disk

	// Of a lasting store.
	sum     digest // of the block's bytes: known after a spill, demanded of a foreign load
	foreign bool
	column  *column
	buf     []byte // its entry
}

// report takes a finished transfer into the books: states, pins, counters.
func (s *Store) report(t transfer) {
	if t.column != nil {
		s.reportListing(t)
		return
	}
	b := &s.blocks[t.id]
	b.busy--
	size := int64(s.cfg.Layout.BlockBytes())
	switch t.move {
	case moveDown:
		b.is &^= down
		s.downs--
		b.crc = t.crc
		s.count(b.owner, int(b.layer), func(l *LayerStats) { l.BytesDown += size })
		s.inBoth(t.page)
		s.host.unpin(t.page, b.inRecord())
		s.unpin(t.id)
	case moveUp:
		b.is &^= up | filling
		s.unready--
		s.inBoth(t.page)
		s.host.unpin(t.page, b.inRecord())
		s.unpin(t.id)
	case moveSpill:
		s.reportSpill(t)
	case moveLoad:
		s.reportLoad(t)
	}
	s.bury(t.id)
}

func (s *Store) reportSpill(t transfer) {
	b := &s.blocks[t.id]
	b.is &^= spill
	s.spills--
	if t.err != nil {
		s.disk.release(b.rec)
		b.rec = -1
		s.spillFails++
		s.spillHold = s.step
		s.spillErr = fmt.Errorf("the host pool is full and block %d of sequence %d (layer %d, head %d) can not leave it: %w",
			b.number, b.owner.number, b.layer, b.head, t.err)
		if s.spillFails == 1 {
			s.log.Warn("a block could not be written to disk", "error", s.spillErr)
		}
	} else {
		s.count(b.owner, int(b.layer), func(l *LayerStats) {
			l.Spilled++
			l.BytesToDisk += int64(s.cfg.Layout.BlockBytes())
		})
		if t.unsummed {
			b.is &^= unsummed
			b.crc = t.crc
		}
		if s.lasting != nil {
			s.lasting.written(b, t)
		}
	}
	s.host.unpin(t.page, b.inRecord())
}

func (s *Store) reportLoad(t transfer) {
	b := &s.blocks[t.id]
	b.is &^= load
	s.reads--
	if b.has(ahead) {
		b.is &^= ahead
		s.ahead--
	}
	if t.err != nil {
		b.page = -1
		s.host.release(t.page)
		s.unpublish(b)
		if b.has(filling) || b.holds+b.sits > 0 {
			s.faults[t.id] = t.err
		}
		if b.has(filling) {
			b.is = b.is&^filling | bad
			s.unpin(t.id)
		}
		return
	}
	b.is &^= foreign
	s.count(b.owner, int(b.layer), func(l *LayerStats) { l.BytesFromDisk += int64(s.cfg.Layout.BlockBytes()) })
	if t.slot >= 0 {
		s.inBoth(t.page)
	}
	s.host.unpin(t.page, true)
	switch {
	case t.slot >= 0:
		b.is &^= filling
		s.unready--
		s.unpin(t.id)
	case b.has(filling): // wanted while it was being read ahead
		s.startUp(t.id)
	}
}

// inBoth notes that a block has a slot and a page: above a disk, its page is the
// first to go.
func (s *Store) inBoth(page int32) {
	if s.inPlace && s.disk != nil {
		s.host.spare(page)
	}
}

// startUp sends a block from its page to its slot.
func (s *Store) startUp(id int32) {
	b := &s.blocks[id]
	b.is |= up
	b.busy++
	s.host.pin(b.page)
	s.mover.start(transfer{move: moveUp, id: id, slot: s.pool.SlotOf[id], page: b.page}, true)
}

// load readies a block's way from its record to a page, and on to its slot if it
// waits there. It begins with startLoads.
func (s *Store) load(id, page int32) {
	b := &s.blocks[id]
	b.is |= load
	s.reads++
	b.busy++
	b.page = page
	s.host.give(page, id)
	s.host.pin(page)
	s.host.pins[page] += b.holds + b.sits
	s.host.sat[page] += b.sits
	t := transfer{move: moveLoad, id: id, slot: -1, page: page, rec: b.rec, crc: b.crc}
	if b.has(filling) {
		t.slot = s.pool.SlotOf[id]
	}
	if b.has(foreign) {
		t.foreign, t.sum = true, s.lasting.sums[id]
	}
	s.loads = append(s.loads, t)
}

// startLoads begins the loads that are ready, in the order of their records, so
// that neighbours are read together.
func (s *Store) startLoads(urgent bool) {
	if len(s.loads) == 0 {
		return
	}
	slices.SortFunc(s.loads, func(a, b transfer) int { return cmp.Compare(a.rec, b.rec) })
	s.mover.startAll(s.loads, urgent)
	clear(s.loads)
	s.loads = s.loads[:0]
}

// startDown sends a sealed block from its slot to a page.
func (s *Store) startDown(id, page int32) {
	b := &s.blocks[id]
	b.is |= down
	s.downs++
	b.busy++
	b.page = page
	s.host.give(page, id)
	s.host.pin(page)
	s.mover.start(transfer{move: moveDown, id: id, slot: s.pool.SlotOf[id], page: page}, false)
}

// startSpill sends a block from its page to a record.
func (s *Store) startSpill(id, rec int32) {
	b := &s.blocks[id]
	b.is |= spill
	b.busy++
	b.rec = rec
	s.spills++
	s.host.hold(b.page)
	s.mover.start(transfer{move: moveSpill, id: id, page: b.page, rec: rec, unsummed: b.has(unsummed)}, false)
}
