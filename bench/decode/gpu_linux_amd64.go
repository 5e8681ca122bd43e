package decode

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
	"unsafe"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/driver"
	"nosa/compute/cuda/step"
	"nosa/dtype"
)

// gpu runs settings by a GPU's own steps.
type gpu struct {
	d     *cuda.Device
	steps compute.Stepper
	close func() error
	empty int64 // what was free of the device before anything was loaded

	weights step.RandomWeights
	model   compute.Decoder

	pages []byte // the host pool, pinned; kept, since pinning takes long
}

// Open runs settings on GPU n. Without a driver the error wraps cuda.ErrNoDriver.
func Open(n int) (Runner, error) {
	d, err := step.Open(n)
	if err != nil {
		return nil, err
	}
	r, err := newGPU(d.Device, d)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	r.close = d.Close
	return r, nil
}

func newGPU(d *cuda.Device, steps compute.Stepper) (*gpu, error) {
	free, _, err := d.Memory()
	return &gpu{d: d, steps: steps, close: func() error { return nil }, empty: free}, err
}

// spare is memory of the device that nothing is planned into: what the driver takes for
// itself while things run.
const spare = 256 << 20

// Machine measures copies on the device, and from the host.
func (r *gpu) Machine(context.Context) (*Machine, error) {
	m := &Machine{Device: r.d.Info(), Memory: r.empty}
	n := int(min(r.empty/4, 1<<30))
	x, err := r.d.Alloc(dtype.U8, 2*n)
	if err != nil {
		return nil, err
	}
	defer r.d.Free(x)
	host, err := r.d.Context().AllocHost(min(n, 256<<20))
	if err != nil {
		return nil, err
	}
	defer func() { r.d.Fail(r.d.Context().FreeHost(host)) }()
	c, s := r.d.Context(), r.d.Stream()
	if m.Copy, err = r.rate(2*n, func() { c.Copy(s, x.Addr, x.Addr+uintptr(n), n) }); err != nil {
		return nil, err
	}
	m.Bus, err = r.rate(len(host), func() { c.CopyIn(s, x.Addr, address(host), len(host)) })
	return m, err
}

// rate is the bytes a second of the fastest of some runs of a copy.
func (r *gpu) rate(bytes int, run func()) (float64, error) {
	c, s := r.d.Context(), r.d.Stream()
	from, err1 := c.NewEvent(true)
	to, err2 := c.NewEvent(true)
	err := errors.Join(err1, err2)
	best := 0.0
	for i := 0; i < 6 && err == nil; i++ {
		c.Record(from, s)
		run()
		c.Record(to, s)
		if err = r.d.Sync(); err != nil {
			break
		}
		var ms float64
		if ms, err = c.Elapsed(from, to); ms > 0 {
			best = max(best, float64(bytes)/ms*1e3)
		}
	}
	return best, errors.Join(err, c.FreeEvent(from), c.FreeEvent(to))
}

// Run measures a setting.
func (r *gpu) Run(ctx context.Context, s Setting) (out Measured, err error) {
	m, err := s.Meaning()
	if err != nil {
		return out, err
	}
	if err := r.load(m); err != nil {
		return out, err
	}
	b := newBatch(r, s, m)
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.open(); err != nil {
		return out, err
	}
	out.Selected, out.Missed = make([]int64, m.Shape.Layers), make([]int64, m.Shape.Layers)
	out.Slots = int64(b.cache.Slots.Dims[0])
	out.Different = b.different
	for n := range s.Warm + s.Steps {
		if err := context.Cause(ctx); err != nil {
			return out, err
		}
		for i := range b.rows {
			b.rows[i] = compute.StepRow{Seat: int32(i), Pos: int32(s.Context + n), Token: int32(b.rng.IntN(m.Shape.Vocab))}
		}
		ms, counts, err := b.time()
		if err != nil {
			return out, err
		}
		if n < s.Warm {
			continue
		}
		out.Milliseconds = append(out.Milliseconds, ms)
		for layer, c := range counts.Layers {
			out.Selected[layer] += c.Selected
			out.Missed[layer] += c.Misses
		}
	}
	return out, b.copies(ctx, &out)
}

