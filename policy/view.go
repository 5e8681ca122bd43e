package policy

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"

	"nosa/compute"
)

// view is a Layer as it lies in the cache.
type view struct {
	u      *Run
	index  int
	tokens int
	open   int // number of the open block; if it is full and sealed, that of the next one
}

var _ Layer = (*view)(nil)

// Shape: see Layer.
func (l *view) Shape() Shape { return l.u.r.shape }

// Index: see Layer.
func (l *view) Index() int { return l.index }

// Tokens: see Layer.
func (l *view) Tokens() int { return l.tokens }

// Token: see Layer.
func (l *view) Token(pos int) int32 { return l.u.ids[pos] }

// cells are those of a head, with all tokens of the text.
func (l *view) cells(head int) *cells {
	c := &l.u.layer[l.index].heads[head]
	c.upTo(l.tokens, l.Shape().Block, l.u.r.Needs.Sums)
	return c
}

// Cells: see Layer.
func (l *view) Cells(head int) []Cell {
	if c := l.cells(head); c.changed {
		return c.list
	}
	return l.u.r.cellsOfText(l.tokens)
}

// Sums: see Layer.
func (l *view) Sums(head int) []float64 { return l.cells(head).sums }

// full lists the numbers of a head's full blocks.
func (l *view) full(head int) []int32 {
	if list := l.u.seq.Numbers(l.index, head); list != nil {
		n, _ := slices.BinarySearch(list, int32(l.open))
		return list[:n]
	}
	list := make([]int32, l.open)
	for b := range list {
		list[b] = int32(b)
	}
	return list
}

// spots are those of a head's cells.
func (l *view) spots(head int) []spot {
	c := l.cells(head)
	if c.changed {
		return c.spots
	}
	list := make([]spot, l.tokens)
	for p := range list {
		list[p] = spot{int32(p / l.Shape().Block), int32(p % l.Shape().Block)}
	}
	return list
}

// Keys: see Layer.
func (l *view) Keys(ctx context.Context, head int) ([]float32, error) {
	k, _, err := l.rows(ctx, head, l.spots(head))
	return k, err
}

// Values: see Layer.
func (l *view) Values(ctx context.Context, head int) ([]float32, error) {
	_, v, err := l.rows(ctx, head, l.spots(head))
	return v, err
}

// rows reads the keys and values that lie in some spots, [spots, Dim].
func (l *view) rows(ctx context.Context, head int, spots []spot) (k, v []float32, err error) {
	r, block, dim := l.u.r, l.Shape().Block, l.Shape().Dim
	k, v = make([]float32, len(spots)*dim), make([]float32, len(spots)*dim)
	runs := blocks(spots)
	half := block * dim
	take := func(run cellRun, key, val []float32) {
		for i := run.from; i < run.to; i++ {
			at := int(spots[i].row)
			for d := range dim {
				k[i*dim+d] = key[d*block+at]
			}
			copy(v[i*dim:(i+1)*dim], val[at*dim:])
		}
	}
	if n := len(runs); n > 0 && runs[n-1].number == int32(l.open) {
		key, val := r.tailOf(l.u.seq, l.index, head)
		take(runs[n-1], key, val)
		runs = runs[:n-1]
	}
	numbers := make([]int32, len(runs))
	for i, run := range runs {
		numbers[i] = run.number
	}
	c := l.cells(head)
	err = r.rounds(ctx, l.u.seq, l.index, head, numbers, func(part compute.Part) {
		for i, b := range part.Blocks {
			at, _ := slices.BinarySearch(numbers, b)
			data := r.slot(part.Slots[i])
			p := c.packedIn(b)
			if p == nil {
				r.layout.DecodeBlock(r.block[:half], r.block[half:], data)
				take(runs[at], r.block[:half], r.block[half:])
				continue
			}
			n := p.to - p.from
			key, val := make([]float32, n*dim), make([]float32, n*dim)
			p.codec.Decode(key, val, data[:p.codec.Bytes(n)])
			for j := runs[at].from; j < runs[at].to; j++ {
				row := int(spots[j].row)
				copy(k[j*dim:(j+1)*dim], key[row*dim:])
				copy(v[j*dim:(j+1)*dim], val[row*dim:])
			}
		}
	})
	return k, v, err
}

// Queries: see Layer.
func (l *view) Queries() ([]float32, int) {
	w, width := l.u.r.Needs.Window, l.Shape().Heads*l.Shape().Dim
	n := min(w, l.tokens)
	q := make([]float32, 0, n*width)
	for p := l.tokens - n; p < l.tokens; p++ {
		q = append(q, l.u.layer[l.index].ring[p%w*width:][:width]...)
	}
	return q, n
}

