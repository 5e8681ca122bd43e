// Package steptest runs whole decode steps on a device that has none, with its ordinary
// ops, so that what deals with a compute.Step can be tested without one: tokens have the
// bits of the ordinary path, and what the step was told is believed as a device would.
package steptest

import (
	"errors"
	"fmt"

	"nosa/compute"
	"nosa/dtype"
)

// Device is another one with steps.
type Device struct {
	compute.Device
	// Fail, if not nil, is asked before each step whether it fails.
	Fail func(rows []compute.StepRow) error
	// Refuse is returned by StepBytes and NewStep.
	Refuse error

	// NoPeaks has every draw look at its row of logits.
	NoPeaks bool

	Steps, Rows, Peaks int64 // so far
}

var _ compute.Stepper = (*Device)(nil)

// StepBytes is what NewStep allocates.
func (d *Device) StepBytes(m compute.Decoder, l compute.Layout, o compute.StepOptions) (n int64, err error) {
	for _, t := range shapes(m, l, o) {
		n += int64(t.Bytes())
	}
	return n, d.Refuse
}

// shapes is the memory of a step, in the order of step.take.
func shapes(m compute.Decoder, l compute.Layout, o compute.StepOptions) []compute.Tensor {
	f := func(shape ...int) compute.Tensor { return compute.Describe(dtype.F32, shape...) }
	most := (o.Context + l.Block - 1) / l.Block
	return []compute.Tensor{
		f(o.Rows, m.Hidden), f(o.Rows, m.Hidden),
		f(o.Rows, m.Heads, m.Dim), f(o.Rows, m.Heads, m.Dim),
		f(o.Rows, m.KVHeads, m.Dim), f(o.Rows, m.KVHeads, m.Dim), f(o.Rows, m.KVHeads),
		f(o.Rows, m.Intermediate), f(o.Rows, m.Intermediate), f(o.Rows, 2, len(m.Rope.Inv)),
		f(o.Rows, m.Hidden), f(o.Rows, m.Vocab),
		compute.Describe(dtype.I32, 1, l.Heads, max(1, min(o.Select.Most(), most))), compute.Describe(dtype.I32, 1, l.Heads),
		f(1, l.Heads, most), f(1, l.Heads, most), f(1, m.Heads, compute.StateLen(l.Dim)),
		f(o.Seats*len(m.Layers)*l.Heads, 2, l.Block*l.Dim),
	}
}

// NewStep prepares steps.
func (d *Device) NewStep(m compute.Decoder, c *compute.Cache, o compute.StepOptions) (compute.Step, error) {
	if d.Refuse != nil {
		return nil, d.Refuse
	}
	ids := o.Columns * len(m.Layers) * c.Heads
	own := c.Slots.Dims[0] - o.FirstSlot
	switch {
	case o.Rows < 1 || o.Seats < 1 || o.Context < 1:
		return nil, fmt.Errorf("steptest: %d rows, %d seats, a context of %d", o.Rows, o.Seats, o.Context)
	case o.Resident && (own != ids || o.FirstSlot != 0 || len(o.Pages) > 0):
		return nil, fmt.Errorf("steptest: %d slots from %d on for %d ids, %d bytes of pages", own, o.FirstSlot, ids, len(o.Pages))
	case !o.Resident && own < compute.StepSlots(c.Layout, o.Select, o.Context, o.Rows):
		return nil, fmt.Errorf("steptest: %d slots for %d rows", own, o.Rows)
	}
	s := &step{d: d, m: m, c: c, o: o, seats: make([]seat, o.Seats), pageOf: make([]int32, ids), counts: compute.StepCounts{Layers: make([]compute.StepCount, len(m.Layers))}}
	if !o.Resident {
		s.pool = compute.NewPool(own, ids)
	}
	for i := range s.pageOf {
		s.pageOf[i] = -1
	}
	var ts []compute.Tensor
	for _, t := range shapes(m, c.Layout, o) {
		x, err := d.Alloc(t.Type, t.Dims[:t.Rank]...)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		ts = append(ts, x)
		s.memory = ts
	}
	s.take(ts)
	return s, nil
}

