package attention

import (
	"context"
	"fmt"
	"math/bits"
	"slices"

	"nosa/compute"
	"nosa/dtype"
	"nosa/kv"
)

// Config says what an Attention is for.
type Config struct {
	Method    Method
	Constants Constants
	Heads     int // query heads
	Layers    int
	Context   int // tokens of the longest sequence
	// Trace, when set, is told every tile's selection before it is recalled. It
	// must not keep what it is given.
	Trace func(layer int, t compute.Tile, sel compute.Selection)
	// Watch, when set, is given the queries and keys of every layer before they are attended to, whose first
	// row is at position pos: [rows, heads, dim] and [rows, kvHeads, dim], where the device has them. It must
	// not keep them.
	Watch func(layer, pos int, q, k compute.Tensor)
}

// Attention runs one method over one store. It belongs to the goroutine that
// owns the store.
type Attention struct {
	Config
	dev    compute.Device
	store  *kv.Store
	params compute.SelectParams
	layout compute.Layout

	blocks  compute.Tensor // I32 [Block, kvHeads, most]
	count   compute.Tensor // I32 [Block, kvHeads]
	byQuery compute.Tensor // F32 [Block · kvHeads · most blocks of a sequence]
	byScore compute.Tensor
	state   compute.Tensor    // F32 [Block, heads, StateLen]
	want    [][]int32         // by KV head: union of the rows' selections, own block left out
	marks   []uint64          // a bit a block number, scratch of union
	onHost  compute.Selection // what was selected, where the device has memory of its own
	own     []compute.Part    // the own block, for each KV head
	parts   []compute.Part    // the last round and the own block
	all     []int32           // 0, 1, 2, …

	together *together // nil: tile by tile
}

// New prepares an Attention and its scratch memory on the device.
func New(dev compute.Device, store *kv.Store, cfg Config) (*Attention, error) {
	a := &Attention{Config: cfg, dev: dev, store: store, layout: store.Cache().Layout, params: cfg.Method.Params(cfg.Constants)}
	l := a.layout
	if l.Heads == 0 || cfg.Heads%l.Heads != 0 {
		return nil, fmt.Errorf("attention: %d query heads over %d KV heads", cfg.Heads, l.Heads)
	}
	most := (cfg.Context + l.Block - 1) / l.Block
	var err error
	alloc := func(t dtype.Type, shape ...int) (x compute.Tensor) {
		if err == nil {
			x, err = dev.Alloc(t, shape...)
		}
		return x
	}
	a.blocks = alloc(dtype.I32, l.Block, l.Heads, max(1, min(a.params.Most(), most)))
	a.count = alloc(dtype.I32, l.Block, l.Heads)
	if a.params.ByQuery {
		a.byQuery = alloc(dtype.F32, l.Block*l.Heads*most)
	}
	if a.params.ByScore {
		a.byScore = alloc(dtype.F32, l.Block*l.Heads*most)
	}
	a.state = alloc(dtype.F32, l.Block, cfg.Heads, compute.StateLen(l.Dim))
	if err == nil {
		a.together, err = newTogether(dev, store, l, cfg.Heads, cfg.Context, a.blocks.Dims[2])
	}
	if err != nil {
		a.Close()
		return nil, fmt.Errorf("attention: scratch memory: %w", err)
	}
	if a.count.Data == nil {
		a.onHost.Count = compute.I32s(make([]int32, a.count.Len()), a.count.Dims[:2]...)
		a.onHost.Blocks = compute.I32s(make([]int32, a.blocks.Len()), a.blocks.Dims[:3]...)
	}
	a.marks = make([]uint64, (most+63)/64)
	a.all = make([]int32, most)
	for i := range a.all {
		a.all[i] = int32(i)
	}
	a.want = make([][]int32, l.Heads)
	a.own = make([]compute.Part, l.Heads)
	a.parts = make([]compute.Part, 0, 2*l.Heads)
	for h := range a.want {
		a.want[h] = make([]int32, 0, most)
		a.own[h] = compute.Part{Head: h, Blocks: make([]int32, 1), Slots: []int32{-1}}
	}
	return a, nil
}

// Scored reports whether the cache takes a score for each token.
func (a *Attention) Scored() bool { return a.layout.Scores }

// ScratchBytes is the device memory that New takes at most, for the memory plan; tiles says
// that the device may take them together.
func ScratchBytes(m Method, c Constants, l compute.Layout, heads, context int, tiles bool) int64 {
	p := m.Params(c)
	most := int64((context + l.Block - 1) / l.Block)
	places := max(1, min(int64(p.Most()), most))
	n := int64(l.Block*l.Heads)*(places+1) + int64(l.Block*heads*compute.StateLen(l.Dim))
	if p.ByQuery {
		n += int64(l.Block*l.Heads) * most
	}
	if p.ByScore {
		n += int64(l.Block*l.Heads) * most
	}
	if tiles {
		return 4*n + togetherBytes(l, int64(context), places)
	}
	return 4 * n
}