// Weights: see Layer.
func (l *view) Weights(ctx context.Context, head, rows int) ([]float32, error) {
	q, n := l.Queries()
	if rows < 1 || rows > n {
		return nil, fmt.Errorf("weights of %d queries, %d are kept", rows, n)
	}
	r, s := l.u.r, l.Shape()
	q = q[(n-rows)*s.Heads*s.Dim:]
	on := r.queries.Rows(0, rows)
	r.dev.Upload(on, compute.F32s(q, len(q)).Data)
	t := compute.Tile{N: rows, Pos: l.tokens - rows, Tables: l.u.seq.Tables(l.index), Tail: l.u.seq.Tail(l.index)}
	if err := l.logits(ctx, head, on, t); err != nil {
		return nil, err
	}
	list := l.Cells(head)
	places := len(r.matrix) / (rows * s.Group())
	r.tokens = r.tokens[:0]
	for g := range s.Group() {
		for row := range rows {
			r.softmax(r.matrix[(row*s.Group()+g)*places:][:places], list, int32(t.Pos+row))
		}
	}
	return r.tokens, nil
}

// used is how many tokens the open block has.
func (l *view) used() int { return l.tokens - l.open*l.Shape().Block }

// logits sets the runner's matrix to the logits of a tile's rows, [N, group, places], and at to
// the place of each cell of a head.
func (l *view) logits(ctx context.Context, head int, q compute.Tensor, t compute.Tile) error {
	r, s, c := l.u.r, l.Shape(), l.cells(head)
	numbers := l.full(head)
	if l.used() > 0 {
		numbers = append(numbers[:len(numbers):len(numbers)], int32(l.open))
	}
	first := make([]int, len(numbers)+1) // places before each block
	for i, b := range numbers {
		n := s.Block
		if p := c.packedIn(b); p != nil {
			n = (p.to - p.from + s.Block - 1) / s.Block * s.Block
		}
		first[i+1] = first[i] + n
	}
	places, wide, done := first[len(numbers)], t.N*s.Group(), 0
	r.matrix = slices.Grow(r.matrix[:0], wide*places)[:wide*places]
	weigh := func(cache *compute.Cache, t compute.Tile, p compute.Part) {
		for len(p.Blocks) > 0 {
			n := min(len(p.Blocks), logitBlocks)
			out := r.logits.Reshape(r.logits.Len()).Rows(0, wide*n*s.Block)
			r.weigher.KeyLogits(out, q, cache, t, compute.Part{Head: head, Blocks: p.Blocks[:n], Slots: p.Slots[:n]})
			x := r.onHost(out)
			for i := range wide {
				copy(r.matrix[i*places+done:], x[i*n*s.Block:(i+1)*n*s.Block])
			}
			done += n * s.Block
			p.Blocks, p.Slots = p.Blocks[n:], p.Slots[n:]
		}
	}
	cache := r.store.Cache()
	if err := r.rounds(ctx, l.u.seq, l.index, head, l.full(head), func(p compute.Part) {
		for ; len(p.Blocks) > 0 && c.packedIn(p.Blocks[0]) != nil; p.Blocks, p.Slots = p.Blocks[1:], p.Slots[1:] {
			own, tables, part, _ := l.u.Unpack(l.index, head, p.Blocks[0], p.Slots[0])
			unpacked := t
			unpacked.Tables = tables
			weigh(own, unpacked, part)
		}
		weigh(cache, t, p)
	}); err != nil {
		return err
	}
	if l.used() > 0 {
		weigh(cache, t, compute.Part{Blocks: []int32{int32(l.open)}, Slots: []int32{-1}})
	}
	r.at = r.at[:0]
	at := 0
	for _, c := range l.spots(head) {
		for numbers[at] < c.number {
			at++
		}
		r.at = append(r.at, int32(first[at])+c.row)
	}
	return nil
}

// Keep: see Layer.
func (l *view) Keep(ctx context.Context, head int, keep []int) error {
	c, s := l.cells(head), l.Shape()
	list := l.Cells(head)
	for i, at := range keep {
		if at < 0 || at >= len(list) || i > 0 && at <= keep[i-1] {
			return fmt.Errorf("keep: index %d of %d cells in place %d", at, len(list), i)
		}
	}
	if len(keep) == len(list) {
		return nil
	}
	l.u.seq.Rewrite(l.tokens)
	c.change(list, s.Block)
	before := map[int32]int{}
	for _, run := range blocks(c.spots) {
		before[run.number] = run.to - run.from
	}
	if n := c.packedCells(); n > 0 && (len(keep) < n || keep[n-1] != n-1) {
		if err := l.unpack(ctx, head, keep); err != nil {
			return err
		}
		return nil
	}
	c.keep(keep)
	return l.settle(ctx, head, before)
}

