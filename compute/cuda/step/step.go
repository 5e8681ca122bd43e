//go:build linux && amd64

package step

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// Step is a compute.Step on a GPU.
type Step struct {
	o      compute.StepOptions
	d      *cuda.Device
	g      *gpu
	model  compute.Decoder
	cache  *compute.Cache
	most   int // block numbers of a table
	places int // of a row and KV head's selection; 0: every block is read

	embed, norm driver.Function
	products    products
	attention   attention
	selecting   selecting
	sampling    sampling
	pool        *pool

	weights *dense // with the matrices of the model
	own     bool   // weights are the step's

	pos, seat, token compute.Tensor // I32 [rows]
	table            compute.Tensor // I32 [seats, most]
	inv              compute.Tensor // F32 [pairs]: the rotation's
	x, qkv, q        compute.Tensor // F32 [rows, …]
	logits           compute.Tensor // F32 [rows, vocab]
	h, attended, mid compute.Tensor // BF16 [rows, …]; they may be arranged
	angles           compute.Tensor // F32 [rows, 2, pairs]
	tails            compute.Tensor // F32 [layers, seats, kvHeads, 2, dim·block]
	blocks, count    compute.Tensor // I32 [rows, kvHeads, places], [rows, kvHeads]
	scratch          compute.Tensor
	tensors          []compute.Tensor

	columns   []int   // by seat: in its table
	rows      int     // of the last step
	lists     []byte  // positions, seats and tokens on their way to the GPU
	positions []int32 // of the last step's rows
	graphs    map[bucket]driver.GraphExec
	series    bool       // copies run beside nothing
	eager     bool       // steps are posted launch by launch, for comparison
	replays   *replaying // takes the place of what the model chooses; nil: nothing does
}

var _ compute.Step = (*Step)(nil)

// bucket is the size of a step's launches: rows, and blocks that a row may see.
type bucket struct{ rows, blocks int }

// bucketOf rounds up, so that few graphs serve all steps.
func (s *Step) bucketOf(rows, blocks int) bucket {
	b := bucket{1, 16}
	for b.rows < rows {
		switch {
		case b.rows < 8:
			b.rows *= 2
		case b.rows < 64:
			b.rows += 8
		default:
			b.rows += 32
		}
	}
	for b.blocks < blocks {
		b.blocks *= 2
	}
	return bucket{min(b.rows, s.o.Rows), min(b.blocks, s.most)}
}

