package kv

import (
	"fmt"
	"slices"

	"nosa/compute"
	"nosa/dtype"
)

// SequenceOptions say what a sequence will hold.
type SequenceOptions struct {
	Tokens  int     // the most it may hold; tables are allocated for it
	Prefix  []int32 // its prompt, to be matched against what others have computed
	Salt    []byte  // enters the chain key: blocks are shared under the same salt alone
	NoShare bool    // neither take blocks over nor offer them
	Promise bool    // set room aside for all Tokens now: Reserve never finds the store full
	// Rewrites says that its full blocks may be replaced: see Drop and Write. Such a sequence
	// never sits.
	Rewrites bool
}

// Sequence is the block table of one request.
type Sequence struct {
	store  *Store
	number int // for people: in errors and traces
	opt    SequenceOptions

	tables  [][][]int32    // by layer and KV head: ids by block number
	place   place          // of its columns
	tail    compute.Tensor // F32 [layers·kvHeads, 2, Block, Dim]
	len     int            // tokens complete in every layer
	columns []int32        // by block number: which column its ids are of
	dues    int            // block numbers whose last token is reserved
	promise promise        // what is left of it

	chain  key     // of the last full column
	open   []int32 // token ids of the column after it
	shared int

	foresight foresight
	rewritten rewritten

	seat  int   // that it sits on, or −1
	told  int   // columns that are in the seat's table
	lined bool  // for the next step
	ran   int64 // when it last was
	later int64 // the step from which on it may be seated again

	layers  []LayerStats
	stepped LayerStats // what a device's own steps have counted, over all layers
	freed   bool
}

// NewSequence makes an empty sequence, or one that begins with the blocks of a
// common prefix which other live sequences have computed. The last token of the
// prefix is never taken over: somebody must compute its logits, and its own
// block is read as it was computed. ErrFull is returned for a Promise that can not be
// given.
func (s *Store) NewSequence(o SequenceOptions) (*Sequence, error) {
	s.enter()
	defer s.leave()
	if s.closed {
		return nil, fmt.Errorf("kv: new sequence: %w", ErrClosed)
	}
	l := s.cfg.Layout
	width := s.cfg.Layers * l.Heads
	// A sequence can not have more columns than there are ids, whatever it asks.
	most := min((max(o.Tokens, 0)+l.Block-1)/l.Block, len(s.blocks)/width)
	tail, err := s.dev.Alloc(dtype.F32, width, 2, l.Block, l.Dim)
	if err != nil {
		return nil, fmt.Errorf("kv: new sequence: tail blocks: %w", err)
	}
	q := &Sequence{
		store: s, number: s.made, opt: o, tail: tail, seat: -1,
		tables: make([][][]int32, s.cfg.Layers),
		layers: make([]LayerStats, s.cfg.Layers),
		open:   make([]int32, 0, l.Block),
		chain:  s.root(o.Salt),
		place:  s.free.newPlace(most),
	}
	s.made++
	ids := make([]int32, (width+1)*most)
	q.columns, ids = ids[:0:most], ids[most:]
	for layer := range q.tables {
		q.tables[layer] = make([][]int32, l.Heads)
		for h := range q.tables[layer] {
			q.tables[layer][h], ids = ids[:0:most], ids[most:]
		}
	}
	if s.disk != nil {
		q.foresight = newForesight(s.cfg.Layers, l.Heads, most)
	}
	q.opt.Prefix = nil
	s.sequences[q] = struct{}{}
	if !o.NoShare {
		s.takeOver(q, o.Prefix, min(most, o.Tokens/l.Block))
	}
	if o.Promise {
		if err := s.setAside(q); err != nil {
			q.end()
			return nil, err
		}
	}
	return q, nil
}

// Number tells the sequence apart from others of its store, in errors and traces.
func (q *Sequence) Number() int { return q.number }

// Len is the number of tokens that are complete in every layer. It begins at
// Shared.
func (q *Sequence) Len() int { return q.len }

// Shared is the number of tokens taken over from a common prefix.
func (q *Sequence) Shared() int { return q.shared }

// Tables lists the block ids of a layer, by KV head and block number. The slices
// grow in place with Reserve and are valid until Free.
func (q *Sequence) Tables(layer int) [][]int32 { return q.tables[layer] }

