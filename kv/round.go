package kv

import (
	"context"
	"slices"
)

// plan fills a round with the next blocks that places can be had for, sends for
// those that are missing, and reports whether the round has any. It waits for no
// place: only for copies that keep blocks from being evicted, if they are quick.
func (r *recall) plan(ctx context.Context, rd *round) bool {
	s := r.store
	if r.left == 0 || r.seq.freed {
		return false
	}
	copy(rd.from, r.from)
	if r.left <= r.most {
		r.pickAll(rd)
	} else {
		r.pick(rd)
	}
	if s.inPlace {
		r.left -= len(rd.ids)
		r.place(ctx, rd)
		return true
	}
	if s.pool.Free() < len(rd.ids) {
		s.finishDown(ctx)
	}
	rd.slots = slices.Grow(rd.slots[:0], len(rd.ids))[:len(rd.ids)]
	done, miss, evicted := s.pool.Resolve(rd.ids, rd.slots, s.step, rd.miss[:0], s.evicted[:0])
	s.noteEvicted(evicted)
	for _, h := range rd.heads[done:] {
		r.from[h]--
	}
	rd.ids, rd.heads, rd.slots, rd.miss = rd.ids[:done], rd.heads[:done], rd.slots[:done], miss
	r.left -= done
	r.send(rd)
	return done > 0
}

// pickAll takes what is left, head by head.
func (r *recall) pickAll(rd *round) {
	for h, w := range r.want {
		ids := r.seq.tables[r.layer][h]
		for _, b := range w[r.from[h]:] {
			rd.ids = append(rd.ids, ids[b])
			rd.heads = append(rd.heads, int32(h))
		}
		r.from[h] = len(w)
	}
}

// pick takes as many blocks as a round may have, ascending in number across heads.
func (r *recall) pick(rd *round) {
	for len(rd.ids) < r.most {
		low := int32(-1)
		for h, w := range r.want {
			if at := r.from[h]; at < len(w) && (low < 0 || w[at] < low) {
				low = w[at]
			}
		}
		if low < 0 {
			break
		}
		for h, w := range r.want {
			if at := r.from[h]; at < len(w) && w[at] == low && len(rd.ids) < r.most {
				rd.ids = append(rd.ids, r.seq.tables[r.layer][h][low])
				rd.heads = append(rd.heads, int32(h))
				r.from[h]++
			}
		}
	}
}

// first is the first wanted block that no round has taken.
func (r *recall) first() (id int32) {
	low := int32(-1)
	for h, w := range r.want {
		if at := r.from[h]; at < len(w) && (low < 0 || w[at] < low) {
			low, id = w[at], r.seq.tables[r.layer][h][w[at]]
		}
	}
	return id
}

// place pins the blocks of a round where they are and holds the others in their
// pages. Few get a slot: those for which one is free, and, above a disk, those
// that were wanted in the step before too, over blocks that were not, since then
// their pages may go for others.
func (r *recall) place(ctx context.Context, rd *round) {
	s := r.store
	rd.slots = slices.Grow(rd.slots[:0], len(rd.ids))[:len(rd.ids)]
	slotOf, used, pins := s.pool.SlotOf, s.pool.Used, s.pool.Pins
	miss := rd.miss[:0]
	for i, id := range rd.ids {
		slot := slotOf[id]
		rd.slots[i] = slot
		if slot < 0 {
			miss = append(miss, int32(i))
			continue
		}
		used[slot] = s.step
		pins[slot]++
	}
	rd.miss = miss
	r.hits(rd)
	if len(miss) == 0 {
		return
	}
	if s.disk != nil && s.pool.Free() < len(miss) {
		s.finishDown(ctx)
	}
	n := LayerStats{BytesUp: int64(len(miss)) * int64(s.cfg.Layout.BlockBytes())}
	pages := s.firstPage
	for _, at := range miss {
		id := rd.ids[at]
		r.countMiss(rd, at, &n)
		if slot := s.promote(id); slot >= 0 {
			rd.slots[at] = slot
			r.fetch(rd, at)
			continue
		}
		n.InPlace++
		if s.hold(id) {
			rd.slots[at] = pages + s.blocks[id].page
		} else {
			rd.wait = append(rd.wait, at)
		}
	}
	s.count(r.seq, r.layer, func(l *LayerStats) { l.add(n) })
	if s.waitLoad.len() > 0 {
		s.makeRoom(true)
	}
}

