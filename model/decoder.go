package model

import (
	"context"
	"fmt"

	"nosa/attention"
	"nosa/compute"
	"nosa/dtype"
	"nosa/kv"
	"nosa/policy"
)

// Batch is the rows of one step: for each of them a token and its position. Rows
// of one sequence are neighbours, described by a Span.
type Batch struct {
	IDs   []int32
	Pos   []int32
	Spans []Span
	// From is the first row whose hidden state is wanted. Rows before it leave
	// their keys and values and nothing else.
	From int
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.IDs, b.Pos, b.Spans, b.From = b.IDs[:0], b.Pos[:0], b.Spans[:0], 0
}

// Add appends the next tokens of a sequence, as rows of a span of its own.
func (b *Batch) Add(seq *kv.Sequence, ids []int32) {
	b.Spans = append(b.Spans, Span{Seq: seq, Row: len(b.IDs), N: len(ids)})
	at := seq.Len()
	for i, id := range ids {
		b.IDs = append(b.IDs, id)
		b.Pos = append(b.Pos, int32(at+i))
	}
}

// Span is the rows Row to Row+N−1 of a batch: the next N tokens of a sequence
// that has reserved room for them.
type Span struct {
	Seq    *kv.Sequence
	Row, N int
	// Policy, when set, is what compresses the sequence. It must see the queries of all rows,
	// where it Needs any: From is 0 then.
	Policy *policy.Run
	// Err is set by Forward when the blocks of this sequence could not be read or
	// written. Its rows are then worthless; those of others are not affected.
	Err error
}

// Workspace is the memory of a step of up to Rows rows.
type Workspace struct {
	Rows, LogitRows int

	dev                compute.Device
	x                  compute.Tensor // [rows, hidden]
	q, o               compute.Tensor // [rows, heads, dim]
	k, v               compute.Tensor // [rows, kvHeads, dim]
	s                  compute.Tensor // [rows, kvHeads]
	angles             compute.Tensor // [rows, 2, rotated pairs]
	lastHidden, logits compute.Tensor // [logitRows, …]
	tensors            []compute.Tensor
}

// WorkspaceBytes is the device memory of a workspace, for the memory plan. packed is what
// the device says of a compute.Packed for so many rows, without its weights; 0: it has none.
func (c *Config) WorkspaceBytes(rows, logitRows int, packed int64) int64 {
	q, kvw := int64(c.Heads*c.HeadDim), int64(c.KVHeads*c.HeadDim)
	row := int64(c.Hidden) + 2*q + 2*kvw + int64(c.KVHeads) + int64(c.Rope.Dims)
	if packed == 0 {
		packed = c.opsBytes(rows)
	}
	return packed + 4*(int64(rows)*row+int64(logitRows)*int64(c.Hidden+c.Vocab))
}

// NewWorkspace allocates the memory of a step.
func (m *Model) NewWorkspace(rows, logitRows int) (*Workspace, error) {
	w := &Workspace{Rows: rows, LogitRows: logitRows, dev: m.dev}
	var err error
	alloc := func(shape ...int) compute.Tensor {
		if err != nil {
			return compute.Tensor{}
		}
		var t compute.Tensor
		if t, err = m.dev.Alloc(dtype.F32, shape...); err == nil {
			w.tensors = append(w.tensors, t)
		}
		return t
	}
	w.x = alloc(rows, m.Hidden)
	w.q, w.o = alloc(rows, m.Heads, m.HeadDim), alloc(rows, m.Heads, m.HeadDim)
	w.k, w.v = alloc(rows, m.KVHeads, m.HeadDim), alloc(rows, m.KVHeads, m.HeadDim)
	w.s = alloc(rows, m.KVHeads)
	w.angles = alloc(rows, 2, len(m.rope.Inv))
	w.lastHidden, w.logits = alloc(logitRows, m.Hidden), alloc(logitRows, m.Vocab)
	if err == nil {
		err = m.dense.Reserve(max(rows, logitRows))
	}
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("model: memory of a step of %d rows: %w", rows, err)
	}
	return w, nil
}

// Close gives the memory back.
func (w *Workspace) Close() {
	for _, t := range w.tensors {
		w.dev.Free(t)
	}
	w.tensors = nil
}