type step struct {
	d      *Device
	m      compute.Decoder
	c      *compute.Cache
	o      compute.StepOptions
	memory []compute.Tensor
	seats  []seat
	pageOf []int32       // by id
	pool   *compute.Pool // of the slots from FirstSlot on; nil: a slot is an id
	tick   int64
	n      int           // rows of the last step
	asks   []compute.Ask // by such a row
	counts compute.StepCounts
	err    error

	x, h, q, o4, k, v, s, gate, up, angles, last, logits compute.Tensor
	blocks, count, byQuery, byScore, state, tails        compute.Tensor
}

type seat struct {
	taken  bool
	tables [][][]int32 // by layer and KV head
	next   int         // position of its next token; −1: not known
}

func (s *step) take(t []compute.Tensor) {
	for i, to := range []*compute.Tensor{
		&s.x, &s.h, &s.q, &s.o4, &s.k, &s.v, &s.s, &s.gate, &s.up, &s.angles, &s.last, &s.logits,
		&s.blocks, &s.count, &s.byQuery, &s.byScore, &s.state, &s.tails,
	} {
		*to = t[i]
	}
}

// Close gives the memory back.
func (s *step) Close() error {
	for _, t := range s.memory {
		s.d.Free(t)
	}
	s.memory = nil
	return nil
}

// tail is the open block of a seat in a layer: F32 [kvHeads, 2, Block·Dim].
func (s *step) tail(at, layer int) compute.Tensor {
	n := s.c.Heads
	from := (at*len(s.m.Layers) + layer) * n
	return s.tails.Rows(from, from+n)
}

func (s *step) id(layer, head int, column int32) int32 {
	return int32(len(s.m.Layers)*s.c.Heads-1-(layer*s.c.Heads+head))*int32(s.o.Columns) + column
}

func (s *step) copy(to, from compute.Tensor) {
	b := make([]byte, from.Bytes())
	s.d.Download(b, from)
	s.d.Upload(to, b)
}

// Sit: see compute.Step.
func (s *step) Sit(at int, tails []compute.Tensor) {
	if s.seats[at].taken {
		panic(fmt.Sprintf("steptest: seat %d is taken", at))
	}
	st := seat{taken: true, next: -1}
	for layer, t := range tails {
		s.copy(s.tail(at, layer), t)
		st.tables = append(st.tables, make([][]int32, s.c.Heads))
	}
	s.seats[at] = st
}

// Grow: see compute.Step.
func (s *step) Grow(at int, columns, pages []int32) {
	st := &s.seats[at]
	if !st.taken || !s.o.Resident && len(pages) != len(columns)*len(s.m.Layers)*s.c.Heads {
		panic(fmt.Sprintf("steptest: seat %d, taken %v, grows by %d columns with %d pages", at, st.taken, len(columns), len(pages)))
	}
	i := 0
	for _, c := range columns {
		for layer, heads := range st.tables {
			for h := range heads {
				id := s.id(layer, h, c)
				heads[h] = append(heads[h], id)
				if !s.o.Resident {
					s.pageOf[id] = pages[i]
					i++
				}
			}
		}
	}
}

// Rise: see compute.Step.
func (s *step) Rise(at int, tails []compute.Tensor) {
	for layer, t := range tails {
		s.copy(t, s.tail(at, layer))
	}
	s.seats[at] = seat{}
}

// Drop: see compute.Step.
func (s *step) Drop(columns []int32) {
	if s.o.Resident {
		return
	}
	for _, c := range columns {
		for layer := range s.m.Layers {
			for h := range s.c.Heads {
				s.pool.Drop(s.id(layer, h, c))
			}
		}
	}
}

