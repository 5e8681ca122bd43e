//go:build linux && amd64

package step

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/dtype"
)

// world is a small random model on a GPU, and its weights for a processor.
type world struct {
	t      *testing.T
	d      *Device
	model  compute.Decoder
	layout compute.Layout
}

func newWorld(t *testing.T, h Shape, weights dtype.Type, l compute.Layout) *world {
	c, _ := open(t)
	d := &Device{c}
	m, free, err := Random(d.Device, h, weights)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(free)
	l.Heads, l.Dim = h.KVHeads, h.Dim
	return &world{t: t, d: d, model: m, layout: l}
}

var small = Shape{Layers: 2, Hidden: 64, Intermediate: 96, Vocab: 80, Heads: 4, KVHeads: 2, Dim: 16, RopeBase: 10000}

// setting is how a step's cache is kept.
type setting struct {
	rows         int
	columns      int
	slots        int // 0: resident
	first        int // slots that are not the step's
	keepSelected bool
	late         bool // no kernel starts early
}

// run is sequences that are decoded side by side.
type run struct {
	*world
	step  *Step
	cache compute.Cache
	own   []compute.Tensor
	pages []byte
	seats [][]int32 // columns by seat
	next  int32     // column
	free  []int32   // columns that were given up
}

func (w *world) start(p compute.SelectParams, context, seats int, s setting) *run {
	r := &run{world: w, seats: make([][]int32, seats)}
	l := w.layout
	ids := len(w.model.Layers) * l.Heads * s.columns
	alloc := func(t dtype.Type, shape ...int) compute.Tensor {
		x, err := w.d.Alloc(t, shape...)
		if err != nil {
			w.t.Fatal(err)
		}
		r.own = append(r.own, x)
		return x
	}
	o := compute.StepOptions{Rows: s.rows, Seats: seats, Context: context, Columns: s.columns, Select: p, FirstSlot: s.first, KeepSelected: s.keepSelected, Stride: l.BlockBytes() + 16}
	slots := s.first + s.slots
	if s.slots == 0 {
		o.Resident, slots = true, ids
	} else {
		var err error
		if r.pages, err = w.d.Context().AllocHost(ids * o.Stride); err != nil {
			w.t.Fatal(err)
		}
		o.Pages = r.pages
	}
	r.cache = compute.Cache{Layout: l, Slots: alloc(dtype.U8, slots, l.BlockBytes())}
	if l.Stride > 0 {
		r.cache.Segments = alloc(l.SummaryType(), ids, l.SummarySteps(), l.Segments(), 4)
	}
	if l.Scores {
		r.cache.SegScore, r.cache.Score = alloc(dtype.F32, ids, l.Segments()), alloc(dtype.F32, ids, l.Block)
	}
	step, err := w.d.NewStep(w.model, &r.cache, o)
	if err != nil {
		w.t.Fatal(err)
	}
	r.step = step.(*Step)
	r.step.g.late = s.late
	return r
}

func (r *run) close() {
	err := r.step.Close()
	for _, x := range r.own {
		r.d.Free(x)
	}
	if r.pages != nil {
		err = errors.Join(err, r.d.Context().FreeHost(r.pages))
	}
	if err = errors.Join(err, r.d.Sync()); err != nil {
		r.t.Error(err)
	}
}

// feed runs one token of each of some sequences and returns the logits of each.
func (r *run) feed(rows ...compute.StepRow) [][]float32 {
	r.t.Helper()
	width := len(r.model.Layers) * r.layout.Heads
	for _, row := range rows {
		for len(r.seats[row.Seat])*r.layout.Block <= int(row.Pos) {
			column := r.next
			if n := len(r.free); n > 0 {
				column, r.free = r.free[n-1], r.free[:n-1]
			} else {
				r.next++
			}
			r.seats[row.Seat] = append(r.seats[row.Seat], column)
			pages := make([]int32, width)
			for i := range pages { // anywhere, but for each block its own
				pages[i] = column*int32(width) + int32(width-1-i)
			}
			r.step.Grow(int(row.Seat), []int32{column}, pages)
		}
	}
	r.step.Run(rows)
	if _, err := r.step.Wait(); err != nil {
		r.t.Fatal(err)
	}
	out := make([]float32, len(rows)*r.model.Vocab)
	r.d.Download(compute.F32s(out, len(out)).Data, r.step.Logits(0, len(rows)))
	if err := r.d.Sync(); err != nil {
		r.t.Fatal(err)
	}
	return slices.Collect(slices.Chunk(out, r.model.Vocab))
}

