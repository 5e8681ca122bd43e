package kv

import (
	"context"
	"fmt"
	"slices"

	"nosa/compute"
)

// Recall is a walk over the wanted blocks of one layer, in rounds of those that
// can be read at the same time:
//
//	r := store.Recall(ctx, seq, layer, want)
//	defer r.Close()
//	for r.Next(ctx) {
//		dev.Attend(state, q, cache, tile, sel, r.Parts()) // of Last, the own block too
//	}
//	err := r.Err()
//
// If everything fits there is one round, and none for an empty want. Otherwise a
// round takes up to half of what is scarce (slots, or the pages that blocks are
// read into from disk), ascending in block number across heads, and the misses of
// the next one are fetched while the caller works on this one.
type Recall struct {
	*recall
	turn int // of the recall, which serves another one after Close
}

// recall is what a Recall works in; it goes from one to the next.
type recall struct {
	store  *Store
	turn   int
	closed bool

	seq   *Sequence
	layer int
	want  [][]int32
	left  int // wanted blocks that no round has taken
	most  int // blocks of a round
	ahead bool
	fails int // failed writes to disk when it began
	shown bool
	err   error

	from   []int     // by head: the first wanted block that no round has taken
	slots  [][]int32 // by head, as want
	missed [][]int32 // by head: block numbers, for the trace
	cur    round     // the caller's
	next   round     // being fetched
	parts  []compute.Part
	to     []int
}

// round is some of the wanted blocks, where they stay as long as it lasts.
type round struct {
	all   bool    // every wanted block, of a store in which none ever moves: nothing else is set
	ids   []int32 // by head, or ascending in block number, then head
	heads []int32
	slots []int32 // numbers as SlotData takes them; −1 while a page is not there yet
	from  []int   // by head: its first block of the round, an index into want
	wait  []int32 // indices into ids of those that were not ready when the round was made
	ready int     // of them, those that are now
	miss  []int32 // indices into ids
}

func (rd *round) empty() bool { return !rd.all && len(rd.ids) == 0 }

// Recall begins to make the wanted blocks of a layer readable. want lists block
// numbers by KV head, ascending, without the sequence's own open block, which is
// read from the tail; it must stay as it is until Close. Every call counts one
// selected and present block per KV head for the open one.
//
// With KeepSelected, blocks of this sequence and layer that want does not name
// lose their slots first, those excepted that other sequences hold too.
func (s *Store) Recall(ctx context.Context, q *Sequence, layer int, want [][]int32) Recall {
	s.enter()
	defer s.leave()
	r := s.borrow()
	r.seq, r.layer, r.want, r.fails = q, layer, want, s.spillFails
	r.begin(ctx)
	return Recall{r, r.turn}
}

func (r *recall) begin(ctx context.Context) {
	s, q := r.store, r.seq
	if q.freed {
		r.err = fmt.Errorf("kv: sequence %d: recall: %w", q.number, ErrClosed)
		return
	}
	own := int64(len(r.want))
	s.count(q, r.layer, func(l *LayerStats) {
		l.Recalls++
		l.Selected += own
		l.Hits += own
	})
	for h, w := range r.want {
		r.slots[h] = slices.Grow(r.slots[h][:0], len(w))[:len(w)]
		r.left += len(w)
		if r.err = r.checkFull(h, w); r.err != nil {
			return
		}
	}
	if s.watched != nil {
		s.note(q, r.layer, r.want)
	}
	if !tiered || s.resident {
		r.everything()
		return
	}
	if s.host != nil {
		s.host.enter(r.layer)
	}
	s.settle(false)
	if s.readable() {
		r.whereverItIs()
		return
	}
	r.most, r.ahead = r.limit()
	if s.cfg.Keep == KeepSelected {
		if r.err = r.dropOthers(ctx); r.err != nil {
			return
		}
	}
	if r.left > r.most {
		// What a later round finds in a slot should not go for an earlier one.
		for h, w := range r.want {
			for _, b := range w {
				s.one[0][0] = q.tables[r.layer][h][b]
				s.pool.Touch(s.one[0][:], s.step)
			}
		}
	}
	s.remember(q, r.layer, r.want)
	r.plan(ctx, &r.cur)
	if r.left == 0 { // else all pages are for this layer
		s.foresee(q, r.layer)
	}
}