// time runs a step of the rows as they are.
func (b *batch) time() (ms float64, counts compute.StepCounts, err error) {
	start := time.Now()
	b.step.Run(b.rows)
	counts, err = b.step.Wait()
	return time.Since(start).Seconds() * 1e3, counts, err
}

// load sees to the weights of a setting.
func (r *gpu) load(m Meaning) (err error) {
	h := m.Shape
	shape := step.Shape{Layers: h.Layers, Hidden: h.Hidden, Intermediate: h.FFN, Vocab: h.Vocab, Heads: h.Heads, KVHeads: h.KVHeads, Dim: h.HeadDim, RopeBase: float64(h.RopeBase)}
	r.model, err = r.weights.Packed(r.d, shape, m.Weights)
	return roomOr(err)
}

// Close gives weights and host pool back, and the device.
func (r *gpu) Close() error {
	r.weights.Free()
	return errors.Join(r.unpin(), r.d.Sync(), r.close())
}

func (r *gpu) unpin() error {
	pages := r.pages
	r.pages = nil
	if pages == nil {
		return nil
	}
	return r.d.FreeHost(pages)
}

// batch is the cache and the sequences of one setting.
type batch struct {
	*gpu
	s   Setting
	m   Meaning
	rng *rand.Rand

	o      compute.StepOptions
	cache  compute.Cache
	tail   compute.Tensor // of any layer of any sequence: [kvHeads, 2, Block·Dim]
	memory []compute.Tensor
	step   compute.Step
	rows   []compute.StepRow

	columns   span
	different float64 // share of the selected blocks
}

func newBatch(r *gpu, s Setting, m Meaning) *batch {
	return &batch{gpu: r, s: s, m: m, rng: rand.New(rand.NewPCG(1, uint64(s.Batch)))}
}

func (b *batch) open() error {
	b.columns = b.s.span(b.m)
	b.rows = make([]compute.StepRow, b.s.Batch)
	b.o = compute.StepOptions{Rows: b.s.Batch, Seats: b.s.Batch, Context: b.columns.whole * b.m.Layout.Block, Columns: b.columns.columns(),
		Select: b.m.Select, Resident: b.m.Resident, KeepSelected: b.m.KeepSelected, Stride: b.m.Layout.BlockBytes()}
	slots, err := b.plan()
	if err != nil {
		return err
	}
	if err := b.alloc(slots); err != nil {
		return roomOr(err)
	}
	if err := b.fill(); err != nil {
		return err
	}
	if !b.o.Resident {
		if err := b.pin(); err != nil {
			return roomOr(err)
		}
	}
	if b.step, err = b.steps.NewStep(b.model, &b.cache, b.o); err != nil {
		return roomOr(err)
	}
	if b.m.Series {
		in, ok := b.step.(interface{ InSeries() })
		if !ok {
			return fmt.Errorf("copies in series with compute: %w by the device's steps", errors.ErrUnsupported)
		}
		in.InSeries()
	}
	if err := b.replay(); err != nil {
		return err
	}
	return b.sit()
}

// ids is the number of blocks.
func (b *batch) ids() int { return b.o.Columns * b.m.Shape.Layers * b.m.Layout.Heads }