// Close gives the scratch memory back.
func (a *Attention) Close() {
	for _, t := range []compute.Tensor{a.blocks, a.count, a.byQuery, a.byScore, a.state} {
		if !t.None() {
			a.dev.Free(t)
		}
	}
	if a.together != nil {
		a.together.close()
	}
}

// Span is a run of rows of a batch that belong to one sequence, at consecutive
// positions, in one layer.
//
//	Q, Out  [rows, heads, dim]; K, V [rows, kvHeads, dim]; q and k after rotation
//	S       [rows, kvHeads], the importance scores; absent in methods without
type Span struct {
	Seq          *kv.Sequence
	Layer        int
	Row, N, Pos  int
	Skip         int // the first rows, which only leave their keys and values: nobody wants what they attend to
	Q, K, V, Out compute.Tensor
	S            compute.Tensor
	// Attended, when set, is called for each tile whose rows have attended, before its own block
	// is sealed.
	Attended func(ctx context.Context, t compute.Tile) error
	// Unpack, when set, tells which full blocks are encoded in a way that is not the cache's, and
	// has them where they can be attended to until it is called again. Such blocks of a KV head
	// come before all others of it.
	Unpack func(head int, number, slot int32) (Unpacked, bool)
}

// Unpacked is what a block holds, in a cache of its own: a part of it.
type Unpacked struct {
	Cache  *compute.Cache
	Tables [][]int32
	Part   compute.Part
}

// Run attends for the rows of a span, tile by tile, or for many tiles together. The sequence must have
// reserved room for them. On an error the sequence is unfit for further steps
// and is to be freed; others are untouched.
func (a *Attention) Run(ctx context.Context, s Span) error {
	if a.Watch != nil {
		a.Watch(s.Layer, s.Pos, s.Q.Rows(s.Row, s.Row+s.N), s.K.Rows(s.Row, s.Row+s.N))
	}
	if a.takes(s) {
		return a.runTogether(ctx, s)
	}
	for done := 0; done < s.N; {
		pos := s.Pos + done
		n := min(s.N-done, a.layout.Block-pos%a.layout.Block)
		t := compute.Tile{Row: s.Row + done, N: n, Pos: pos, Tables: s.Seq.Tables(s.Layer), Tail: s.Seq.Tail(s.Layer)}
		a.dev.Append(a.store.Cache(), t, s.K, s.V, s.S)
		if skip := max(0, s.Skip-done); skip < n {
			wanted := t
			wanted.Row, wanted.N, wanted.Pos = t.Row+skip, n-skip, pos+skip
			if err := a.attend(ctx, s, wanted); err != nil {
				return err
			}
			if s.Attended != nil {
				if err := s.Attended(ctx, wanted); err != nil {
					return err
				}
			}
		}
		if (pos+n)%a.layout.Block == 0 {
			if err := s.Seq.Seal(ctx, t, s.Layer); err != nil {
				return err
			}
		}
		done += n
	}
	return nil
}

// attend writes the output of a tile whose keys and values are in the cache.
func (a *Attention) attend(ctx context.Context, s Span, t compute.Tile) error {
	cache := a.store.Cache()
	sel, every := a.choose(s, t)
	seen := a.onHostOf(sel, every)
	if a.Trace != nil {
		a.Trace(s.Layer, t, seen)
	}
	own := t.Own(a.layout.Block)
	a.union(s, seen, t, own)

	rounds := a.store.Recall(ctx, s.Seq, s.Layer, a.want)
	defer rounds.Close()
	if a.Method.Foresees() && s.Layer+1 < a.Layers {
		a.store.Prefetch(s.Seq, s.Layer+1, a.foreseen(s, own))
	}
	a.dev.AttendBegin(a.state, t, a.Heads, a.layout.Dim)
	for h := range a.own {
		a.own[h].Blocks[0] = int32(own)
	}
	last := a.own // the own block goes with the last round
	for rounds.Next(ctx) {
		parts := rounds.Parts()
		if s.Unpack != nil {
			parts = a.unpack(s, t, sel, parts)
		}
		if !rounds.Last() {
			a.dev.Attend(a.state, s.Q, cache, t, sel, parts)
			continue
		}
		last = append(append(a.parts[:0], parts...), a.own...)
		break
	}
	if err := rounds.Err(); err != nil {
		return err
	}
	a.dev.Attend(a.state, s.Q, cache, t, sel, last)
	a.dev.AttendEnd(s.Out, a.state, t)
	return nil
}