// Run: see compute.Step.
func (s *step) Run(rows []compute.StepRow) {
	s.n, s.asks = len(rows), s.asks[:0]
	for _, r := range rows {
		s.asks = append(s.asks, r.Ask)
	}
	s.counts.Rows = make([]compute.StepCount, len(rows))
	clear(s.counts.Layers)
	if s.d.Fail != nil {
		if s.err = s.d.Fail(rows); s.err != nil {
			return
		}
	}
	s.check(rows)
	s.d.Steps++
	s.d.Rows += int64(len(rows))
	s.tick++
	s.err = s.run(rows)
}

// check holds rows to what they must be.
func (s *step) check(rows []compute.StepRow) {
	if len(rows) > s.o.Rows {
		panic(fmt.Sprintf("steptest: %d rows, at most %d", len(rows), s.o.Rows))
	}
	in := map[int32]bool{}
	for _, r := range rows {
		st := &s.seats[r.Seat]
		have := 0
		if st.taken {
			have = len(st.tables[0][0])
		}
		if in[r.Seat] || int(r.Pos)/s.c.Block >= have || int(r.Pos) >= s.o.Context || st.next >= 0 && int(r.Pos) != st.next {
			panic(fmt.Sprintf("steptest: row %+v of a seat with %d columns, whose next token is at %d; twice: %v", r, have, st.next, in[r.Seat]))
		}
		in[r.Seat] = true
		st.next = int(r.Pos) + 1
	}
}

func (s *step) run(rows []compute.StepRow) error {
	n, d, m := len(rows), s.d, &s.m
	ids, pos := make([]int32, n), make([]int32, n)
	for i, r := range rows {
		ids[i], pos[i] = r.Token, r.Pos
	}
	x, h, q, o, k, v := s.x.Rows(0, n), s.h.Rows(0, n), s.q.Rows(0, n), s.o4.Rows(0, n), s.k.Rows(0, n), s.v.Rows(0, n)
	gate, up, angles, score := s.gate.Rows(0, n), s.up.Rows(0, n), s.angles.Rows(0, n), compute.Tensor{}
	d.Embed(x, m.Embed, ids)
	if m.EmbedScale != 1 {
		d.Scale(x, m.EmbedScale)
	}
	d.Angles(angles, pos, m.Rope)
	for i := range m.Layers {
		y := &m.Layers[i]
		d.RMSNorm(h, x, y.AttnNorm, m.Eps)
		d.Linear(q, h, y.Q.Weight, y.Q.Bias)
		d.Linear(k, h, y.K.Weight, y.K.Bias)
		d.Linear(v, h, y.V.Weight, y.V.Bias)
		if !y.QNorm.None() {
			d.RMSNorm(q, q, y.QNorm, m.Eps)
			d.RMSNorm(k, k, y.KNorm, m.Eps)
		}
		d.Rotate(q, angles, m.Rope)
		d.Rotate(k, angles, m.Rope)
		if !y.A.None() {
			score = s.s.Rows(0, n)
			d.Importance(score, v, y.Delta.Weight, y.Delta.Bias, y.A)
		}
		wanted := map[int32]bool{}
		for r := range rows {
			if err := s.attend(i, r, rows[r], q, k, v, score, o, wanted); err != nil {
				return err
			}
		}
		if s.o.KeepSelected && s.pool != nil {
			s.dropOthers(i, wanted)
		}
		d.Linear(h, o, y.O.Weight, y.O.Bias)
		d.AddScaled(x, h, m.ResidualScale)
		d.RMSNorm(h, x, y.MLPNorm, m.Eps)
		d.Linear(gate, h, y.Gate.Weight, y.Gate.Bias)
		d.Linear(up, h, y.Up.Weight, y.Up.Bias)
		d.SwiGLU(gate, gate, up)
		d.Linear(h, gate, y.Down.Weight, y.Down.Bias)
		d.AddScaled(x, h, m.ResidualScale)
	}
	return d.Sync()
}