// newStep takes the memory of a step, and packs the weights where the model has none that
// are. It returns compute.ErrStep where the kernels do not serve the model or its cache.
func newStep(d *cuda.Device, m compute.Decoder, c *compute.Cache, o compute.StepOptions) (_ *Step, err error) {
	s := &Step{o: o, d: d, g: newGPU(d), model: m, cache: c, graphs: map[bucket]driver.GraphExec{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	s.measure()
	if err := s.check(); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	if s.own = m.Packed == nil; !s.own {
		s.weights = m.Packed.(*dense)
	} else if s.weights, err = packDense(d, m); err != nil {
		return nil, err
	}
	s.products = s.weights.products
	s.products.work = compute.Tensor{} // graphs keep its address
	if err := s.allocate(); err != nil {
		return nil, err
	}
	s.pool, err = newPool(d, s.g, s.poolConfigOf(c.Slots.Dims[0]-o.FirstSlot))
	return s, err
}

// poolConfigOf is the step's pool, of so many slots.
func (s *Step) poolConfigOf(slots int) poolConfig {
	return poolConfig{layout: s.cache.Layout, layers: len(s.model.Layers), columns: s.o.Columns, slots: slots,
		rows: s.o.Rows, width: s.seen(s.most), lists: 1 << 12, keepSelected: s.o.KeepSelected, pages: addressOf(s.o.Pages), stride: s.o.Stride,
		threads: 1024, copiers: 16, resident: s.o.Resident}
}

// check refuses what the kernels do not do.
func (s *Step) check() error {
	m, l, o := s.model, s.cache.Layout, s.o
	if o.Rows < 1 || o.Rows > mostRows || o.Seats < 1 || o.Context < 1 || o.Columns < 1 {
		return fmt.Errorf("%w: %d rows, %d seats, %d tokens, %d columns", compute.ErrStep, o.Rows, o.Seats, o.Context, o.Columns)
	}
	if m.KVHeads != l.Heads || m.Dim != l.Dim || m.Heads%m.KVHeads != 0 {
		return fmt.Errorf("%w: %d query and %d KV heads of %d channels over a cache of %d heads of %d", compute.ErrStep, m.Heads, m.KVHeads, m.Dim, l.Heads, l.Dim)
	}
	if cuda.FormatName(m.Embed.Type) == "" {
		return fmt.Errorf("%w: an embedding in %v", compute.ErrStep, m.Embed.Type)
	}
	if s.places > 0 {
		if err := s.selecting.check(s.g, l, s.group(), s.most); err != nil {
			return fmt.Errorf("%w: %w", compute.ErrStep, err)
		}
	}
	if err := checkPack(m); err != nil {
		return fmt.Errorf("%w: %w", compute.ErrStep, err)
	}
	return nil
}

func (s *Step) load() error {
	format := cuda.FormatName(s.model.Embed.Type)
	if err := errors.Join(s.g.load("dense", map[string]*driver.Function{"step_embed_" + format: &s.embed, "step_norm": &s.norm}),
		s.attention.load(s.g), s.selecting.load(s.g), s.sampling.load(s.g)); err != nil {
		return fmt.Errorf("cuda: kernels of a step: %w", err)
	}
	return nil
}

// buffer is a tensor of the step.
type buffer struct {
	to    *compute.Tensor
	shape compute.Tensor
}

// measure sets what follows from the options.
func (s *Step) measure() {
	s.most = ceil(s.o.Context, s.cache.Block)
	if s.o.Select.ByQuery || s.o.Select.ByScore {
		s.places = s.o.Select.Most()
	}
}

// buffers are the step's tensors, but for what products hand to each other.
func (s *Step) buffers() []buffer {
	m, l, n := s.model, s.cache.Layout, s.o.Rows
	return append([]buffer{
		{&s.pos, compute.Describe(dtype.I32, n)}, {&s.seat, compute.Describe(dtype.I32, n)}, {&s.token, compute.Describe(dtype.I32, n)},
		{&s.table, compute.Describe(dtype.I32, s.o.Seats, s.most)},
		{&s.inv, compute.Describe(dtype.F32, max(1, len(m.Rope.Inv)))},
		{&s.angles, compute.Describe(dtype.F32, n, 2, max(1, len(m.Rope.Inv)))},
		{&s.x, compute.Describe(dtype.F32, n, m.Hidden)},
		{&s.q, compute.Describe(dtype.F32, n, m.Heads*m.Dim)},
		{&s.qkv, compute.Describe(dtype.F32, n, max(m.Hidden, (m.Heads+2*m.KVHeads)*m.Dim))},
		{&s.logits, compute.Describe(dtype.F32, n, m.Vocab)},
		{&s.h, describeActivations(n, m.Hidden)},
		{&s.mid, describeActivations(n, m.Intermediate)},
		{&s.attended, describeActivations(n, m.Heads*m.Dim)},
		{&s.tails, compute.Describe(dtype.F32, len(m.Layers)*s.o.Seats, m.KVHeads, 2, l.Dim*l.Block)},
		{&s.blocks, compute.Describe(dtype.I32, n, m.KVHeads, max(1, s.places))},
		{&s.count, compute.Describe(dtype.I32, n, m.KVHeads)},
		{&s.scratch, compute.Describe(dtype.U8, s.scratchBytes())},
	}, s.sampling.buffers(n)...)
}

func (s *Step) allocate() error {
	for _, b := range s.buffers() {
		t, err := s.d.Alloc(b.shape.Type, b.shape.Dims[:b.shape.Rank]...)
		if err != nil {
			return fmt.Errorf("cuda: memory of a step of %d rows and %d seats: %w", s.o.Rows, s.o.Seats, err)
		}
		*b.to = t
		s.tensors = append(s.tensors, t)
	}
	if err := s.products.reserve(s.d, s.productBytes()); err != nil {
		return fmt.Errorf("cuda: memory of a step's products: %w", err)
	}
	if err := s.sampling.open(s.g); err != nil {
		return fmt.Errorf("cuda: memory of a step's draws: %w", err)
	}
	s.columns = make([]int, s.o.Seats)
	s.d.Upload(s.inv, compute.F32s(s.model.Rope.Inv, len(s.model.Rope.Inv)).Data)
	s.g.ctx.Memset(s.g.stream, s.count.Addr, 0xff, s.count.Bytes()) // every block, if nothing chooses
	// What nobody's rows leave alone goes through products, and must be numbers.
	for _, x := range []compute.Tensor{s.attended, s.mid, s.h} {
		s.g.ctx.Memset(s.g.stream, x.Addr, 0, x.Bytes())
	}
	return nil
}

// scratchBytes is what the kernels of an op hand to each other.
func (s *Step) scratchBytes() int {
	n, group := 0, s.group()
	for rows := 1; rows <= s.o.Rows; rows++ {
		rows = s.bucketOf(rows, 1).rows
		n = max(n, s.attention.scratchBytes(s.g, s.cache.Layout, rows, group, s.seen(s.most)))
	}
	if s.places > 0 {
		n = max(n, s.selecting.scratchBytes(s.cache.Layout, group, s.o.Rows, s.most))
	}
	return max(n, 16)
}

// productBytes is what products take, of any step.
func (s *Step) productBytes() (n int) {
	for _, w := range s.weights.weights() {
		n = max(n, s.products.scratch(s.g, w, s.o.Rows))
	}
	first := &s.weights.layers[0]
	for rows := 1; rows <= s.o.Rows; rows++ {
		rows = s.bucketOf(rows, 1).rows
		for _, w := range []*weight{&first.qkv, &first.o, &first.gateUp, &first.down, &s.weights.head} {
			n = max(n, s.products.scratch(s.g, w, rows))
		}
	}
	return n
}

func (s *Step) group() int { return s.model.Heads / s.model.KVHeads }

// seen is the most blocks that a row attends to, of so many that there are.
func (s *Step) seen(blocks int) int {
	if s.places == 0 {
		return blocks
	}
	// Below DenseLen every block is read.
	return min(blocks, max(s.places, ceil(s.o.Select.DenseLen, s.cache.Block)))
}

// Close gives the memory back. What was posted is waited for.
func (s *Step) Close() error {
	errs := []error{s.g.ctx.Synchronize(s.g.stream)}
	if s.replays != nil {
		errs = append(errs, s.replays.close())
		s.replays = nil
	}
	for _, x := range s.graphs {
		errs = append(errs, s.g.ctx.FreeGraphExec(x))
	}
	if s.pool != nil {
		errs = append(errs, s.pool.close())
		s.pool = nil
	}
	if s.own && s.weights != nil {
		errs = append(errs, s.weights.Close())
	}
	s.products.free(s.d)
	errs = append(errs, s.sampling.close(s.g))
	for _, t := range s.tensors {
		s.d.Free(t)
	}
	s.tensors, s.weights, s.graphs = nil, nil, nil
	return errors.Join(append(errs, s.g.close())...)
}

// seatTail is a seat's open block of a layer.
func (s *Step) seatTail(layer, seat int) compute.Tensor {
	at := layer*s.o.Seats + seat
	return s.tails.Rows(at, at+1)
}

// Sit: see compute.Step.
func (s *Step) Sit(seat int, tails []compute.Tensor) {
	for i, t := range tails {
		s.g.ctx.Copy(s.g.stream, s.seatTail(i, seat).Addr, t.Addr, t.Bytes())
	}
	s.columns[seat] = 0
}

// Rise: see compute.Step.
func (s *Step) Rise(seat int, tails []compute.Tensor) {
	for i, t := range tails {
		s.g.ctx.Copy(s.g.stream, t.Addr, s.seatTail(i, seat).Addr, t.Bytes())
	}
	s.columns[seat] = 0
}

// Grow: see compute.Step.
func (s *Step) Grow(seat int, columns, pages []int32) {
	if len(columns) == 0 {
		return
	}
	at := s.columns[seat]
	if at+len(columns) > s.most {
		panic(fmt.Sprintf("cuda: %d columns in a seat for %d", at+len(columns), s.most))
	}
	s.d.Upload(s.table.Rows(seat, seat+1).Reshape(s.most).Rows(at, at+len(columns)), bytesOf(columns))
	s.columns[seat] += len(columns)
	if !s.o.Resident {
		s.pool.setPages(s.ids(columns), pages)
	}
}

// Drop: see compute.Step.
func (s *Step) Drop(columns []int32) {
	if len(columns) > 0 && !s.o.Resident {
		s.pool.drop(columns)
	}
}

// ids are those of columns, by column, layer and head.
func (s *Step) ids(columns []int32) []int32 {
	width := len(s.model.Layers) * s.cache.Heads
	ids := make([]int32, 0, width*len(columns))
	for _, c := range columns {
		for i := range width {
			ids = append(ids, int32((width-1-i)*s.o.Columns)+c)
		}
	}
	return ids
}

// Run: see compute.Step.
func (s *Step) Run(rows []compute.StepRow) {
	n := len(rows)
	if n == 0 {
		return
	}
	if n > s.o.Rows {
		panic(fmt.Sprintf("cuda: a step of %d rows, there is room for %d", n, s.o.Rows))
	}
	deepest := 0 // blocks of the longest row
	s.rows, s.positions = n, s.positions[:0]
	for _, r := range rows {
		deepest = max(deepest, int(r.Pos)/s.cache.Block+1)
		s.positions = append(s.positions, r.Pos)
	}
	b := s.bucketOf(n, deepest)
	put := func(to compute.Tensor, none int32, of func(compute.StepRow) int32) {
		s.lists = s.lists[:0]
		for i := range b.rows {
			v := none
			if i < n {
				v = of(rows[i])
			}
			s.lists = binary.LittleEndian.AppendUint32(s.lists, uint32(v))
		}
		s.d.Upload(to.Rows(0, b.rows), s.lists)
	}
	put(s.pos, -1, func(r compute.StepRow) int32 { return r.Pos })
	put(s.seat, 0, func(r compute.StepRow) int32 { return r.Seat })
	put(s.token, 0, func(r compute.StepRow) int32 { return r.Token })
	s.launch(b)
	s.sampling.ask(rows)
	s.sampling.post(s.d, s.g, s.logits)
}

// Peak: see compute.Step.
func (s *Step) Peak(row int) compute.Peak { return s.sampling.peak(row) }

// Logits: see compute.Step.
func (s *Step) Logits(from, to int) compute.Tensor { return s.logits.Rows(from, to) }

// States: see compute.Step.
func (s *Step) States(from, to int) compute.Tensor {
	out := s.qkv.Reshape(s.qkv.Len()).Rows(0, (to-from)*s.model.Hidden).Reshape(to-from, s.model.Hidden)
	s.d.RMSNorm(out, s.x.Rows(from, to), s.model.Norm, s.model.Eps)
	return out
}

// Wait: see compute.Step.
func (s *Step) Wait() (compute.StepCounts, error) {
	if err := s.d.Sync(); err != nil {
		return compute.StepCounts{}, err
	}
	if s.o.Resident {
		return s.residentCounts(), nil
	}
	layers, rows := s.pool.counts()
	c := compute.StepCounts{Layers: make([]compute.StepCount, len(s.model.Layers)), Rows: make([]compute.StepCount, s.rows)}
	var errs []error
	for i := range c.Layers {
		c.Layers[i] = countOf(layers[i])
		errs = append(errs, layers[i].err(fmt.Sprintf("layer %d", i)))
	}
	for i := range c.Rows {
		c.Rows[i] = countOf(rows[i])
	}
	return c, errors.Join(errs...)
}

func countOf(p poolCount) compute.StepCount {
	return compute.StepCount{Selected: int64(p.selected), Hits: int64(p.hits()), Misses: int64(p.misses), Sealed: int64(p.sealed)}
}

// residentCounts are those of a step where every block is in its slot.
func (s *Step) residentCounts() compute.StepCounts {
	c := compute.StepCounts{Layers: make([]compute.StepCount, len(s.model.Layers)), Rows: make([]compute.StepCount, s.rows)}
	size, heads := s.cache.Block, int64(s.cache.Heads)
	for i, pos := range s.positions[:s.rows] {
		n := int64(pos)/int64(size) + 1
		if s.places > 0 && int(pos) >= s.o.Select.DenseLen {
			n = min(n, int64(s.o.Select.K))
		}
		each := compute.StepCount{Selected: n * heads, Hits: n * heads}
		if (int(pos)+1)%size == 0 {
			each.Sealed = heads
		}
		for l := range c.Layers {
			c.Layers[l].Add(each)
			c.Rows[i].Add(each)
		}
	}
	return c
}

// launch posts the graph of a bucket, which is recorded the first time. Errors come with
// Wait.
func (s *Step) launch(b bucket) {
	if s.eager {
		s.post(b)
		return
	}
	x, ok := s.graphs[b]
	if !ok {
		var err error
		if x, err = s.record(b); err != nil {
			s.d.Fail(fmt.Errorf("graph of %d rows: %w", b.rows, err))
			return
		}
		s.graphs[b] = x
	}
	s.g.ctx.LaunchGraph(x, s.g.stream)
}

// record records a step's launches.
func (s *Step) record(b bucket) (driver.GraphExec, error) {
	graph, err := s.d.Record(func() { s.post(b) })
	if err = errors.Join(err, s.g.ctx.Err()); err != nil {
		return 0, err
	}
	x, err := s.g.ctx.Instantiate(graph)
	return x, errors.Join(err, s.g.ctx.FreeGraph(graph))
}

// The structs of dense.cu.

type embedArgs struct {
	out, table, token uintptr
	rows              rowsArgs
	width, rowBytes   int32
	scale             float32
}

type normArgs struct {
	out, x, weight uintptr
	width          int32
	eps, scale     float32
	groups, n      int32
}

// post posts the launches of a step.
func (s *Step) post(b bucket) {
	m, g := s.model, s.g
	rows := rowsArgs{n: int32(b.rows), pos: s.pos.Addr, seat: s.seat.Addr}
	sel := selectionArgs{places: int32(s.places), blocks: s.blocks.Addr, count: s.count.Addr}
	score := scoring(g, s.cacheArgs(0), rows, s.cache.Layout, s.group(), b.blocks, s.o.Select, s.scratch.Addr)
	plus := epilogue{kind: add, scale: m.ResidualScale}
	arranged := s.products.arranged(g, b.rows)
	h, mid := activations{s.h.Addr, arranged}, activations{s.mid.Addr, arranged}
	launch(g, s.embed, line(b.rows), 512, 0, &embedArgs{s.x.Addr, m.Embed.Addr, s.token.Addr, rows,
		int32(m.Hidden), int32(m.Embed.Rows(0, 1).Bytes()), m.EmbedScale})
	if !s.o.Resident {
		s.pool.fork()
		s.pool.begin(s.pool.stream)
	}
	s.selecting.angles(g, &anglesArgs{rows: rows, out: s.angles.Addr, inv: s.inv.Addr, pairs: int32(len(m.Rope.Inv)), factor: m.Rope.Factor})
	for i := range s.weights.layers {
		y, c := &s.weights.layers[i], s.cacheArgs(i)
		s.postNorm(b.rows, y.AttnNorm, 1)
		s.products.run(g, s.qkv.Addr, h, &y.qkv, b.rows, epilogue{kind: store, bias: y.qkv.bias})
		s.postAppend(y, c, rows)
		if s.places > 0 {
			score.c = c
			if s.o.Select.ByQuery {
				a := scores(score, s.q.Addr)
				s.selecting.score(g, &a)
			}
			to := choosing(score, sel, s.o.Select, b.blocks)
			s.selecting.choose(g, &to, b.blocks)
			if s.replays != nil {
				s.replays.replay(rows, i, sel)
			}
		}
		s.postAttention(c, rows, sel, b)
		plus.bias = y.o.bias
		s.products.run(g, s.x.Addr, s.attendedBy(b.rows), &y.o, b.rows, plus)
		s.postNorm(b.rows, y.MLPNorm, 1)
		s.products.run(g, s.mid.Addr, h, &y.gateUp, b.rows, epilogue{kind: swiglu, arranged: arranged})
		plus.bias = y.down.bias
		s.products.run(g, s.x.Addr, mid, &y.down, b.rows, plus)
	}
	s.postSeal(rows)
	s.postNorm(b.rows, m.Norm, m.LogitScale)
	s.products.run(g, s.logits.Addr, h, &s.weights.head, b.rows, epilogue{kind: store})
	if !s.o.Resident {
		s.pool.join()
	}
}

// postAttention posts a layer's attention. Blocks that are in no slot are fetched beside that
// to the others.
func (s *Step) postAttention(c cacheArgs, rows rowsArgs, sel selectionArgs, b bucket) {
	if s.o.Resident {
		s.attention.run(s.g, s.attendedBy(b.rows), s.q.Addr, c, rows, sel, s.group(), s.seen(b.blocks), s.scratch.Addr)
		return
	}
	if c.layer == 0 {
		s.pool.join()
	}
	come := s.pool.bring(c, rows, sel)
	if s.series {
		come.arrived()
		come = coming{}
	}
	s.attention.runInWaves(s.g, s.attendedBy(b.rows), s.q.Addr, c, rows, sel, s.group(), s.seen(b.blocks), s.scratch.Addr, come)
}

// attendedBy is attention's output of so many rows. What there is of it beyond whole units of
// products nobody writes, so that it is arranged only where there is nothing.
func (s *Step) attendedBy(rows int) activations {
	return activations{s.attended.Addr, s.products.arranged(s.g, rows) && s.model.Heads*s.model.Dim%64 == 0}
}

// postAppend posts what becomes of the product of queries, keys and values.
func (s *Step) postAppend(y *layer, c cacheArgs, rows rowsArgs) {
	a := appendArgs{c: c, rows: rows, qkv: s.qkv.Addr, q: s.q.Addr, angles: s.angles.Addr, qNorm: y.QNorm.Addr, kNorm: y.KNorm.Addr,
		group: int32(s.group()), eps: s.model.Eps}
	if c.tokenScore != 0 {
		a.delta, a.bias, a.scale = y.Delta.Weight.Addr, y.Delta.Bias.Addr, y.A.Addr
	}
	a.rope(s.model.Rope)
	s.selecting.append(s.g, &a)
}

// postSeal posts what becomes of open blocks that are full, in all layers: beside what follows.
func (s *Step) postSeal(rows rowsArgs) {
	c, p, layers := s.cacheArgs(0), s.pool, len(s.model.Layers)
	if s.o.Resident {
		p.seal(s.g.stream, c, rows, layers)
		return
	}
	p.fork()
	p.full(p.stream, c, rows, layers)
	p.seal(p.stream, c, rows, layers)
	p.store(p.stream, c, rows, layers)
	p.report(p.stream)
}

func (s *Step) postNorm(rows int, w compute.Tensor, scale float32) {
	launchEarly(s.g, s.norm, line(rows), 512, 0, &normArgs{s.h.Addr, s.x.Addr, w.Addr, int32(s.model.Hidden), s.model.Eps, scale,
		groupsOf(rows, s.products.arranged(s.g, rows)), int32(rows)})
}

// cacheArgs is the cache as a layer's kernels see it. Ids go down from layer to layer and
// head to head: see compute.Stepper.
func (s *Step) cacheArgs(layer int) cacheArgs {
	c, width := s.cache, len(s.model.Layers)*s.cache.Heads
	slots := c.Slots.Addr + uintptr(s.o.FirstSlot)*uintptr(c.BlockBytes())
	return cacheArgs{l: cuda.LayoutOf(c.Layout), layer: int32(layer), seats: int32(s.o.Seats), most: int32(s.most),
		columns: -int32(s.o.Columns), first: int32((width - 1) * s.o.Columns),
		table: s.table.Addr, slotOf: s.pool.args.slotOf, slots: slots, tails: s.tails.Addr,
		means: c.Segments.Addr, segmentScore: c.SegScore.Addr, tokenScore: c.Score.Addr}
}

// InSeries makes copies run beside nothing, as other systems do, for comparison. It is said
// before the first step.
func (s *Step) InSeries() { s.series = true }

// Replay makes the steps use recorded selections in place of what the model chooses, which
// is still computed.
func (s *Step) Replay(r *Replay) (err error) {
	s.replays, err = newReplaying(s.d, s.g, r)
	return err
}

// addressOf is that of memory outside the collector's heap; 0 without any.
func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