// settle makes the blocks of a head hold its cells, after some have been dropped; before says
// how many each block held.
func (l *view) settle(ctx context.Context, head int, before map[int32]int) error {
	c, s, seq := l.cells(head), l.Shape(), l.u.seq
	runs := blocks(c.spots)
	held := make(map[int32]cellRun, len(runs))
	for _, run := range runs {
		held[run.number] = run
	}
	// What holds nothing any more goes; what is left of the others is masked, or packed.
	var gone []int32
	var ragged []int32 // full blocks with places that hold nothing
	dead, mixed := 0, false
	for _, b := range l.full(head) {
		n := held[b].to - held[b].from
		switch {
		case c.packedIn(b) != nil: // none of its cells has been dropped
		case n == 0:
			gone = append(gone, b)
		case n < s.Block:
			ragged = append(ragged, b)
			dead += s.Block - n
			mixed = mixed || n != before[b] && !seq.Private(l.index, head, int(b))
		}
	}
	if len(gone) > 0 {
		if err := seq.Drop(l.index, head, gone); err != nil {
			return err
		}
	}
	if mixed || dead >= s.Block {
		var within []int32
		for _, b := range l.full(head) {
			if b >= ragged[0] && b <= ragged[len(ragged)-1] {
				within = append(within, b)
			}
		}
		if err := l.pack(ctx, head, within); err != nil {
			return err
		}
	} else {
		for _, b := range ragged {
			if run := held[b]; run.to-run.from != before[b] {
				seq.Bias(l.index, head, int(b), c.bias(s.Block, run, s.Block))
			}
		}
	}
	open := int32(l.open)
	if l.used() > 0 && held[open].to-held[open].from != before[open] {
		seq.Bias(l.index, head, l.open, c.bias(s.Block, held[open], l.used()))
	}
	return nil
}

// unpack leaves some cells of a head of which cells that a codec has encoded are dropped.
func (l *view) unpack(ctx context.Context, head int, keep []int) error {
	c := l.cells(head)
	spots, list, sums := make([]spot, len(keep)), make([]Cell, len(keep)), []float64(nil)
	for i, at := range keep {
		spots[i], list[i] = c.spots[at], c.list[at]
		if c.sums != nil {
			sums = append(sums, c.sums[at])
		}
	}
	k, v, err := l.rows(ctx, head, spots)
	if err != nil {
		return err
	}
	if err := l.Put(ctx, head, list, k, v); err != nil {
		return err
	}
	if c = l.cells(head); sums != nil {
		copy(c.sums, sums)
	}
	return nil
}

// pack puts the cells of some neighbouring full blocks, and there are some, into as few new ones.
func (l *view) pack(ctx context.Context, head int, numbers []int32) error {
	c, s := l.cells(head), l.Shape()
	from, _ := slices.BinarySearchFunc(c.spots, numbers[0], func(x spot, n int32) int { return int(x.number - n) })
	to, _ := slices.BinarySearchFunc(c.spots, numbers[len(numbers)-1]+1, func(x spot, n int32) int { return int(x.number - n) })
	k, v, err := l.rows(ctx, head, c.spots[from:to])
	if err != nil {
		return err
	}
	if err := l.u.seq.Drop(l.index, head, numbers); err != nil {
		return err
	}
	return l.write(ctx, head, from, to, int(numbers[0]), k, v, s)
}

// write puts cells from from to to−1 into new blocks from a number on.
func (l *view) write(ctx context.Context, head, from, to, number int, k, v []float32, s Shape) error {
	r, c, n := l.u.r, l.cells(head), s.Block*s.Dim
	for at := from; at < to; number++ {
		clear(r.block)
		end := min(to, at+s.Block)
		for i := at; i < end; i++ {
			row, x := i-at, (i-from)*s.Dim
			for d := range s.Dim {
				r.block[d*s.Block+row] = k[x+d]
			}
			copy(r.block[n+row*s.Dim:], v[x:x+s.Dim])
			c.spots[i] = spot{int32(number), int32(row)}
		}
		r.dev.Upload(r.tail.Rows(head, head+1), compute.F32s(r.block, len(r.block)).Data)
		if err := l.u.seq.Write(ctx, l.index, head, number, r.tail); err != nil {
			return err
		}
		l.u.seq.Bias(l.index, head, number, c.bias(s.Block, cellRun{from: at, to: end}, s.Block))
		at = end
	}
	return nil
}