// dropOthers empties the slots of a layer's blocks that nobody has wanted.
func (s *step) dropOthers(layer int, wanted map[int32]bool) {
	for h := range s.c.Heads {
		for c := range s.o.Columns {
			if id := s.id(layer, h, int32(c)); !wanted[id] {
				s.pool.Drop(id)
			}
		}
	}
}

// attend is a row's attention in a layer, and its block's end if it fills it.
func (s *step) attend(layer, r int, row compute.StepRow, q, k, v, score, out compute.Tensor, wanted map[int32]bool) error {
	t := compute.Tile{Row: r, N: 1, Pos: int(row.Pos), Tail: s.tail(int(row.Seat), layer)}
	own := t.Own(s.c.Block)
	for _, ids := range s.seats[row.Seat].tables[layer] {
		t.Tables = append(t.Tables, ids[:own+1])
	}
	s.d.Append(s.c, t, k, v, score)
	sel := s.choose(t, q)
	s.d.AttendBegin(s.state, t, s.m.Heads, s.c.Dim)
	var last []compute.Part
	for h := range s.c.Heads {
		last = append(last, compute.Part{Head: h, Blocks: []int32{int32(own)}, Slots: []int32{-1}})
	}
	onHost := s.onHost(sel)
	for h := range s.c.Heads {
		list := onHost.List(0, h, own)
		if list[len(list)-1] == int32(own) {
			list = list[:len(list)-1]
		}
		for len(list) > 0 {
			slots, err := s.resolve(layer, r, t.Tables[h], list, wanted)
			if err != nil {
				return err
			}
			s.d.Attend(s.state, q, s.c, t, sel, []compute.Part{{Head: h, Blocks: list[:len(slots)], Slots: slots}})
			s.release(slots)
			list = list[len(slots):]
		}
	}
	s.add(layer, r, func(c *compute.StepCount) { c.Selected, c.Hits = c.Selected+int64(s.c.Heads), c.Hits+int64(s.c.Heads) })
	s.d.Attend(s.state, q, s.c, t, sel, last)
	s.d.AttendEnd(out, s.state, t)
	if (t.Pos+1)%s.c.Block == 0 {
		return s.seal(layer, r, t, own, wanted)
	}
	return nil
}

func (s *step) add(layer, r int, f func(*compute.StepCount)) {
	f(&s.counts.Layers[layer])
	f(&s.counts.Rows[r])
}

func (s *step) onHost(sel compute.Selection) compute.Selection {
	if sel.Count.Data != nil {
		return sel
	}
	count, blocks := make([]int32, sel.Count.Len()), make([]int32, sel.Blocks.Len())
	s.d.Download(compute.I32s(count, len(count)).Data, sel.Count)
	s.d.Download(compute.I32s(blocks, len(blocks)).Data, sel.Blocks)
	return compute.Selection{Count: compute.I32s(count, sel.Count.Dims[:2]...), Blocks: compute.I32s(blocks, sel.Blocks.Dims[:3]...)}
}

func (s *step) choose(t compute.Tile, q compute.Tensor) compute.Selection {
	p, own := s.o.Select, t.Own(s.c.Block)
	sel := compute.Selection{Blocks: s.blocks, Count: s.count}
	if t.Pos+1 <= p.DenseLen || own+1 <= p.K {
		every := make([]int32, s.c.Heads)
		for h := range every {
			every[h] = -1
		}
		s.d.Upload(sel.Count, compute.I32s(every, len(every)).Data)
		return sel
	}
	view := func(x compute.Tensor) compute.Tensor {
		return x.Reshape(x.Len()).Rows(0, s.c.Heads*(own+1)).Reshape(1, s.c.Heads, own+1)
	}
	var byQuery, byScore compute.Tensor
	if p.ByQuery {
		byQuery = view(s.byQuery)
		s.d.ScoreBlocks(byQuery, q, s.c, t)
	}
	if p.ByScore {
		byScore = view(s.byScore)
		s.d.ScoreImportance(byScore, s.c, t)
	}
	s.d.Select(sel, byQuery, byScore, t, s.c.Block, p)
	return sel
}