// checkFull refuses open blocks. Blocks of a layer and head are sealed in their
// order, so the last one speaks for all.
func (r *recall) checkFull(h int, w []int32) error {
	if len(w) == 0 {
		return nil
	}
	ids, last := r.seq.tables[r.layer][h], int(w[len(w)-1])
	switch {
	case last >= len(ids) || ids[last] < 0:
		return fmt.Errorf("kv: recall: sequence %d, layer %d, head %d, block %d of %d: %w", r.seq.number, r.layer, h, last, len(ids), ErrOpen)
	case !r.store.blocks[ids[last]].has(full):
		return fmt.Errorf("kv: recall: %w", r.store.blame(r.seq, ids[last], ErrOpen))
	}
	return nil
}

// everything is the round of all wanted blocks where none ever moves. Nothing
// needs to be pinned, ordered or waited for.
func (r *recall) everything() {
	s, n := r.store, int64(r.left)
	slotOf := s.pool.SlotOf
	for h, w := range r.want {
		ids, slots := r.seq.tables[r.layer][h], r.slots[h]
		for i, b := range w {
			slots[i] = slotOf[ids[b]]
		}
	}
	s.count(r.seq, r.layer, func(l *LayerStats) {
		l.Selected += n
		l.Hits += n
	})
	r.cur.all = n > 0
	r.left = 0
}

// whereverItIs is the round of all wanted blocks where every one is in a slot or in
// a page that it keeps as long as it lives. Slots are pinned, since others may ask
// for them; nothing is ordered or waited for.
func (r *recall) whereverItIs() {
	s, rd := r.store, &r.cur
	n := LayerStats{Selected: int64(r.left)}
	slotOf, used, pins, pages := s.pool.SlotOf, s.pool.Used, s.pool.Pins, s.firstPage
	for h, w := range r.want {
		ids, slots := r.seq.tables[r.layer][h], r.slots[h]
		for i, b := range w {
			id := ids[b]
			slot := slotOf[id]
			if slot < 0 {
				slots[i] = pages + s.blocks[id].page
				n.HostHits++
				if s.cfg.Trace != nil {
					r.missed[h] = append(r.missed[h], b)
				}
				continue
			}
			slots[i] = slot
			used[slot] = s.step
			pins[slot]++
			rd.ids, rd.slots = append(rd.ids, id), append(rd.slots, slot)
		}
	}
	n.Hits, n.InPlace = n.Selected-n.HostHits, n.HostHits
	n.BytesUp = n.HostHits * int64(s.cfg.Layout.BlockBytes())
	s.count(r.seq, r.layer, func(l *LayerStats) { l.add(n) })
	rd.all = r.left > 0
	r.left = 0
}

// limit is how many blocks a round may take, and whether the next one may be
// fetched beside it.
func (r *recall) limit() (most int, ahead bool) {
	s := r.store
	room := s.cfg.Slots
	if s.inPlace {
		if s.disk == nil {
			return r.left, true // all of them are in slots and pages
		}
		// Pages that can be emptied: blocks without a place on disk keep theirs, a
		// transfer that hangs keeps its own, and nothing moves those who sit.
		room = s.cfg.HostPages - max(0, s.due-s.disk.most) - s.reads - s.downs - s.spills - s.sat
	}
	if r.left <= room {
		return r.left, true
	}
	most = max(1, room/2)
	return most, !s.inPlace || 2*most <= room
}

// Next brings the next round, and reports whether there is one. The places of the
// round before are given up.
func (r Recall) Next(ctx context.Context) bool {
	s := r.store
	s.enter()
	defer s.leave()
	switch {
	case r.turn != r.recall.turn || r.closed || r.err != nil:
		return false
	case r.seq.freed:
		r.err = fmt.Errorf("kv: sequence %d: recall: %w", r.seq.number, ErrClosed)
		return false
	}
	if r.shown {
		r.giveUp(&r.cur)
		r.cur, r.next = r.next, r.cur
	}
	r.shown = true
	if r.cur.empty() && r.left == 0 {
		return false
	}
	if ctx.Err() != nil {
		r.err = fmt.Errorf("kv: recall: sequence %d, layer %d: %w", r.seq.number, r.layer, context.Cause(ctx))
		return false
	}
	if !r.cur.all {
		if r.err = r.ready(ctx); r.err != nil {
			return false
		}
	}
	s.count(r.seq, r.layer, func(l *LayerStats) { l.Rounds++ })
	r.layOut()
	return true
}