// Put: see Layer.
func (l *view) Put(ctx context.Context, head int, list []Cell, k, v []float32) error {
	c, s, seq := l.cells(head), l.Shape(), l.u.seq
	if len(k) != len(list)*s.Dim || len(v) != len(k) {
		return fmt.Errorf("put: %d cells, %d and %d numbers of %d channels", len(list), len(k), len(v), s.Dim)
	}
	for i, x := range list {
		if x.Pos < 0 || int(x.Pos) >= l.tokens || i > 0 && x.Pos <= list[i-1].Pos || x.Count < 1 || math.IsNaN(float64(x.Bias)) {
			return fmt.Errorf("put: cell %d is %+v of %d tokens", i, x, l.tokens)
		}
	}
	seq.Rewrite(l.tokens)
	full := slices.Clone(l.full(head))
	*c = cells{changed: true, list: slices.Clone(list), spots: make([]spot, len(list)), tokens: l.tokens, sums: c.sums}
	if c.sums != nil {
		c.sums = make([]float64, len(list))
	}
	if err := seq.Drop(l.index, head, full); err != nil {
		return err
	}
	// What stands for a token of the open block stays there.
	past, _ := slices.BinarySearchFunc(list, int32(l.open*s.Block), func(x Cell, n int32) int { return int(x.Pos - n) })
	if err := l.write(ctx, head, 0, past, 0, k[:past*s.Dim], v[:past*s.Dim], s); err != nil {
		return err
	}
	if l.used() == 0 {
		return nil
	}
	key, val := l.u.r.tailOf(seq, l.index, head)
	for i, x := range list[past:] {
		row := int(x.Pos) % s.Block
		for d := range s.Dim {
			key[d*s.Block+row] = k[(past+i)*s.Dim+d]
		}
		copy(val[row*s.Dim:], v[(past+i)*s.Dim:][:s.Dim])
		c.spots[past+i] = spot{int32(l.open), int32(row)}
	}
	l.u.r.dev.Upload(seq.Tail(l.index).Rows(head, head+1), compute.F32s(l.u.r.block, len(l.u.r.block)).Data)
	seq.Bias(l.index, head, l.open, c.bias(s.Block, cellRun{from: past, to: len(list)}, l.used()))
	return nil
}

// Fits: see Layer.
func (l *view) Fits(c Codec) int {
	size := l.u.r.layout.BlockBytes()
	return sort.Search(MostPacked*l.Shape().Block, func(n int) bool { return c.Bytes(n+1) > size })
}

// Pack: see Layer.
func (l *view) Pack(ctx context.Context, head, to int, codec Codec) (int, error) {
	r, s := l.u.r, l.Shape()
	if !r.Needs.Packs {
		return 0, fmt.Errorf("pack: the policy does not say that it does")
	}
	c, list := l.cells(head), l.Cells(head)
	from, most := c.packedCells(), l.Fits(codec)
	if to < from || to > len(list) || most < s.Block {
		return from, fmt.Errorf("pack: up to %d of %d cells, of which %d are packed, %d to a block of %d", to, len(list), from, most, s.Block)
	}
	// As far as full blocks go.
	spots, end := l.spots(head), from
	var gone []int32
	for _, run := range blocks(spots[from:]) {
		if from+run.to > to || int(run.number) >= l.open {
			break
		}
		gone, end = append(gone, run.number), from+run.to
	}
	if end == from {
		return from, nil
	}
	k, v, err := l.rows(ctx, head, spots[from:end])
	if err != nil {
		return from, err
	}
	l.u.seq.Rewrite(l.tokens)
	c.change(list, s.Block)
	if err := l.u.seq.Drop(l.index, head, gone); err != nil {
		return from, err
	}
	data := make([]byte, r.layout.BlockBytes())
	for at, number := from, gone[0]; at < end; number++ {
		next := min(end, at+most)
		clear(data)
		codec.Encode(data[:codec.Bytes(next-at)], at, k[(at-from)*s.Dim:(next-from)*s.Dim], v[(at-from)*s.Dim:(next-from)*s.Dim])
		if err := l.u.seq.WriteBytes(ctx, l.index, head, int(number), data); err != nil {
			return from, err
		}
		c.packed = append(c.packed, packed{number, codec, at, next})
		for i := at; i < next; i++ {
			c.spots[i] = spot{number, int32(i - at)}
		}
		at = next
	}
	return end, nil
}