// unpack attends to those blocks of a round that are encoded in another way, and returns the
// others.
func (a *Attention) unpack(s Span, t compute.Tile, sel compute.Selection, parts []compute.Part) []compute.Part {
	var plain []compute.Part
	for _, p := range parts {
		for ; len(p.Blocks) > 0; p.Blocks, p.Slots = p.Blocks[1:], p.Slots[1:] {
			u, ok := s.Unpack(p.Head, p.Blocks[0], p.Slots[0])
			if !ok {
				plain = append(plain, p)
				break
			}
			tile := t
			tile.Tables = u.Tables
			a.dev.Attend(a.state, s.Q, u.Cache, tile, sel, []compute.Part{u.Part})
		}
	}
	return plain
}

// onHostOf is a selection where the host reads it; every says that it is known to be
// every block.
func (a *Attention) onHostOf(sel compute.Selection, every bool) compute.Selection {
	if sel.Count.Data != nil {
		return sel
	}
	n := sel.Count.Dims[0]
	seen := compute.Selection{Blocks: a.onHost.Blocks.Rows(0, n), Count: a.onHost.Count.Rows(0, n)}
	if !every {
		a.dev.Download(seen.Count.Data, sel.Count)
		a.dev.Download(seen.Blocks.Data, sel.Blocks)
	}
	return seen
}

// choose runs the method's selection for a tile, and reports whether it is every block
// for all rows: also where what is left of a text has been chosen already.
func (a *Attention) choose(s Span, t compute.Tile) (sel compute.Selection, every bool) {
	sel = compute.Selection{Blocks: a.blocks.Rows(0, t.N), Count: a.count.Rows(0, t.N)}
	own := t.Own(a.layout.Block)
	if t.Pos+t.N <= a.params.DenseLen || own+1 <= a.params.K || s.Seq.Rewritten() {
		count := a.onHostOf(sel, true).Count
		for i := range count.I32() {
			count.I32()[i] = -1
		}
		if sel.Count.Data == nil {
			a.dev.Upload(sel.Count, count.Data)
		}
		return sel, true
	}
	var byQuery, byScore compute.Tensor
	cache := a.store.Cache()
	view := func(x compute.Tensor) compute.Tensor {
		return x.Rows(0, t.N*a.layout.Heads*(own+1)).Reshape(t.N, a.layout.Heads, own+1)
	}
	if a.params.ByQuery {
		byQuery = view(a.byQuery)
		a.dev.ScoreBlocks(byQuery, s.Q, cache, t)
	}
	if a.params.ByScore {
		byScore = view(a.byScore)
		a.dev.ScoreImportance(byScore, cache, t)
	}
	a.dev.Select(sel, byQuery, byScore, t, a.layout.Block, a.params)
	return sel, false
}

// every is all blocks before the own one that the sequence still has.
func (a *Attention) every(seq *kv.Sequence, layer, head, own int) []int32 {
	list := seq.Numbers(layer, head)
	if list == nil {
		return a.all[:own]
	}
	n, _ := slices.BinarySearch(list, int32(own))
	return list[:n]
}

// foreseen is what the next layer will want, where a method foresees it: the same, as far as
// it is still there.
func (a *Attention) foreseen(s Span, own int) [][]int32 {
	if !s.Seq.Rewritten() {
		return a.want
	}
	want := make([][]int32, len(a.want))
	for h := range want {
		want[h] = a.every(s.Seq, s.Layer+1, h, own)
	}
	return want
}

// union sets want to the blocks that any row of the tile selected, per KV head,
// ascending, without the own block: what has to be in slots.
func (a *Attention) union(s Span, sel compute.Selection, t compute.Tile, own int) {
	count, blocks := sel.Count.I32(), sel.Blocks.I32()
	heads, places := a.layout.Heads, sel.Blocks.Dims[2]
	for h := range a.want {
		want, every := a.want[h][:0], false
		for r := range t.N {
			every = every || count[r*heads+h] < 0
		}
		switch {
		case every:
			want = append(want, a.every(s.Seq, s.Layer, h, own)...)
		case t.N == 1:
			want = append(want, blocks[h*places:][:count[h]]...)
			if n := len(want); n > 0 && int(want[n-1]) == own {
				want = want[:n-1]
			}
		default:
			marks := a.marks[:own/64+1]
			clear(marks)
			for r := range t.N {
				at := r*heads + h
				for _, b := range blocks[at*places:][:count[at]] {
					marks[b/64] |= 1 << (b % 64)
				}
			}
			marks[own/64] &^= 1 << (own % 64)
			want = appendMarked(want, marks, 0)
		}
		a.want[h] = want
	}
}

// appendMarked appends the numbers of marks that are set, from the first on that counts.
func appendMarked(want []int32, marks []uint64, first int) []int32 {
	for i, word := range marks {
		for ; word != 0; word &= word - 1 {
			if b := 64*i + bits.TrailingZeros64(word); b >= first {
				want = append(want, int32(b))
			}
		}
	}
	return want
}
