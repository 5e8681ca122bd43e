package kv

import (
	"context"
	"fmt"
	"slices"

	"nosa/compute"
)

// Recall is a walk over the wanted blocks of one layer, in rounds that fit into
// the slots:
//
//	r := store.Recall(ctx, seq, layer, want)
//	defer r.Close()
//	for r.Next(ctx) {
//		dev.Attend(state, q, cache, tile, sel, r.Parts())
//	}
//	err := r.Err()
//
// If everything fits there is one round, and none for an empty want. Otherwise a
// round takes up to half the slots, ascending in block number across heads, and
// the misses of the next one are fetched while the caller works on this one.
type Recall struct {
	*scratch
	store *Store
	seq   *Sequence
	layer int
	want  [][]int32
	left  int // wanted blocks that no round has taken
	most  int // blocks of a round
	fails int // failed writes to disk when it began
	shown bool
	err   error
}

// scratch is what a recall works in; it goes from one to the next.
type scratch struct {
	next   []int     // by head: the first wanted block that no round has taken
	slots  [][]int32 // by head, as want
	missed [][]int32 // by head: block numbers, for the trace
	cur    round     // the caller's
	ahead  round     // being fetched
	parts  []compute.Part
	to     []int
}

// round is some of the wanted blocks, pinned in slots.
type round struct {
	ids, heads, slots []int32 // ascending in block number, then head
	from              []int   // by head: its first block of the round, an index into want
	wait              []int32 // ids that were not ready when the round was made
	ready             int     // of them, those that are now
	miss              []int32 // indices into ids
}

// Recall begins to bring the wanted blocks of a layer into slots. want lists
// block numbers by KV head, ascending, without the sequence's own open block,
// which is read from the tail; it must stay as it is until Close. Every call
// counts one selected and present block per KV head for the open one.
//
// With KeepSelected, blocks of this sequence and layer that want does not name
// lose their slots first, those excepted that other sequences hold too.
func (s *Store) Recall(ctx context.Context, q *Sequence, layer int, want [][]int32) *Recall {
	s.enter()
	defer s.leave()
	r := &Recall{scratch: s.borrow(), store: s, seq: q, layer: layer, want: want, fails: s.spillFails}
	s.recalls[r] = struct{}{}
	if q.freed {
		r.err = fmt.Errorf("kv: sequence %d: recall: %w", q.number, ErrClosed)
		return r
	}
	for h, w := range want {
		r.slots[h] = slices.Grow(r.slots[h][:0], len(w))[:len(w)]
		r.left += len(w)
	}
	r.most = r.left
	if r.left > s.cfg.Slots {
		r.most = max(1, s.cfg.Slots/2)
	}
	s.settle(false)
	own := int64(len(want))
	s.count(q, layer, func(l *LayerStats) {
		l.Recalls++
		l.Selected += own
		l.Hits += own
	})
	if s.cfg.Keep == KeepSelected && s.cfg.evicts() {
		if r.err = r.dropOthers(ctx); r.err != nil {
			return r
		}
	}
	if r.left > r.most {
		// What a later round finds in a slot should not go for an earlier one.
		for h, w := range want {
			for _, b := range w {
				s.one[0][0] = q.tables[layer][h][b]
				s.pool.Touch(s.one[0][:], s.step)
			}
		}
	}
	if _, err := r.plan(ctx, &r.cur); err != nil {
		r.err = fmt.Errorf("kv: recall: %w", err)
	}
	return r
}

