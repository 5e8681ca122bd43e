package kv

import (
	"context"
	"fmt"
	"slices"

	"nosa/compute"
)

// A sequence that Rewrites replaces full blocks of one layer and KV head by others, which are
// fewer: its caller drops, merges or encodes what they hold. What the blocks mean is no
// business of the store.
//
//	table   [0][1][2][3][4](5)      as computed
//	Drop    [ ][ ][ ][3][4](5)      holes: nobody asks for these numbers any more
//	Write   [0'][ ][ ][3][4](5)     a new block, full from the beginning, in a hole
//
// A new block's id is of a spare column: one of the sequence, in which no number is. Such
// ids are used again as often as it takes. What is dropped loses this holder, and if it was
// the last one, ends as any block does: slot, page and record come back.
//
// Where blocks are retained for sequences to come, those that are published, or that this step
// has completed, are let go when the step ends, in all layers together, so that whole columns
// stay. Nothing is offered to others of what is computed after Rewrite: it depends on what
// has been dropped.
type rewritten struct {
	begun   bool
	numbers [][][]int32 // by layer and head: block numbers that are in the table; nil: all
	sound   int         // columns before it are as they were computed
	columns int         // of those promised, for spares
	homes   int         // of those promised, for what replaces blocks that others hold
	spares  []int32     // columns that no number is in
	next    []int       // by layer and head: in spares, where to look for a free id
	waits   bool        // what was computed before is let go when the step ends
	gone    []int32     // ids that then are
}

// grow notes that a layer's heads have a new number.
func (r *rewritten) grow(layer int, number int32) {
	if r.numbers == nil {
		return
	}
	for h, list := range r.numbers[layer] {
		if list != nil {
			r.numbers[layer][h] = append(list, number)
		}
	}
}

// isSpare reports whether ids of a column are for what is rewritten.
func (s *Store) isSpare(column int32) bool { return s.spare != nil && s.spare[column] }

// asComputed reports whether the blocks that a column had when it was computed are all there, to
// be offered to others.
func (q *Sequence) asComputed(b int) bool {
	r := &q.rewritten
	if !r.begun || b < r.sound && r.waits {
		return true
	}
	if b >= r.sound {
		return false
	}
	for _, heads := range q.tables {
		for _, ids := range heads {
			if ids[b] < 0 || q.store.blocks[ids[b]].has(written) {
				return false
			}
		}
	}
	return true
}

// Numbers lists the block numbers of a layer and KV head that are in the table, ascending, the
// open one included; nil if there are no holes. It holds until the next Drop, Write or Reserve.
func (q *Sequence) Numbers(layer, head int) []int32 {
	if q.rewritten.numbers == nil {
		return nil
	}
	return q.rewritten.numbers[layer][head]
}

// Rewritten reports whether Rewrite has been called.
func (q *Sequence) Rewritten() bool { return q.rewritten.begun }

// Private reports whether a block is of the kind that is never offered to others: one that was
// written, or is of what came after Rewrite. What is known of it beside its bytes may change. It
// does not depend on whether anybody shares.
func (q *Sequence) Private(layer, head, number int) bool {
	return number >= q.rewritten.sound || q.isNew(layer, head, number)
}

// isNew reports whether a block was made by Write.
func (q *Sequence) isNew(layer, head, number int) bool {
	return q.store.blocks[q.tables[layer][head][number]].has(written)
}

// Rewrite says that blocks will be dropped, written or masked, which has been made for tokens
// after the first so many: columns that end later are not offered to others. A second call does
// nothing.
func (q *Sequence) Rewrite(tokens int) {
	r := &q.rewritten
	if r.begun || q.freed {
		return
	}
	if !q.opt.Rewrites {
		panic(fmt.Sprintf("kv: sequence %d does not rewrite its blocks", q.number))
	}
	r.begun, r.sound, r.waits = true, tokens/q.store.cfg.Layout.Block, q.store.cfg.Retain && !q.opt.NoShare
	r.numbers = make([][][]int32, len(q.tables))
	r.next = make([]int, len(q.tables)*q.store.cfg.Layout.Heads)
	for layer, heads := range q.tables {
		r.numbers[layer] = make([][]int32, len(heads))
	}
}