// resolve brings as many of the wanted blocks of a head into slots as there is room for at
// a time.
func (s *step) resolve(layer, r int, table, list []int32, wanted map[int32]bool) ([]int32, error) {
	ids, slots := make([]int32, len(list)), make([]int32, len(list))
	for i, b := range list {
		ids[i] = table[b]
		wanted[ids[i]] = true
	}
	if s.o.Resident {
		s.add(layer, r, func(c *compute.StepCount) { c.Selected, c.Hits = c.Selected+int64(len(ids)), c.Hits+int64(len(ids)) })
		copy(slots, ids)
		return slots, nil
	}
	done, missed, _ := s.pool.Resolve(ids, slots, s.tick, nil, nil)
	if done == 0 {
		return nil, fmt.Errorf("steptest: no slot for block %d", ids[0])
	}
	slots = slots[:done]
	for i := range slots {
		slots[i] += int32(s.o.FirstSlot)
	}
	for _, i := range missed {
		page := s.pageOf[ids[i]]
		s.d.FillSlot(s.c, slots[i], s.o.Pages[int(page)*s.o.Stride:][:s.c.BlockBytes()])
	}
	s.add(layer, r, func(c *compute.StepCount) {
		c.Selected += int64(done)
		c.Misses += int64(len(missed))
		c.Hits += int64(done - len(missed))
	})
	return slots, nil
}

func (s *step) release(slots []int32) {
	if s.o.Resident {
		return
	}
	at := make([]int32, len(slots))
	for i, slot := range slots {
		at[i] = slot - int32(s.o.FirstSlot)
	}
	s.pool.Unpin(at)
}

// seal writes a row's full block into slots and pages.
func (s *step) seal(layer, r int, t compute.Tile, own int, wanted map[int32]bool) error {
	for h, ids := range t.Tables {
		id := ids[own]
		slot := id
		if !s.o.Resident {
			at := [1]int32{}
			if done, _, _ := s.pool.Resolve([]int32{id}, at[:], s.tick, nil, nil); done == 0 {
				return fmt.Errorf("steptest: no slot for the full block %d", id)
			}
			slot = at[0] + int32(s.o.FirstSlot)
			s.pool.Unpin(at[:])
			wanted[id] = true
		}
		s.d.Seal(s.c, t, h, slot)
		if !s.o.Resident {
			s.d.CopySlot(s.c, s.o.Pages[int(s.pageOf[id])*s.o.Stride:][:s.c.BlockBytes()], slot)
		}
		s.add(layer, r, func(c *compute.StepCount) { c.Sealed++ })
	}
	return nil
}

// States: see compute.Step.
func (s *step) States(from, to int) compute.Tensor {
	if s.err != nil || to > s.n {
		panic(fmt.Sprintf("steptest: rows %d to %d of a step of %d, which ended with %v", from, to, s.n, s.err))
	}
	h := s.last.Rows(0, to-from)
	s.d.RMSNorm(h, s.x.Rows(from, to), s.m.Norm, s.m.Eps)
	return h
}

// Logits: see compute.Step.
func (s *step) Logits(from, to int) compute.Tensor {
	h, out := s.States(from, to), s.logits.Rows(0, to-from)
	if s.m.LogitScale != 1 {
		s.d.Scale(h, s.m.LogitScale)
	}
	s.d.Linear(out, h, s.m.Head, compute.Tensor{})
	return out
}

// Peak: see compute.Step.
func (s *step) Peak(row int) (p compute.Peak) {
	if a := s.asks[row]; a.Most > 0 && !s.d.NoPeaks {
		p = compute.PeakOf(s.Logits(row, row+1).F32(), a)
		s.d.Peaks++
	}
	return p
}

// Wait: see compute.Step.
func (s *step) Wait() (compute.StepCounts, error) { return s.counts, s.err }