// texts are random tokens.
func (w *world) texts(lengths ...int) [][]int32 {
	rng := rand.New(rand.NewPCG(1, 2))
	texts := make([][]int32, len(lengths))
	for i, n := range lengths {
		texts[i] = make([]int32, n)
		for j := range texts[i] {
			texts[i][j] = int32(rng.IntN(w.model.Vocab))
		}
	}
	return texts
}

// decode feeds texts side by side, each from its own step on, and returns all logits by
// sequence.
func (r *run) decode(texts [][]int32, begin []int) [][][]float32 {
	out := make([][][]float32, len(texts))
	for n := 0; ; n++ {
		var rows []compute.StepRow
		left := false
		for i, ids := range texts {
			pos := n - begin[i]
			left = left || pos < len(ids)
			if pos >= 0 && pos < len(ids) {
				rows = append(rows, compute.StepRow{Seat: int32(i), Pos: int32(pos), Token: ids[pos]})
			}
		}
		if !left {
			return out
		}
		if len(rows) == 0 {
			continue
		}
		for i, logits := range r.feed(rows...) {
			out[rows[i].Seat] = append(out[rows[i].Seat], slices.Clone(logits))
		}
	}
}

// plain is the same model by the ops of a processor's device, everything in float32.
type plain struct {
	w     *world
	dev   compute.Device
	model compute.Decoder
	cache compute.Cache
	p     compute.SelectParams
}

// fetch copies a tensor of the GPU to the processor.
func (w *world) fetch(x compute.Tensor) compute.Tensor {
	if x.None() {
		return x
	}
	data := make([]byte, x.Bytes())
	w.d.Download(data, x)
	return compute.NewTensor(x.Type, data, x.Dims[:x.Rank]...)
}

func (w *world) plain(p compute.SelectParams, columns int) *plain {
	dev, err := cpu.New(cpu.Options{Numerics: compute.NumericsF32})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = dev.Close() })
	of := func(p compute.Projection) compute.Projection {
		return compute.Projection{Weight: w.fetch(p.Weight), Bias: w.fetch(p.Bias)}
	}
	m := w.model
	m.Embed, m.Head, m.Norm = w.fetch(m.Embed), w.fetch(m.Head), w.fetch(m.Norm)
	y := m.Layers[0] // all are alike
	y = compute.DecoderLayer{AttnNorm: w.fetch(y.AttnNorm), MLPNorm: w.fetch(y.MLPNorm), Q: of(y.Q), K: of(y.K), V: of(y.V), O: of(y.O),
		Gate: of(y.Gate), Up: of(y.Up), Down: of(y.Down), Delta: of(y.Delta), A: w.fetch(y.A)}
	m.Layers = slices.Repeat([]compute.DecoderLayer{y}, len(m.Layers))
	l := w.layout
	ids := len(m.Layers) * l.Heads * columns
	zero := func(t dtype.Type, shape ...int) compute.Tensor {
		x := compute.Describe(t, shape...)
		return compute.NewTensor(t, make([]byte, x.Bytes()), shape...)
	}
	c := compute.Cache{Layout: l, Slots: zero(dtype.U8, ids, l.BlockBytes())}
	if l.Stride > 0 {
		c.Segments = zero(l.SummaryType(), ids, l.SummarySteps(), l.Segments(), 4)
	}
	if l.Scores {
		c.SegScore, c.Score = zero(dtype.F32, ids, l.Segments()), zero(dtype.F32, ids, l.Block)
	}
	return &plain{w: w, dev: dev, model: m, cache: c, p: p}
}