// Drop takes full blocks of a layer and KV head out of the table, after Rewrite.
func (q *Sequence) Drop(layer, head int, numbers []int32) error {
	s := q.store
	s.enter()
	defer s.leave()
	if q.freed {
		return fmt.Errorf("kv: sequence %d: drop: %w", q.number, ErrClosed)
	}
	r, ids := &q.rewritten, q.tables[layer][head]
	list := &r.numbers[layer][head]
	if *list == nil {
		for b := range ids {
			*list = append(*list, int32(b))
		}
	}
	for _, b := range numbers {
		id := ids[b]
		if id < 0 || !s.blocks[id].has(full) {
			panic(fmt.Sprintf("kv: sequence %d, layer %d, head %d: block %d is dropped, which is not there or not full", q.number, layer, head, b))
		}
		at, _ := slices.BinarySearch(*list, b)
		*list = slices.Delete(*list, at, at+1)
		isNew := q.isNew(layer, head, int(b))
		ids[b] = -1
		if r.waits && !isNew && int(b) < r.sound {
			r.gone = append(r.gone, id)
			continue
		}
		q.release(id)
	}
	s.trim()
	return nil
}

// release lets a block go that has been taken out of the table. Where others still hold it, its
// home does not come back, and this sequence needs another for what replaces it: the one that was
// promised to a holder for that, who is left with this.
func (q *Sequence) release(id int32) {
	s := q.store
	b := s.blocks[id]
	s.letGo(id)
	if b.refs == 1 || !q.opt.Promise || q.freed {
		return
	}
	var from *Sequence
	for x := range s.sequences {
		if x.rewritten.homes > 0 && int(b.number) < len(x.columns) && x.tables[b.layer][b.head][b.number] == id && (from == nil || x.number < from.number) {
			from = x
		}
	}
	if from != nil {
		from.rewritten.homes--
		from.promise.homes--
		q.rewritten.homes++
		q.promise.homes++
	}
}

// letGoReplaced lets go what has waited for the end of the step.
func (q *Sequence) letGoReplaced() {
	r := &q.rewritten
	if len(r.gone) == 0 {
		return
	}
	for _, id := range slices.Backward(r.gone) {
		q.release(id)
	}
	r.gone = r.gone[:0]
	q.store.trim()
}

// Write puts a new block of a layer and KV head into a hole of its table: number tells its
// place in the order of sums. tail [kvHeads, 2, Block, Dim] has its keys and values as a tile's
// tail has; they are encoded into the cache's format as any block is. ErrFull is returned if
// there is no room, which does not happen to a sequence with a Promise that has dropped as many.
func (q *Sequence) Write(ctx context.Context, layer, head, number int, tail compute.Tensor) error {
	return q.write(ctx, layer, head, number, func(slot int32) {
		q.store.dev.Seal(&q.store.cache, compute.Tile{Tail: tail}, head, slot)
	})
}

// WriteBytes is Write of bytes that the caller reads back by itself, as many as a block has: no
// op may read the block.
func (q *Sequence) WriteBytes(ctx context.Context, layer, head, number int, data []byte) error {
	return q.write(ctx, layer, head, number, func(slot int32) { q.store.dev.FillSlot(&q.store.cache, slot, data) })
}

func (q *Sequence) write(ctx context.Context, layer, head, number int, fill func(slot int32)) error {
	s := q.store
	s.enter()
	defer s.leave()
	if q.freed {
		return fmt.Errorf("kv: sequence %d: write: %w", q.number, ErrClosed)
	}
	id, err := q.newID(layer, head, number)
	if err != nil {
		return err
	}
	slot, err := s.slotFor(ctx, q, id)
	if err != nil {
		return fmt.Errorf("kv: write: %w", s.blame(q, id, err))
	}
	fill(slot)
	s.becameFull(id)
	return nil
}