// Tail is the memory of the open block of a layer: F32 [kvHeads, 2, Block, Dim].
func (q *Sequence) Tail(layer int) compute.Tensor {
	h := q.store.cfg.Layout.Heads
	return q.tail.Rows(layer*h, (layer+1)*h)
}

// Reserve makes sure that there are block ids, and homes for those blocks that
// become full, for n more tokens than Len, in every layer and head. Blocks that no
// sequence holds make room. It returns ErrFull if the store has no room for them now,
// ErrLength if they are more than the sequence was made for; then the sequence has
// not changed.
func (q *Sequence) Reserve(n int) error {
	s := q.store
	s.enter()
	defer s.leave()
	if q.freed {
		return fmt.Errorf("kv: sequence %d: reserve: %w", q.number, ErrClosed)
	}
	if n < 0 || n > q.opt.Tokens-q.len {
		return fmt.Errorf("kv: sequence %d has %d of at most %d tokens, %d more do not fit: %w", q.number, q.len, q.opt.Tokens, n, ErrLength)
	}
	l := s.cfg.Layout
	width := s.cfg.Layers * l.Heads
	columns := max((q.len+n+l.Block-1)/l.Block, len(q.columns))
	dues := max((q.len+n)/l.Block, q.dues)
	needColumns, needHomes := columns-len(q.columns), (dues-q.dues)*width
	if !s.makeFree(q, q.promise, needColumns, needHomes) {
		return fmt.Errorf("kv: sequence %d: %d more tokens need %d block ids and %d homes, %d and %d are free: %w: wait for other sequences, shorten --context, or raise --kv-host or --kv-disk",
			q.number, n, needColumns*width, needHomes, s.free.left*width, s.cfg.homes()-s.due, ErrFull)
	}
	for range needColumns {
		s.birth(q)
	}
	for _, heads := range q.tables {
		for _, ids := range heads {
			for _, id := range ids[q.dues:dues] {
				s.blocks[id].is |= due
			}
		}
	}
	s.due += needHomes
	q.dues = dues
	if q.opt.Promise {
		s.promised.add(-needColumns, -needHomes)
		q.promise.add(-needColumns, -needHomes)
	}
	return nil
}

// Advance ends a step: the tokens ids are complete in all layers. Columns (all
// layers and heads of one block number) that became full are offered to others.
func (q *Sequence) Advance(ids []int32) {
	s := q.store
	s.enter()
	defer s.leave()
	size := s.cfg.Layout.Block
	if q.freed || q.len+len(ids) > len(q.columns)*size {
		panic(fmt.Sprintf("kv: sequence %d has %d tokens and %d blocks: advance by %d", q.number, q.len, len(q.columns), len(ids)))
	}
	for _, id := range ids {
		q.open = append(q.open, id)
		if q.len++; len(q.open) < size {
			continue
		}
		prev := q.chain
		q.chain = prev.next(q.open)
		q.open = q.open[:0]
		s.offer(q, q.len/size-1, prev)
	}
	q.letGoReplaced()
}

// Free ends the sequence; a second call does nothing. It does not wait: places
// that a transfer is using are given back when it reports.
func (q *Sequence) Free() {
	s := q.store
	s.enter()
	defer s.leave()
	if q.freed {
		return
	}
	s.settle(false)
	q.end()
	s.settle(false)
}

// end gives back what a sequence holds.
func (q *Sequence) end() {
	s := q.store
	if q.seat >= 0 {
		s.rise(q, false)
	}
	q.freed = true
	s.promised.add(-q.promise.columns, -q.promise.homes)
	q.promise = promise{}
	q.letGoReplaced()
	for b := range slices.Backward(q.columns) { // the last is the oldest one cached
		for _, heads := range slices.Backward(q.tables) { // what comes back last goes out first
			for _, ids := range slices.Backward(heads) {
				if ids[b] >= 0 {
					s.letGo(ids[b])
				}
			}
		}
	}
	s.trim()
	q.giveSpares()
	s.free.mark(q.place.from, q.place.n)
	s.dev.Free(q.tail)
	q.tables, q.columns, q.open, q.tail = nil, nil, nil, compute.Tensor{}
	delete(s.sequences, q)
}