// decode is one sequence from its beginning, which takes the first columns.
func (f *plain) decode(ids []int32) [][]float32 {
	m, l, d := f.model, f.cache.Layout, f.dev
	t := func(shape ...int) compute.Tensor {
		n := 1
		for _, s := range shape {
			n *= s
		}
		return compute.F32s(make([]float32, n), shape...)
	}
	columns := f.cache.Slots.Dims[0] / (len(m.Layers) * l.Heads)
	tails := make([]compute.Tensor, len(m.Layers))
	for i := range tails {
		tails[i] = t(l.Heads, 2, l.Block, l.Dim)
	}
	var out [][]float32
	for pos, id := range ids {
		x, h := t(1, m.Hidden), t(1, m.Hidden)
		q, o, k, v, s := t(1, m.Heads, m.Dim), t(1, m.Heads, m.Dim), t(1, l.Heads, m.Dim), t(1, l.Heads, m.Dim), t(1, l.Heads)
		gate, up, angles := t(1, m.Intermediate), t(1, m.Intermediate), t(1, 2, len(m.Rope.Inv))
		d.Embed(x, m.Embed, []int32{id})
		d.Angles(angles, []int32{int32(pos)}, m.Rope)
		for i, y := range m.Layers {
			d.RMSNorm(h, x, y.AttnNorm, m.Eps)
			d.Linear(q, h, y.Q.Weight, compute.Tensor{})
			d.Linear(k, h, y.K.Weight, compute.Tensor{})
			d.Linear(v, h, y.V.Weight, compute.Tensor{})
			d.Rotate(q, angles, m.Rope)
			d.Rotate(k, angles, m.Rope)
			if l.Scores {
				d.Importance(s, v, y.Delta.Weight, compute.Tensor{}, y.A)
			}
			tile := compute.Tile{N: 1, Pos: pos, Tail: tails[i], Tables: make([][]int32, l.Heads)}
			own := pos / l.Block
			for head := range tile.Tables {
				for b := range own + 1 {
					tile.Tables[head] = append(tile.Tables[head], int32((i*l.Heads+head)*columns+b))
				}
			}
			d.Append(&f.cache, tile, k, v, s)
			sel := compute.Selection{Blocks: compute.I32s(make([]int32, l.Heads*max(1, f.p.Most())), 1, l.Heads, max(1, f.p.Most())), Count: compute.I32s(make([]int32, l.Heads), 1, l.Heads)}
			byQuery, byScore := t(1, l.Heads, own+1), t(1, l.Heads, own+1)
			switch {
			case f.p.ByQuery || f.p.ByScore:
				d.ScoreBlocks(byQuery, q, &f.cache, tile)
				if f.p.ByScore {
					d.ScoreImportance(byScore, &f.cache, tile)
				}
				d.Select(sel, byQuery, byScore, tile, l.Block, f.p)
			default:
				for head := range l.Heads {
					sel.Count.I32()[head] = -1
				}
			}
			var parts []compute.Part
			for head := range l.Heads {
				p := compute.Part{Head: head, Blocks: sel.List(0, head, own)}
				for _, b := range p.Blocks {
					slot := tile.Tables[head][b]
					if int(b) == own {
						slot = -1
					}
					p.Slots = append(p.Slots, slot)
				}
				parts = append(parts, p)
			}
			state := t(1, m.Heads, compute.StateLen(l.Dim))
			d.AttendBegin(state, tile, m.Heads, l.Dim)
			d.Attend(state, q, &f.cache, tile, sel, parts)
			d.AttendEnd(o, state, tile)
			if (pos+1)%l.Block == 0 {
				for head := range l.Heads {
					d.Seal(&f.cache, tile, head, tile.Tables[head][own])
				}
			}
			d.Linear(h, o.Reshape(1, m.Heads*m.Dim), y.O.Weight, compute.Tensor{})
			d.AddScaled(x, h, m.ResidualScale)
			d.RMSNorm(h, x, y.MLPNorm, m.Eps)
			d.Linear(gate, h, y.Gate.Weight, compute.Tensor{})
			d.Linear(up, h, y.Up.Weight, compute.Tensor{})
			d.SwiGLU(gate, gate, up)
			d.Linear(h, gate, y.Down.Weight, compute.Tensor{})
			d.AddScaled(x, h, m.ResidualScale)
		}
		logits := t(1, m.Vocab)
		d.RMSNorm(h, x, m.Norm, m.Eps)
		d.Linear(logits, h, m.Head, compute.Tensor{})
		out = append(out, logits.F32())
	}
	return out
}

var (
	everyBlock = compute.SelectParams{}
	nosaParams = compute.SelectParams{Init: 1, Local: 1, Query: 1, K: 5, ByQuery: true, ByScore: true}
	byQuery    = compute.SelectParams{Init: 1, Local: 1, K: 4, ByQuery: true}
)

func cacheOf(scores bool, kv compute.KVType) compute.Layout {
	return compute.Layout{Block: 16, Kernel: 8, Stride: 4, Scores: scores, Type: kv}
}