// newID gives a hole of the table an id with a home.
func (q *Sequence) newID(layer, head, number int) (int32, error) {
	s, r := q.store, &q.rewritten
	if !r.begun || q.tables[layer][head][number] >= 0 {
		panic(fmt.Sprintf("kv: sequence %d, layer %d, head %d: block %d is written, which is there", q.number, layer, head, number))
	}
	column := q.freeSpare(layer, head)
	if column < 0 && r.columns == 0 && s.dying > 0 && !s.hung {
		// The ids of what has been dropped come back with the last copy of it.
		if err := s.await(context.Background(), q, layer, func() (bool, error) {
			column = q.freeSpare(layer, head)
			return column >= 0 || s.dying == 0, nil
		}); err != nil {
			return -1, fmt.Errorf("kv: write: %w", err)
		}
	}
	columns := 0
	if column < 0 {
		columns = 1
	}
	free := func() bool { // what else is promised is for the tokens to come
		return s.makeFree(q, promise{r.columns, r.homes}, columns, 1)
	}
	if !free() {
		r.waits = false // rather than to keep it for others
		q.letGoReplaced()
		if !free() {
			return -1, fmt.Errorf("kv: sequence %d: a block to replace others: %w: wait for other sequences, shorten --context, or raise --kv-host or --kv-disk", q.number, ErrFull)
		}
	}
	if columns > 0 {
		column = s.free.take(int32(s.cfg.Blocks / (s.cfg.Layers * s.cfg.Layout.Heads)))
		s.spare[column] = true
		r.spares = append(r.spares, column)
		if r.columns > 0 {
			r.columns--
			q.promise.columns--
			s.promised.columns--
		}
	}
	if r.homes > 0 {
		r.homes--
		q.promise.homes--
		s.promised.homes--
	}
	id := s.id(layer, head, column)
	s.blocks[id] = block{
		owner: q, refs: 1, page: -1, rec: -1, is: live | due | written,
		layer: int32(layer), head: int32(head), number: int32(number),
	}
	if s.watched != nil {
		s.watched[id] = wanted{}
	}
	s.left[column]++
	s.held[column]++
	s.live++
	s.due++
	s.count(q, layer, func(l *LayerStats) { l.Born++ })
	q.tables[layer][head][number] = id
	list := &r.numbers[layer][head]
	at, _ := slices.BinarySearch(*list, int32(number))
	*list = slices.Insert(*list, at, int32(number))
	return id, nil
}

// freeSpare finds a spare column in which the id of a layer and head is free, or −1.
func (q *Sequence) freeSpare(layer, head int) int32 {
	s, r := q.store, &q.rewritten
	at := &r.next[layer*s.cfg.Layout.Heads+head]
	for range r.spares {
		if *at++; *at >= len(r.spares) {
			*at = 0
		}
		if column := r.spares[*at]; s.blocks[s.id(layer, head, column)].is == 0 {
			return column
		}
	}
	return -1
}

// giveSpares gives the spare columns of a sequence back that ends. What is under way with
// their blocks may still keep them.
func (q *Sequence) giveSpares() {
	s := q.store
	for _, column := range q.rewritten.spares {
		s.spare[column] = false
		switch {
		case s.left[column] == 0:
			s.free.give(column)
		case s.held[column] == 0:
			s.dyingColumns++
		}
	}
	q.rewritten = rewritten{}
}

// Bias sets what enters the logits of a private block's tokens, of which there are
// Layout.Block: −∞ masks one. The cache keeps Scores.
func (q *Sequence) Bias(layer, head, number int, bias []float32) {
	s := q.store
	id := int(q.tables[layer][head][number])
	s.dev.Upload(s.cache.Score.Rows(id, id+1), compute.F32s(bias, len(bias)).Data)
}