// Forward runs the decoder over a batch and leaves the last hidden states in the
// workspace, for Logits. The keys and values of the rows are in the store
// afterwards; that the step is complete is for the caller to tell the sequences.
//
// An error is the device's, or ctx's end; what fails for one sequence alone is in
// its Span.
func (m *Model) Forward(ctx context.Context, att *attention.Attention, w *Workspace, b *Batch) error {
	n := len(b.IDs)
	if n == 0 {
		return nil
	}
	if err := m.check(w, b); err != nil {
		return err
	}
	d := m.dev
	x, angles := w.x.Rows(0, n), w.angles.Rows(0, n)
	q, k, v, o, s := w.q.Rows(0, n), w.k.Rows(0, n), w.v.Rows(0, n), w.o.Rows(0, n), compute.Tensor{}

	d.Embed(x, m.embed, b.IDs)
	if m.EmbedScale != 1 {
		d.Scale(x, m.EmbedScale)
	}
	d.Angles(angles, b.Pos, m.rope)
	skip := 0 // rows that have nothing to do but to leave keys and values
	for i := range m.layers {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if i == len(m.layers)-1 {
			skip = b.From
		}
		m.dense.Project(i, q.Rows(skip, n), k, v, x, angles)
		if y := &m.layers[i]; !y.A.None() {
			s = w.s.Rows(0, n)
			d.Importance(s, v, y.Delta.Weight, y.Delta.Bias, y.A)
		} else if att.Scored() {
			s = w.s.Rows(0, n) // nothing has ever been written to it: zeros
		}
		left := 0
		for j := range b.Spans {
			sp := &b.Spans[j]
			if sp.Err != nil || sp.N == 0 {
				continue
			}
			run := attention.Span{
				Seq: sp.Seq, Layer: i, Row: sp.Row, N: sp.N, Pos: int(b.Pos[sp.Row]), Skip: skip - sp.Row, Q: q, K: k, V: v, S: s, Out: o,
			}
			if sp.Policy == nil {
				sp.Err = att.Run(ctx, run)
			} else {
				sp.Err = compressed(ctx, att, run, sp.Policy, b.IDs)
			}
			if sp.Err == nil {
				left++
			}
		}
		if left == 0 || skip == n { // nobody waits for the rest
			break
		}
		wanted := x.Rows(skip, n)
		m.dense.Join(i, wanted, o.Rows(skip, n))
		m.dense.MLP(i, wanted)
	}
	return d.Sync()
}

// compressed is att.Run of a span whose sequence a policy compresses: cut where it does, so that
// rows after that find what it leaves.
func compressed(ctx context.Context, att *attention.Attention, s attention.Span, p *policy.Run, ids []int32) error {
	if p.Sees() {
		layer, q := s.Layer, s.Q
		s.Attended = func(ctx context.Context, t compute.Tile) error { return p.Attended(ctx, layer, t, q) }
	}
	if p.Packs() {
		layer := s.Layer
		s.Unpack = func(head int, number, slot int32) (u attention.Unpacked, ok bool) {
			u.Cache, u.Tables, u.Part, ok = p.Unpack(layer, head, number, slot)
			return u, ok
		}
	}
	for end := s.Row + s.N; s.Row < end; s.Row += s.N {
		s.N = min(end-s.Row, p.Stop(s.Pos)-s.Pos)
		if err := att.Run(ctx, s); err != nil {
			return err
		}
		if err := p.After(ctx, s.Layer, s.Q, s.Row, s.Pos, ids[s.Row:s.Row+s.N]); err != nil {
			return err
		}
		s.Pos, s.Skip = s.Pos+s.N, s.Skip-s.N
	}
	return nil
}

// check refuses a batch that the ops, which take shapes for granted, would not
// survive: every span lies in the batch, at the positions that its sequence is to
// hold next, and no two share a row or a sequence.
func (m *Model) check(w *Workspace, b *Batch) error {
	if n := len(b.IDs); n > w.Rows || len(b.Pos) != n {
		return fmt.Errorf("model: %d rows with %d positions in a step of at most %d", n, len(b.Pos), w.Rows)
	}
	for _, id := range b.IDs {
		if id < 0 || int(id) >= m.Vocab {
			return fmt.Errorf("model: token id %d: the vocabulary has %d", id, m.Vocab)
		}
	}
	if b.From < 0 || b.From > len(b.IDs) {
		return fmt.Errorf("model: hidden states are wanted from row %d of %d", b.From, len(b.IDs))
	}
	next := 0
	for i, s := range b.Spans {
		if s.Row < next || s.N < 0 || s.N > len(b.IDs)-s.Row {
			return fmt.Errorf("model: span %d is rows %d to %d of %d, the one before it ends at %d", i, s.Row, s.Row+s.N, len(b.IDs), next)
		}
		next = s.Row + s.N
		for r := range s.N {
			if want := s.Seq.Len() + r; int(b.Pos[s.Row+r]) != want {
				return fmt.Errorf("model: row %d of span %d is at position %d, its sequence goes on at %d", r, i, b.Pos[s.Row+r], want)
			}
		}
		for _, other := range b.Spans[:i] {
			if other.Seq == s.Seq {
				return fmt.Errorf("model: span %d is of the same sequence as an earlier one", i)
			}
		}
	}
	return nil
}

// States turns the hidden states of rows from to to−1 of the last Forward into those
// after the last norm [to−from, hidden], which hold until the next call.
func (m *Model) States(w *Workspace, from, to int) compute.Tensor {
	h := w.lastHidden.Rows(0, to-from)
	m.dev.RMSNorm(h, w.x.Rows(from, to), m.norm, m.Eps)
	return h
}

// Logits turns the hidden states of rows from to to−1 of the last Forward into
// logits [to−from, vocabulary], which hold until the next call.
func (m *Model) Logits(w *Workspace, from, to int) compute.Tensor {
	out := w.logits.Rows(0, to-from)
	m.dense.Logits(out, w.x.Rows(from, to))
	return out
}