// TestStepIsDecoder: a step's logits are the model's, with products in bf16.
func TestStepIsDecoder(t *testing.T) {
	for _, c := range []struct {
		name    string
		p       compute.SelectParams
		scores  bool
		kv      compute.KVType
		weights dtype.Type
	}{
		{"full", everyBlock, false, compute.KVBF16, dtype.BF16},
		{"full q8", everyBlock, false, compute.KVQ8, dtype.Q8_0},
		{"nosa, all blocks", compute.SelectParams{Init: 1, Local: 1, Query: 8, K: 16, ByQuery: true, ByScore: true}, true, compute.KVBF16, dtype.BF16},
		{"infllmv2", byQuery, false, compute.KVBF16, dtype.Q4_0},
		{"nosa", nosaParams, true, compute.KVBF16, dtype.BF16},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, small, c.weights, cacheOf(c.scores, c.kv))
			const n, columns = 120, 8
			texts := w.texts(n)
			r := w.start(c.p, 128, 1, setting{rows: 1, columns: columns})
			defer r.close()
			got := r.decode(texts, []int{0})[0]
			want := w.plain(c.p, columns).decode(texts[0])
			// By token, since one for which blocks with nearly the same score change places is
			// another one from there on.
			var off []float64
			for i := range want {
				var sum, scale float64
				for j, v := range want[i] {
					sum += math.Abs(float64(got[i][j] - v))
					scale += math.Abs(float64(v))
				}
				off = append(off, sum/scale)
			}
			slices.Sort(off)
			// Some hundreds of roundings to 8 bits, which add up like their root.
			if median := off[len(off)/2]; !(median < 0.01) {
				t.Errorf("logits are off by %.4f of their size, most by %.4f", median, off[len(off)-1])
			} else {
				t.Logf("logits are off by %.4f of their size, most by %.4f", median, off[len(off)-1])
			}
		})
	}
}

// TestStepSameBits: a sequence's logits are the same bits alone and among others, resident
// and with any pool.
func TestStepSameBits(t *testing.T) {
	for _, c := range []struct {
		name string
		p    compute.SelectParams
		kv   compute.KVType
	}{{"nosa", nosaParams, compute.KVBF16}, {"infllmv2", byQuery, compute.KVQ8}, {"full", everyBlock, compute.KVQ4}} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && c.name != "nosa" {
				t.Skip("-short: nosa alone")
			}
			l := cacheOf(c.p.ByScore, c.kv)
			if c.kv == compute.KVQ4 {
				l.Block = 32 // as its rows of codes ask for
			}
			w := newWorld(t, small, dtype.BF16, l)
			texts := w.texts(130, 70, 33)
			begin := []int{0, 20, 90}
			const context, columns = 160, 24
			var want [][][]float32
			for i := range texts {
				r := w.start(c.p, context, len(texts), setting{rows: 1, columns: columns})
				alone := make([][]int32, len(texts))
				alone[i] = texts[i]
				want = append(want, r.decode(alone, make([]int, len(texts)))[i])
				r.close()
			}
			width := len(w.model.Layers) * 2
			least := 3 * 2 * max(6, c.p.K) // what three rows can want in a layer
			if c.p.K == 0 {
				least = 3 * 2 * context / l.Block
			}
			for _, s := range []setting{
				{rows: 3, columns: columns},
				{rows: 8, columns: columns},
				{rows: 3, columns: columns, slots: least + 2*3*width},
				{rows: 3, columns: columns, slots: least + 2*3*width, late: true},
				{rows: 4, columns: columns, slots: width * columns},
				{rows: 3, columns: columns, slots: least + 3*width, first: 5},
				{rows: 3, columns: columns, slots: width * columns, keepSelected: true},
			} {
				t.Run(fmt.Sprintf("%+v", s), func(t *testing.T) {
					r := w.start(c.p, context, len(texts), s)
					defer r.close()
					got := r.decode(texts, begin)
					for i := range want {
						for j := range want[i] {
							if !slices.Equal(got[i][j], want[i][j]) {
								t.Fatalf("sequence %d, token %d: %v, alone %v", i, j, got[i][j][:4], want[i][j][:4])
							}
						}
					}
				})
			}
		})
	}
}

// TestStepBesideTransfers records steps while another goroutine copies slots, as a store
// does that writes blocks to a disk: neither gets into the other.
func TestStepBesideTransfers(t *testing.T) {
	w := newWorld(t, small, dtype.BF16, cacheOf(true, compute.KVBF16))
	for range 20 {
		r := w.start(nosaParams, 64, 8, setting{rows: 8, columns: 40, slots: 100, first: 4})
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			block := make([]byte, r.layout.BlockBytes())
			for slot := int32(0); ; slot = (slot + 1) % 4 {
				select {
				case <-stop:
					return
				default:
					w.d.CopySlot(&r.cache, block, slot)
				}
			}
		}()
		rows := []compute.StepRow{}
		for seat := range int32(8) { // a graph for each number of rows
			for i := range rows {
				rows[i].Pos++
			}
			rows = append(rows, compute.StepRow{Seat: seat})
			r.feed(rows...)
		}
		close(stop)
		<-ended
		r.close()
	}
}