// Next brings the next round, and reports whether there is one. The slots of the
// round before are given up.
func (r *Recall) Next(ctx context.Context) bool {
	s := r.store
	s.enter()
	defer s.leave()
	switch {
	case r.scratch == nil || r.err != nil:
		return false
	case r.seq.freed:
		r.err = fmt.Errorf("kv: sequence %d: recall: %w", r.seq.number, ErrClosed)
		return false
	}
	if r.shown {
		r.giveUp(&r.cur)
		r.cur, r.ahead = r.ahead, r.cur
	}
	r.shown = true
	if len(r.cur.ids) == 0 && r.left == 0 {
		return false
	}
	if ctx.Err() != nil {
		r.err = fmt.Errorf("kv: recall: sequence %d, layer %d: %w", r.seq.number, r.layer, context.Cause(ctx))
		return false
	}
	if len(r.cur.ids) == 0 {
		err := s.await(ctx, r.seq, r.layer, func() (bool, error) {
			ok, err := r.plan(ctx, &r.cur)
			if !ok && err == nil && s.spillFails > r.fails {
				err = s.spillErr
			}
			return ok, err
		})
		if err != nil {
			r.err = fmt.Errorf("kv: recall: %w", s.blame(r.seq, r.first(), err))
			return false
		}
	}
	if _, err := r.plan(ctx, &r.ahead); err != nil {
		r.err = fmt.Errorf("kv: recall: %w", err)
		return false
	}
	if err := s.await(ctx, r.seq, r.layer, r.isReady); err != nil {
		at := r.cur.wait[r.cur.ready]
		r.err = fmt.Errorf("kv: recall: %w", s.blame(r.seq, at, err))
		return false
	}
	s.count(r.seq, r.layer, func(l *LayerStats) { l.Rounds++ })
	r.layOut()
	return true
}

// Parts is the round: for each KV head that has a block in it, numbers and slots
// in ascending order. Valid until Next or Close.
func (r *Recall) Parts() []compute.Part {
	if r.scratch == nil {
		return nil
	}
	return r.parts
}

// Err is why Next stopped early, or nil.
func (r *Recall) Err() error { return r.err }

// Close gives up the slots of all rounds. Transfers that are still under way end
// by themselves. A second call does nothing.
func (r *Recall) Close() {
	s := r.store
	s.enter()
	defer s.leave()
	if r.scratch == nil {
		return
	}
	if s.cfg.Trace != nil {
		for h, w := range r.want {
			s.cfg.Trace(Trace{Sequence: r.seq.number, Layer: r.layer, Head: h, Selected: w[:r.next[h]], Missed: r.missed[h]})
		}
	}
	r.giveUp(&r.cur)
	r.giveUp(&r.ahead)
	delete(s.recalls, r)
	s.scratch = append(s.scratch, r.scratch)
	r.scratch = nil
	s.settle(false)
}

// plan fills a round with the next blocks that slots can be had for, sends for
// those that are missing, and reports whether the round has any. It waits for no
// slot: only for copies that keep blocks from being evicted, if they are quick.
func (r *Recall) plan(ctx context.Context, rd *round) (bool, error) {
	s, table := r.store, r.seq.tables
	if r.left == 0 || table == nil {
		return false, nil
	}
	copy(rd.from, r.next)
	for len(rd.ids) < r.most {
		low := int32(-1)
		for h, w := range r.want {
			if at := r.next[h]; at < len(w) && (low < 0 || w[at] < low) {
				low = w[at]
			}
		}
		if low < 0 {
			break
		}
		for h, w := range r.want {
			if at := r.next[h]; at < len(w) && w[at] == low && len(rd.ids) < r.most {
				id := table[r.layer][h][low]
				if !s.blocks[id].has(full) {
					copy(r.next, rd.from)
					rd.ids, rd.heads = rd.ids[:0], rd.heads[:0]
					return false, s.blame(r.seq, id, ErrOpen)
				}
				rd.ids = append(rd.ids, id)
				rd.heads = append(rd.heads, int32(h))
				r.next[h]++
			}
		}
	}
	if s.pool.Free() < len(rd.ids) {
		s.finishDown(ctx)
	}
	rd.slots = slices.Grow(rd.slots[:0], len(rd.ids))[:len(rd.ids)]
	done, miss, evicted := s.pool.Resolve(rd.ids, rd.slots, s.step, rd.miss[:0], s.evicted[:0])
	s.noteEvicted(evicted)
	for _, h := range rd.heads[done:] {
		r.next[h]--
	}
	rd.ids, rd.heads, rd.slots, rd.miss = rd.ids[:done], rd.heads[:done], rd.slots[:done], miss
	r.left -= done
	r.send(rd)
	return done > 0, nil
}

// first is the first wanted block that no round has taken.
func (r *Recall) first() (id int32) {
	low := int32(-1)
	for h, w := range r.want {
		if at := r.next[h]; at < len(w) && (low < 0 || w[at] < low) {
			low, id = w[at], r.seq.tables[r.layer][h][w[at]]
		}
	}
	return id
}