// plan is the number of slots.
func (b *batch) plan() (int, error) {
	ids, heads := b.ids(), b.m.Shape.Layers*b.m.Layout.Heads
	if ids >= 1<<31 {
		return 0, fmt.Errorf("%w: %d blocks are more than can be numbered", ErrNoRoom, ids)
	}
	free, _, err := b.d.Memory()
	if err != nil {
		return 0, err
	}
	if b.s.Memory > 0 {
		free = min(free, b.s.Memory-(b.empty-free))
	}
	l := b.m.Layout
	own, err := b.steps.StepBytes(b.model, l, b.o)
	if err != nil {
		return 0, err
	}
	fixed := own + int64(ids)*int64(summaryBytes(l)) + spare
	room := (free - fixed) / int64(l.BlockBytes())
	least := min(int64(b.s.Batch)*int64(l.Heads)*int64(b.m.Select.K), int64(ids)) // what a layer selects
	var slots int64
	switch {
	case b.m.Resident:
		slots, least = int64(ids), int64(ids)
	case b.m.KeepSelected:
		slots = int64(b.s.Batch) * int64(heads) * int64(b.m.Select.K)
		least = slots
	case b.s.KVDevice > 0:
		slots = min(b.s.KVDevice/int64(l.BlockBytes()), int64(ids))
	default:
		slots = min(room, int64(ids))
		b.o.Resident = slots == int64(ids) // and nothing needs to be brought
	}
	if b.s.KVDevice > 0 && !b.m.Resident && slots < least {
		return 0, fmt.Errorf("%w: %d slots, and a layer selects %d blocks", ErrNoRoom, slots, least)
	}
	if slots < least || slots > room {
		return 0, fmt.Errorf("%w: %.1f GiB are free for blocks, %.1f are needed", ErrNoRoom,
			float64(max(free-fixed, 0))/(1<<30), float64(max(slots, least)*int64(l.BlockBytes()))/(1<<30))
	}
	return int(slots), nil
}

// summaryBytes is what a block takes beside its slot.
func summaryBytes(l compute.Layout) int {
	if l.Stride == 0 {
		return 0
	}
	n := l.SummaryBytes()
	if l.Scores {
		n += 4 * (l.Segments() + l.Block)
	}
	return n
}

func (b *batch) alloc(slots int) (err error) {
	take := func(t dtype.Type, shape ...int) (x compute.Tensor) {
		if err == nil {
			if x, err = b.d.Alloc(t, shape...); err == nil {
				b.memory = append(b.memory, x)
			}
		}
		return x
	}
	l, ids := b.m.Layout, b.ids()
	b.cache = compute.Cache{Layout: l, Slots: take(dtype.U8, slots, l.BlockBytes())}
	if l.Stride > 0 {
		b.cache.Segments = take(l.SummaryType(), ids, l.SummarySteps(), l.Segments(), 4)
		if l.Scores {
			b.cache.SegScore, b.cache.Score = take(dtype.F32, ids, l.Segments()), take(dtype.F32, ids, l.Block)
		}
	}
	b.tail = take(dtype.F32, l.Heads, 2, l.Block*l.Dim)
	return err
}

// fill writes random contents, which are finite numbers in every format: some blocks are
// sealed from random tails, and copied over the rest; likewise the summaries.
func (b *batch) fill() error {
	l := b.m.Layout
	const different = 64 // blocks
	for slot := 0; slot < min(different, b.cache.Slots.Dims[0]); slot += l.Heads {
		b.d.Upload(b.tail, b.random(dtype.F32, b.tail.Len(), 1))
		for head := range l.Heads {
			if slot+head < b.cache.Slots.Dims[0] {
				b.d.Seal(&b.cache, compute.Tile{N: 1, Pos: l.Block - 1, Tail: b.tail}, head, int32(slot+head))
			}
		}
	}
	b.spread(b.cache.Slots, different*l.BlockBytes())
	for _, x := range []compute.Tensor{b.cache.Segments, b.cache.SegScore, b.cache.Score} {
		if x.None() {
			continue
		}
		n := min(x.Len(), 1<<20)
		part := compute.Describe(x.Type, n)
		part.Addr = x.Addr
		b.d.Upload(part, b.random(x.Type, n, 1))
		b.spread(x, part.Bytes())
	}
	return b.d.Sync()
}