// promote finds a slot for a block that can be read where it is, or −1.
func (s *Store) promote(id int32) int32 {
	b := &s.blocks[id]
	again := int64(b.seen) >= s.step-1
	b.seen = int32(s.step)
	var before int64
	switch {
	case s.pool.Free() > 0:
	case s.disk != nil && again:
		before = s.step - 1
	default:
		return -1
	}
	slot, old := s.pool.Place(id, s.step, before)
	if old >= 0 {
		s.noteEvicted(append(s.evicted[:0], old))
	}
	return slot
}

// hits counts the blocks of a round and notes those whose slots are not filled
// yet.
func (r *recall) hits(rd *round) {
	s := r.store
	n := int64(len(rd.ids))
	hits := n - int64(len(rd.miss))
	s.count(r.seq, r.layer, func(l *LayerStats) {
		l.Selected += n
		l.Hits += hits
	})
	if s.unready == 0 {
		return
	}
	at := 0
	for i, id := range rd.ids {
		if at < len(rd.miss) && int(rd.miss[at]) == i {
			at++
			continue
		}
		if s.blocks[id].has(filling | bad) {
			rd.wait = append(rd.wait, int32(i))
		}
	}
}

// countMiss says where a missing block comes from.
func (r *recall) countMiss(rd *round, at int32, n *LayerStats) {
	s := r.store
	b := &s.blocks[rd.ids[at]]
	if s.cfg.Trace != nil {
		h := rd.heads[at]
		r.missed[h] = append(r.missed[h], b.number)
	}
	switch {
	case b.page >= 0: // or on its way there, having been read ahead
		n.HostHits++
	case b.inRecord():
		n.DiskHits++
	default:
		panic("kv: " + s.blame(r.seq, rd.ids[at], errLost).Error())
	}
}

// send counts a round's hits and misses and starts the transfers of the misses.
func (r *recall) send(rd *round) {
	s := r.store
	r.hits(rd)
	if len(rd.miss) == 0 {
		return
	}
	n := LayerStats{BytesUp: int64(len(rd.miss)) * int64(s.cfg.Layout.BlockBytes())}
	for _, at := range rd.miss {
		r.countMiss(rd, at, &n)
		r.fetch(rd, at)
	}
	s.count(r.seq, r.layer, func(l *LayerStats) { l.add(n) })
	if s.waitLoad.len() > 0 {
		s.makeRoom(true)
	}
}

// fetch sends for a block that has got a slot.
func (r *recall) fetch(rd *round, at int32) {
	s, id := r.store, rd.ids[at]
	b := &s.blocks[id]
	b.is |= filling
	s.unready++
	s.pool.Pins[rd.slots[at]]++ // the transfer's
	rd.wait = append(rd.wait, at)
	switch {
	case b.inPage():
		s.startUp(id)
	case b.has(load | waitLoad): // goes on when it is there
	default:
		b.is |= waitLoad
		s.waitLoad.push(id)
	}
}

// isReady reports whether all blocks of the round are where they are to be read.
func (r *recall) isReady() (bool, error) {
	s, rd := r.store, &r.cur
	for ; rd.ready < len(rd.wait); rd.ready++ {
		at := rd.wait[rd.ready]
		id := rd.ids[at]
		b := &s.blocks[id]
		inSlot := rd.slots[at] >= 0
		switch {
		case inSlot && b.has(bad):
			return false, s.faults[id]
		case b.has(waitLoad) && s.spillFails > r.fails:
			return false, s.spillErr
		case inSlot && b.has(filling), !inSlot && b.has(waitLoad|load):
			return false, nil
		case !inSlot && b.page < 0:
			return false, s.faults[id]
		case !inSlot:
			rd.slots[at] = s.firstPage + b.page
		}
	}
	return true, nil
}

// giveUp ends a round and empties it.
func (r *recall) giveUp(rd *round) {
	s := r.store
	if s.unready+s.dying == 0 {
		s.pool.Unpin(rd.slots)
	} else {
		for i, slot := range rd.slots {
			if slot >= 0 && int(slot) < s.cfg.Slots {
				s.unpin(rd.ids[i])
			}
		}
	}
	if s.inPlace {
		for _, at := range rd.miss {
			if slot := rd.slots[at]; slot < 0 || int(slot) >= s.cfg.Slots {
				s.unhold(rd.ids[at])
			}
		}
	}
	rd.all, rd.ready = false, 0
	rd.ids, rd.heads, rd.slots, rd.wait, rd.miss = rd.ids[:0], rd.heads[:0], rd.slots[:0], rd.wait[:0], rd.miss[:0]
}
