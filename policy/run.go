package policy

import (
	"context"
	"fmt"
	"math"

	"nosa/compute"
	"nosa/kv"
)

// Run is a policy at work on one sequence.
type Run struct {
	r     *Runner
	seq   *kv.Sequence
	state State
	watch Watcher // or nil
	ids   []int32 // of the text
	layer []runLayer
}

type runLayer struct {
	ring  []float32 // the newest queries [Window, Heads, Dim], by position
	heads []cells
}

// Run begins the work on a sequence, which Rewrites; shared are the ids of the tokens that it
// has taken over from others.
func (r *Runner) Run(seq *kv.Sequence, s State, shared []int32) *Run {
	u := &Run{r: r, seq: seq, state: s, ids: append([]int32(nil), shared...), layer: make([]runLayer, r.shape.Layers)}
	u.watch, _ = s.(Watcher)
	for i := range u.layer {
		u.layer[i].heads = make([]cells, r.shape.KVHeads)
		u.layer[i].ring = make([]float32, r.Needs.Window*r.shape.Heads*r.shape.Dim)
	}
	return u
}

// Stop is the length at which a run of tokens from a position on is to be cut, and Compress
// called.
func (u *Run) Stop(pos int) int { return u.state.Next(pos) }

// Sees reports whether Attended is to be called.
func (u *Run) Sees() bool { return u.r.Needs.Sums }

// Packs reports whether blocks may be packed, and Unpack is to be asked.
func (u *Run) Packs() bool { return u.r.Needs.Packs }

// Unpack has the cells of a packed block of a layer and head, which lies in a slot, in a cache of
// its own, until it is called again: false, it is not packed.
func (u *Run) Unpack(layer, head int, number, slot int32) (c *compute.Cache, tables [][]int32, part compute.Part, ok bool) {
	r, heads := u.r, &u.layer[layer].heads[head]
	p := heads.packedIn(number)
	if p == nil {
		return nil, nil, part, false
	}
	n, s := p.to-p.from, r.shape
	k, v := make([]float32, n*s.Dim), make([]float32, n*s.Dim)
	p.codec.Decode(k, v, r.slot(slot)[:p.codec.Bytes(n)])
	half := s.Block * s.Dim
	count := (n + s.Block - 1) / s.Block
	bias := make([]float32, s.Block)
	for b := range count {
		clear(r.block)
		for row := range bias {
			i := b*s.Block + row
			if i >= n {
				bias[row] = float32(math.Inf(-1))
				continue
			}
			bias[row] = heads.list[p.from+i].Bias
			for d := range s.Dim {
				r.block[d*s.Block+row] = k[i*s.Dim+d]
			}
			copy(r.block[half+row*s.Dim:], v[i*s.Dim:(i+1)*s.Dim])
		}
		r.dev.Upload(r.unpacked.Slots.Rows(b, b+1), compute.F32s(r.block, len(r.block)).Data)
		r.dev.Upload(r.unpacked.Score.Rows(b, b+1), compute.F32s(bias, len(bias)).Data)
	}
	for h, list := range r.ids { // a tile's tables go to its own block, of which nothing is read here
		for len(list) < len(u.seq.Tables(layer)[h]) {
			list = append(list, 0)
		}
		r.ids[h] = list
	}
	return &r.unpacked, r.ids, compute.Part{Head: head, Blocks: r.ids[head][:count], Slots: r.ids[head][:count]}, true
}

// Attended is called for each tile of a layer whose rows have attended, before its own block
// is sealed.
func (u *Run) Attended(ctx context.Context, layer int, t compute.Tile, q compute.Tensor) error {
	r := u.r
	l := &view{u, layer, t.Pos + t.N, t.Own(r.shape.Block)}
	for h := range r.shape.KVHeads {
		list := l.Cells(h)
		if err := l.logits(ctx, h, q, t); err != nil {
			return err
		}
		places := len(r.matrix) / (t.N * r.shape.Group())
		for row := range t.N {
			seen := len(list) - (t.N - 1 - row) // the rows' own tokens are the last cells
			r.tokens = r.tokens[:0]
			for g := range r.shape.Group() {
				r.softmax(r.matrix[(row*r.shape.Group()+g)*places:][:places], list[:seen], math.MaxInt32)
				for i, x := range r.tokens[g*seen:] {
					l.Sums(h)[i] += float64(x)
				}
			}
			if u.watch != nil {
				u.watch.Watch(l, h, t.Pos+row, r.tokens)
			}
		}
	}
	return nil
}

// softmax appends the weights of cells to tokens: of those at or before a position, 0 for the
// others.
func (r *Runner) softmax(logits []float32, cells []Cell, pos int32) {
	r.row = r.row[:0]
	top := math.Inf(-1)
	for i, c := range cells {
		x := math.Inf(-1)
		if c.Pos <= pos {
			x = float64(logits[r.at[i]])
		}
		r.row = append(r.row, x)
		top = max(top, x)
	}
	if math.IsInf(top, -1) {
		top = 0
	}
	var sum float64
	for i, x := range r.row {
		r.row[i] = math.Exp(x - top)
		sum += r.row[i]
	}
	for _, x := range r.row {
		r.tokens = append(r.tokens, float32(x/sum))
	}
}

// After is called for a layer when a run of rows has attended, which does not go past Stop: q
// has them from row on, at positions from pos on. At a stop the layer is compressed.
func (u *Run) After(ctx context.Context, layer int, q compute.Tensor, row, pos int, ids []int32) error {
	r, n := u.r, len(ids)
	if at := len(u.ids) - pos; at < n {
		u.ids = append(u.ids, ids[at:]...)
	}
	if w := r.Needs.Window; w > 0 {
		width := r.shape.Heads * r.shape.Dim
		for i := max(0, n-w); i < n; i++ {
			to := u.layer[layer].ring[(pos+i)%w*width:][:width]
			r.dev.Download(compute.F32s(to, width).Data, q.Rows(row+i, row+i+1))
		}
	}
	if u.state.Next(pos) != pos+n {
		return nil
	}
	if err := u.state.Compress(ctx, &view{u, layer, pos + n, (pos + n) / r.shape.Block}); err != nil {
		return fmt.Errorf("policy: sequence %d, layer %d: %w", u.seq.Number(), layer, err)
	}
	return nil
}

// Positions are those of the cells of a layer and KV head, for tests and for people.
func (u *Run) Positions(layer, head int) []int {
	c := &u.layer[layer].heads[head]
	l := &view{u, layer, len(u.ids), len(u.ids) / u.r.shape.Block}
	list := make([]int, 0, c.tokens)
	for _, x := range l.Cells(head) {
		list = append(list, int(x.Pos))
	}
	return list
}