// random are n numbers, even between ±scale.
func (b *batch) random(t dtype.Type, n int, scale float32) []byte {
	values := make([]float32, n)
	for i := range values {
		values[i] = scale * (2*b.rng.Float32() - 1)
	}
	size, err := t.Size(n)
	if err != nil {
		panic("decode: " + err.Error()) // float formats have any number
	}
	raw := make([]byte, size)
	dtype.Encode(t, raw, values)
	return raw
}

// spread copies the first bytes of a tensor over the rest, twice as many each time.
func (b *batch) spread(x compute.Tensor, first int) {
	for n := min(first, x.Bytes()); n < x.Bytes(); {
		m := min(n, x.Bytes()-n)
		b.d.Context().Copy(b.d.Stream(), x.Addr+uintptr(n), x.Addr, m)
		n += m
	}
}

// pin makes the host pool and fills it with blocks out of slots.
func (b *batch) pin() error {
	size := int64(b.m.Layout.BlockBytes())
	need := int64(b.ids()) * size
	if b.s.KVHost > 0 {
		need = min(need, b.s.KVHost/size*size)
	}
	if need < size {
		return fmt.Errorf("%w: a host pool of %d bytes holds no block", ErrNoRoom, b.s.KVHost)
	}
	if int64(len(b.pages)) < need {
		if err := b.unpin(); err != nil {
			return err
		}
		var err error
		if b.pages, err = b.d.AllocHost(int(need)); err != nil {
			return err
		}
	}
	b.o.Pages = b.pages[:need]
	slots := b.cache.Slots.Bytes()
	for at := 0; at < len(b.o.Pages); {
		n := min(slots, len(b.o.Pages)-at)
		b.d.Context().CopyOut(b.d.Stream(), address(b.o.Pages[at:]), b.cache.Slots.Addr, n)
		at += n
	}
	return b.d.Sync()
}

// replay hands over the selections of the setting.
func (b *batch) replay() error {
	r, err := b.s.Replay(b.m, 1)
	if err != nil {
		return err
	}
	if b.different = b.s.different(b.m, r); r == nil {
		return nil
	}
	to, ok := b.step.(step.Replayer)
	if !ok {
		return fmt.Errorf("replaying selections: %w by the device's steps: use --replay model", errors.ErrUnsupported)
	}
	return to.Replay(r)
}

// sit seats a sequence for each row, with its columns.
func (b *batch) sit() error {
	b.d.Upload(b.tail, b.random(dtype.F32, b.tail.Len(), 1))
	tails := slices.Repeat([]compute.Tensor{b.tail}, b.m.Shape.Layers)
	heads := b.m.Shape.Layers * b.m.Layout.Heads
	places := 1
	if !b.o.Resident {
		places = len(b.o.Pages) / b.o.Stride
	}
	for seat := range b.s.Batch {
		columns, pages := make([]int32, b.columns.whole), make([]int32, b.columns.whole*heads)
		for i := range columns {
			columns[i] = b.columns.at(seat, i)
		}
		for i := range pages {
			pages[i] = int32((int(columns[i/heads])*heads + i%heads) % places)
		}
		b.step.Sit(seat, tails)
		b.step.Grow(seat, columns, pages)
		// Where every block has a slot, steps that are run find them there.
		if to, ok := b.step.(step.Copier); ok && !b.o.Resident && b.cache.Slots.Dims[0] >= b.ids() {
			to.Fetch(columns)
		}
	}
	return b.d.Sync()
}

func (b *batch) close() error {
	var err error
	if b.step != nil {
		err = b.step.Close()
	}
	for _, x := range b.memory {
		b.d.Free(x)
	}
	return errors.Join(err, b.d.Sync())
}

// roomOr makes an error of a device or a host without memory left one of a setting that
// does not fit.
func roomOr(err error) error {
	if errors.Is(err, driver.ErrMemory) {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	return err
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
