package policy

import (
	"context"
	"errors"
	"fmt"

	"nosa/compute"
	"nosa/dtype"
	"nosa/kv"
)

// Runner has a policy work on the sequences of a store. It belongs to the goroutine that owns
// the store.
type Runner struct {
	Needs Needs

	policy  Policy
	shape   Shape
	dev     compute.Device
	weigher compute.KeyLogitsDevice // nil: the device tells no weights, and none are needed
	store   *kv.Store
	layout  compute.Layout

	tail    compute.Tensor // F32 [KVHeads, 2, Block, Dim]: a block on its way into the cache
	queries compute.Tensor // F32 [Window, Heads, Dim]
	logits  compute.Tensor // F32 [rows, group, logitBlocks, Block]

	unpacked compute.Cache // MostPacked blocks in float32
	ids      [][]int32     // of it, by KV head: all the same

	plain  []Cell // of a text as it was computed
	want   [][]int32
	block  []float32 // K [Dim, Block], V [Block, Dim]
	bytes  []byte    // of a block, of a device with memory of its own
	matrix []float32 // logits [rows · group, places]
	at     []int32   // by cell: its place in a row of matrix
	row    []float64
	tokens []float32 // weights [group, cells] of a query
}

// logitBlocks is how many blocks' logits a device makes at a time.
const logitBlocks = 16

// rows is the most rows whose logits are made at a time: of a tile, or of the window.
func rows(n Needs, s Shape) int {
	if n.Sums {
		return max(n.Window, s.Block)
	}
	return n.Window
}

// ScratchBytes is the device memory of NewRunner and SequenceBytes that of the host for each
// sequence of so many tokens, for the memory plan.
func ScratchBytes(n Needs, s Shape) int64 {
	block := int64(s.Block) * int64(s.Dim)
	var packs int64
	if n.Packs {
		packs = MostPacked * int64(s.Block) * int64(2*s.Dim+1)
	}
	return 4 * (packs + int64(s.KVHeads)*2*block + int64(n.Window)*int64(s.Heads*s.Dim) + int64(rows(n, s))*int64(s.Group())*logitBlocks*int64(s.Block))
}

// SequenceBytes: see ScratchBytes.
func SequenceBytes(n Needs, s Shape, tokens int) int64 {
	cell := int64(cellBytes)
	if n.Sums {
		cell += 8
	}
	return int64(s.Layers) * (4*int64(n.Window)*int64(s.Heads*s.Dim) + cell*int64(s.KVHeads)*int64(tokens))
}

// NewRunner prepares a policy's work and its scratch memory on the device. The store keeps
// scores: they mask.
func NewRunner(dev compute.Device, store *kv.Store, p Policy, s Shape) (*Runner, error) {
	r := &Runner{Needs: p.Needs(), policy: p, shape: s, dev: dev, store: store, layout: store.Cache().Layout}
	if !r.layout.Scores {
		return nil, fmt.Errorf("policy: the cache keeps no scores, which mask what is dropped")
	}
	if r.weigher, _ = dev.(compute.KeyLogitsDevice); r.weigher == nil && rows(r.Needs, s) > 0 {
		return nil, fmt.Errorf("%w: it needs the weights of attention, which %s does not tell: use --device cpu", ErrPolicy, dev.Name())
	}
	var errs [5]error
	r.tail, errs[0] = dev.Alloc(dtype.F32, s.KVHeads, 2, s.Block, s.Dim)
	if n := rows(r.Needs, s); n > 0 {
		if r.Needs.Window > 0 {
			r.queries, errs[1] = dev.Alloc(dtype.F32, r.Needs.Window, s.Heads, s.Dim)
		}
		r.logits, errs[2] = dev.Alloc(dtype.F32, n, s.Group(), logitBlocks, s.Block)
	}
	if r.Needs.Packs {
		l := compute.Layout{Heads: s.KVHeads, Dim: s.Dim, Block: s.Block, Type: compute.KVF32, Scores: true}
		r.unpacked.Layout = l
		r.unpacked.Slots, errs[3] = dev.Alloc(dtype.U8, MostPacked, l.BlockBytes())
		r.unpacked.Score, errs[4] = dev.Alloc(dtype.F32, MostPacked, s.Block)
		for range s.KVHeads {
			list := make([]int32, MostPacked)
			for i := range list {
				list[i] = int32(i)
			}
			r.ids = append(r.ids, list)
		}
	}
	if err := errors.Join(errs[:]...); err != nil {
		r.Close()
		return nil, fmt.Errorf("policy: scratch memory: %w", err)
	}
	r.want = make([][]int32, s.KVHeads)
	r.block = make([]float32, 2*s.Block*s.Dim)
	return r, nil
}

// Close gives the scratch memory back.
func (r *Runner) Close() {
	for _, t := range []compute.Tensor{r.tail, r.queries, r.logits, r.unpacked.Slots, r.unpacked.Score} {
		if !t.None() {
			r.dev.Free(t)
		}
	}
}

// State makes the state of a sequence, and says how much of its prompt's beginning may be taken
// over from others: nothing may be lost that the policy has to see.
func (r *Runner) State(req Request) (s State, shared int, err error) {
	if s, err = r.policy.Begin(req); err != nil {
		return nil, 0, err
	}
	if r.Needs.Sums {
		return s, 0, nil
	}
	return s, max(0, min(len(req.Prompt), s.Next(0)-r.Needs.Window+1)), nil
}

// cellsOfText are those of n tokens as they were computed.
func (r *Runner) cellsOfText(n int) []Cell {
	for i := len(r.plain); i < n; i++ {
		r.plain = append(r.plain, Cell{Pos: int32(i), Count: 1})
	}
	return r.plain[:n]
}

// rounds calls f with blocks of a layer and head where they can be read, ascending.
func (r *Runner) rounds(ctx context.Context, seq *kv.Sequence, layer, head int, numbers []int32, f func(p compute.Part)) error {
	r.want[head] = numbers
	defer func() { r.want[head] = nil }()
	rounds := r.store.Recall(ctx, seq, layer, r.want)
	defer rounds.Close()
	for rounds.Next(ctx) {
		for _, p := range rounds.Parts() {
			f(p)
		}
	}
	return rounds.Err()
}

// slot is the bytes of a block.
func (r *Runner) slot(slot int32) []byte {
	c := r.store.Cache()
	if c.Slots.Data != nil {
		return c.SlotData(slot)
	}
	if r.bytes == nil {
		r.bytes = make([]byte, r.layout.BlockBytes())
	}
	r.dev.CopySlot(c, r.bytes, slot)
	return r.bytes
}

// tailOf is the open block of a layer and head: keys [Dim, Block] and values [Block, Dim].
func (r *Runner) tailOf(seq *kv.Sequence, layer, head int) (k, v []float32) {
	n := r.shape.Block * r.shape.Dim
	r.dev.Download(compute.F32s(r.block, len(r.block)).Data, seq.Tail(layer).Rows(head, head+1))
	return r.block[:n], r.block[n:]
}

// onHost is a tensor's numbers where the host reads them.
func (r *Runner) onHost(t compute.Tensor) []float32 {
	x := t.F32()
	if x == nil {
		x = make([]float32, t.Len())
		r.dev.Download(compute.F32s(x, len(x)).Data, t)
	}
	return x
}