// send counts a round's hits and misses and starts the transfers of the misses.
func (r *Recall) send(rd *round) {
	s := r.store
	var n LayerStats
	n.Selected = int64(len(rd.ids))
	at := 0
	for i, id := range rd.ids {
		b := &s.blocks[id]
		if at == len(rd.miss) || int(rd.miss[at]) != i {
			n.Hits++
			if b.has(filling | bad) {
				rd.wait = append(rd.wait, id)
			}
			continue
		}
		at++
		if s.cfg.Trace != nil {
			r.missed[rd.heads[i]] = append(r.missed[rd.heads[i]], b.number)
		}
		b.is |= filling
		s.pool.Pins[rd.slots[i]]++ // the transfer's
		rd.wait = append(rd.wait, id)
		n.BytesUp += int64(s.cfg.Layout.BlockBytes())
		switch {
		case b.inPage():
			n.HostHits++
			s.startUp(id)
		case b.has(load): // read ahead; goes on when it is there
			n.HostHits++
		case b.inRecord():
			n.DiskHits++
			b.is |= waitLoad
			s.waitLoad.push(id)
		default:
			panic("kv: " + s.blame(r.seq, id, errLost).Error())
		}
	}
	s.count(r.seq, r.layer, func(l *LayerStats) { l.add(n) })
	if s.waitLoad.len() > 0 {
		s.makeRoom(true)
	}
}

// isReady reports whether all blocks of the round are in their slots.
func (r *Recall) isReady() (bool, error) {
	s, rd := r.store, &r.cur
	for ; rd.ready < len(rd.wait); rd.ready++ {
		id := rd.wait[rd.ready]
		b := &s.blocks[id]
		switch {
		case b.has(bad):
			return false, s.faults[id]
		case b.has(waitLoad) && s.spillFails > r.fails:
			return false, s.spillErr
		case b.has(filling):
			return false, nil
		}
	}
	return true, nil
}

// layOut makes the parts of the current round.
func (r *Recall) layOut() {
	rd := &r.cur
	to := append(r.to[:0], rd.from...)
	for i, h := range rd.heads {
		r.slots[h][to[h]] = rd.slots[i]
		to[h]++
	}
	r.to, r.parts = to, r.parts[:0]
	for h, from := range rd.from {
		if from < to[h] {
			r.parts = append(r.parts, compute.Part{Head: h, Blocks: r.want[h][from:to[h]], Slots: r.slots[h][from:to[h]]})
		}
	}
}

// giveUp unpins a round and empties it.
func (r *Recall) giveUp(rd *round) {
	for _, id := range rd.ids {
		r.store.unpin(id)
	}
	rd.ids, rd.heads, rd.slots, rd.wait, rd.ready = rd.ids[:0], rd.heads[:0], rd.slots[:0], rd.wait[:0], 0
}

// dropOthers takes the slots of those blocks of the sequence and layer that want
// does not name. One that is still on its way down is waited for, so that what
// is dropped depends on selections alone.
func (r *Recall) dropOthers(ctx context.Context) error {
	s := r.store
	for h, ids := range r.seq.tables[r.layer] {
		w := r.want[h]
		for number, id := range ids {
			if len(w) > 0 && int(w[0]) == number {
				w = w[1:]
				continue
			}
			b := &s.blocks[id]
			if s.pool.SlotOf[id] < 0 || b.refs > 1 || b.has(filling) {
				continue
			}
			err := s.await(ctx, r.seq, r.layer, func() (bool, error) {
				if b.has(waitDown) && s.spillFails > r.fails {
					return false, s.spillErr
				}
				return !b.has(waitDown | down), nil
			})
			if err != nil {
				return fmt.Errorf("kv: recall: %w", s.blame(r.seq, id, err))
			}
			if s.pool.Drop(id) {
				s.noteEvicted(append(s.evicted[:0], id))
			}
		}
	}
	return nil
}

func (s *Store) borrow() *scratch {
	n := len(s.scratch)
	if n == 0 {
		heads := s.cfg.Layout.Heads
		return &scratch{
			next: make([]int, heads), slots: make([][]int32, heads), missed: make([][]int32, heads),
			cur: round{from: make([]int, heads)}, ahead: round{from: make([]int, heads)},
		}
	}
	c := s.scratch[n-1]
	s.scratch = s.scratch[:n-1]
	clear(c.next)
	for h := range c.missed {
		c.missed[h] = c.missed[h][:0]
	}
	return c
}