// ready makes the current round, if there is none yet, sends for the next one,
// and waits until the current one is there.
func (r *recall) ready(ctx context.Context) error {
	s := r.store
	if r.cur.empty() {
		err := s.await(ctx, r.seq, r.layer, func() (bool, error) {
			ok := r.plan(ctx, &r.cur)
			if !ok && s.spillFails > r.fails {
				return false, s.spillErr
			}
			return ok, nil
		})
		if err != nil {
			return fmt.Errorf("kv: recall: %w", s.blame(r.seq, r.first(), err))
		}
	}
	if r.ahead {
		r.plan(ctx, &r.next)
	}
	if err := s.await(ctx, r.seq, r.layer, r.isReady); err != nil {
		at := r.cur.ids[r.cur.wait[r.cur.ready]]
		return fmt.Errorf("kv: recall: %w", s.blame(r.seq, at, err))
	}
	return nil
}

// Parts is the round: for each KV head that has a block in it, numbers and slots
// in ascending order. Valid until Next or Close.
func (r Recall) Parts() []compute.Part {
	if r.turn != r.recall.turn || r.closed {
		return nil
	}
	return r.parts
}

// Last reports whether no round follows the one that Next has brought.
func (r Recall) Last() bool {
	return r.turn == r.recall.turn && !r.closed && r.shown && r.left == 0 && r.next.empty()
}

// Err is why Next stopped early, or nil; also after Close, until the store's next
// recall.
func (r Recall) Err() error {
	if r.turn != r.recall.turn {
		return nil
	}
	return r.err
}

// Close gives up the places of all rounds. Transfers that are still under way end
// by themselves. A second call does nothing.
func (r Recall) Close() {
	s := r.store
	s.enter()
	defer s.leave()
	if r.turn != r.recall.turn || r.closed {
		return
	}
	if s.cfg.Trace != nil {
		for h, w := range r.want {
			s.cfg.Trace(Trace{Sequence: r.seq.number, Layer: r.layer, Head: h, Selected: w[:r.from[h]], Missed: r.missed[h]})
		}
	}
	r.giveUp(&r.cur)
	r.giveUp(&r.next)
	s.foresee(r.seq, r.layer)
	r.closed, r.seq, r.want = true, nil, nil
	s.recalls = slices.DeleteFunc(s.recalls, func(o *recall) bool { return o == r.recall })
	s.spent = append(s.spent, r.recall)
	if tiered && !s.resident {
		s.settle(false)
	}
}

// layOut makes the parts of the current round.
func (r *recall) layOut() {
	r.parts = r.parts[:0]
	rd := &r.cur
	if rd.all {
		for h, w := range r.want {
			r.from[h] = len(w)
			if len(w) > 0 {
				r.parts = append(r.parts, compute.Part{Head: h, Blocks: w, Slots: r.slots[h]})
			}
		}
		return
	}
	to := append(r.to[:0], rd.from...)
	for i, h := range rd.heads {
		r.slots[h][to[h]] = rd.slots[i]
		to[h]++
	}
	r.to = to
	for h, from := range rd.from {
		if from < to[h] {
			r.parts = append(r.parts, compute.Part{Head: h, Blocks: r.want[h][from:to[h]], Slots: r.slots[h][from:to[h]]})
		}
	}
}

// dropOthers takes the slots of those blocks of the sequence and layer that want
// does not name. One that is still on its way down is waited for, so that what
// is dropped depends on selections alone.
func (r *recall) dropOthers(ctx context.Context) error {
	s := r.store
	for h, ids := range r.seq.tables[r.layer] {
		w := r.want[h]
		for number, id := range ids {
			if len(w) > 0 && int(w[0]) == number {
				w = w[1:]
				continue
			}
			if id < 0 {
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

// borrow is a recall that nobody uses.
func (s *Store) borrow() *recall {
	var r *recall
	if n := len(s.spent); n > 0 {
		r = s.spent[n-1]
		s.spent = s.spent[:n-1]
		clear(r.from)
		for h := range r.missed {
			r.missed[h] = r.missed[h][:0]
		}
	} else {
		heads := s.cfg.Layout.Heads
		r = &recall{
			store: s, from: make([]int, heads), to: make([]int, 0, heads), slots: make([][]int32, heads), missed: make([][]int32, heads),
			cur: round{from: make([]int, heads)}, next: round{from: make([]int, heads)}, parts: make([]compute.Part, 0, heads),
		}
	}
	r.turn++
	r.closed, r.shown, r.err, r.left, r.parts = false, false, nil, 0, r.parts[:0]
	s.recalls = append(s.recalls, r)
	return r
}
