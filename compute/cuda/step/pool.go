//go:build linux && amd64

package step

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// pool is the pool of slots on the GPU. Everything that it does is posted, and knows
// nothing of the host's but what place, drop and setPages have told: a step that was
// recorded as a graph finds the pool as the last one left it. What does not fit is not
// an error of a call: counts tells of it after the step, and the block is in no slot.
//
// A step is
//
//	begin                          counters to 0, the ring without what is passed over
//	bring                          in each layer: resolve, gather; attention may run beside both
//	full, seal, store              after the last layer, for all of them, or in each: the full
//	                               blocks to slots and to their pages
type pool struct {
	d   *cuda.Device
	g   *gpu
	cfg poolConfig

	args    poolArgs
	memory  []compute.Tensor
	list    compute.Tensor // what lists of the host come in
	valid   compute.Tensor // for compaction
	pieces  compute.Tensor
	pieceN  int
	listed  int    // times used up by lists since the last compaction that place has posted
	counted []byte // pinned: counters as report posts them

	stream         driver.Stream // for what runs beside the device's stream
	forked, joined driver.Event

	wantSelected, wantListed, wantFull driver.Function
	trim, dropped, paged, mark, pack   driver.Function
	gathered, sealed, stored           driver.Function
}

// poolConfig says for what a pool is.
type poolConfig struct {
	layout  compute.Layout
	layers  int
	columns int // of ids, as in cacheArgs
	slots   int
	rows    int // most of a launch
	width   int // most blocks that a row wants of a KV head, its own left out
	lists   int // most blocks or columns that the host names in one launch

	// keepSelected: after a layer, those of its blocks that the selection did not name
	// are given up. Otherwise what was used longest ago goes, when room is needed.
	keepSelected bool

	pages  uintptr // host pool that the GPU reaches: a block at the start of each stride bytes
	stride int

	// resident: there is a slot for every block, its id. The pool only seals then.
	resident bool

	threads int // of the thread blocks of resolve: 1024, or fewer to have more of them in tests
	copiers int // thread blocks of gather and store: 4 take all that a bus gives where nothing else runs, 16 beside attention
}

// The most rows of a launch, as seal.cu has it.
const mostRows = 1024

func (c poolConfig) ids() int { return c.layers * c.layout.Heads * c.columns }

// span is how many times the resolve of a layer uses up.
func (c poolConfig) span(rows int) int { return rows * c.layout.Heads * c.width }

// ring is the number of its places: entries that count, the same once more behind them
// when they are written anew, and what comes to them between two compactions.
func (c poolConfig) ring() int {
	n := 2*c.slots + c.layers*(c.span(c.rows)+c.rows*c.layout.Heads) + c.lists
	places := 1
	for places < n {
		places *= 2
	}
	return places
}

// tensors are the pool's arrays, in the order of poolArgs and what stands behind them.
func (c poolConfig) tensors() []compute.Tensor {
	ring, ids := c.ring(), c.ids()
	claims := max(c.span(c.rows), c.layers*c.rows*c.layout.Heads, c.lists)
	words := func(n int) compute.Tensor { return compute.Describe(dtype.I32, n) }
	return []compute.Tensor{
		words(ids), words(ids), // slot_of, page_of
		words(c.slots), words(2 * c.slots), // block, used
		words(ring), words(c.slots), // ring, free
		words(2 * claims), words(4 * claims), // claim, missing
		words(int(unsafe.Sizeof(poolState{}) / 4)), // state
		words((c.layers + 1 + c.rows) * int(unsafe.Sizeof(poolCount{})/4)),
		words(2 * c.lists),
		words(ceil(ring, pieceEntries) * pieceEntries / 32), words(ceil(ring, pieceEntries)),
		compute.Describe(dtype.U8, c.slots), // late
	}
}

// bytes is the memory of the GPU that a pool takes, without the slots.
func (c poolConfig) bytes() int64 {
	if c.resident {
		return 8 * int64(c.ids())
	}
	sum := int64(0)
	for _, x := range c.tensors() {
		sum += int64(x.Bytes())
	}
	return sum
}

func (c poolConfig) validate() error {
	switch {
	case c.slots <= 0 || c.layers <= 0 || c.columns <= 0 || c.rows <= 0 || c.width <= 0 || c.lists <= 0:
		return fmt.Errorf("pool of %d slots, %d layers, %d columns, %d rows that want %d blocks: all must be positive", c.slots, c.layers, c.columns, c.rows, c.width)
	case c.rows > mostRows:
		return fmt.Errorf("pool for steps of %d rows, at most %d", c.rows, mostRows)
	case c.layers*c.layout.Heads > (1<<31-2)/c.columns || c.layers*c.layout.Heads*c.rows > (1<<30)/c.width:
		return fmt.Errorf("pool of %d layers, %d KV heads, %d columns, %d rows that want %d blocks: too many to number", c.layers, c.layout.Heads, c.columns, c.rows, c.width)
	case c.threads < 32 || c.threads > 1024 || c.threads%32 != 0 || c.copiers <= 0:
		return fmt.Errorf("pool with thread blocks of %d, %d that copy", c.threads, c.copiers)
	}
	return nil
}

// The structs of pool.cuh.

type poolArgs struct {
	slots, ids, mask, layers                                                             int32
	slotOf, pageOf, block, used, ring, free, claim, missing, state, layerCount, rowCount uintptr
	pages, stride, late                                                                  uintptr
}

type poolState struct {
	front, tail, arrived int64
	free, claims, fetch  int32
	gathered, _          [2]int32 // the other one is what the kernels tell each other
	_                    int32
}

// poolCount is what a step has counted in a layer, or of a row in all layers. Selected
// blocks are hits or misses; a block that several rows want and that has no slot is one
// miss, of the last of them. Own blocks, which need no slot, are hits.
type poolCount struct {
	selected, misses uint32
	evicted          uint32 // blocks that lost their slots, to full ones in its first layer; not of rows
	sealed           uint32 // blocks that were full

	pageless uint32 // wants of blocks with neither slot nor page
	slotless uint32 // blocks for which no slot was left
	overflow uint32 // wants beyond the width
	faulty   int32  // the block of one of them
}

func (c poolCount) hits() uint32 { return c.selected - c.misses }

// err says what was wanted and not had, of a layer or a row.
func (c poolCount) err(whose string) error {
	var errs []error
	for _, f := range []struct {
		n    uint32
		what string
	}{
		{c.pageless, fmt.Sprintf("blocks have neither slot nor page, block %d is one", c.faulty)},
		{c.slotless, fmt.Sprintf("blocks found no slot, block %d is one", c.faulty)},
		{c.overflow, "blocks are more than a row may want"},
	} {
		if f.n > 0 {
			errs = append(errs, fmt.Errorf("%s: %d wanted %s", whose, f.n, f.what))
		}
	}
	return errors.Join(errs...)
}

func newPool(d *cuda.Device, g *gpu, cfg poolConfig) (*pool, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	p := &pool{d: d, g: g, cfg: cfg}
	if err := p.open(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *pool) open() (err error) {
	g, cfg := p.g, p.cfg
	if err := errors.Join(
		g.load("pool", map[string]*driver.Function{
			"step_want_selected": &p.wantSelected, "step_want_listed": &p.wantListed, "step_want_full": &p.wantFull,
			"step_trim": &p.trim, "step_drop": &p.dropped, "step_pages": &p.paged, "step_mark": &p.mark, "step_pack": &p.pack}),
		g.load("gather", map[string]*driver.Function{"step_gather": &p.gathered}),
		g.load("seal", map[string]*driver.Function{"step_seal": &p.sealed, "step_store": &p.stored}),
	); err != nil {
		return err
	}
	if cfg.resident {
		return p.openResident()
	}
	for _, x := range cfg.tensors() {
		t, err := p.d.Alloc(x.Type, x.Dims[:1]...)
		if err != nil {
			return fmt.Errorf("pool: %w", err)
		}
		p.memory = append(p.memory, t)
	}
	m := p.memory
	p.args = poolArgs{slots: int32(cfg.slots), ids: int32(cfg.ids()), mask: int32(cfg.ring() - 1), layers: int32(cfg.layers),
		slotOf: m[0].Addr, pageOf: m[1].Addr, block: m[2].Addr, used: m[3].Addr, ring: m[4].Addr, free: m[5].Addr,
		claim: m[6].Addr, missing: m[7].Addr, state: m[8].Addr, layerCount: m[9].Addr,
		rowCount: m[9].Addr + uintptr(cfg.layers+1)*unsafe.Sizeof(poolCount{}), pages: cfg.pages, stride: uintptr(cfg.stride), late: m[13].Addr}
	p.list, p.valid, p.pieces, p.pieceN = m[10], m[11], m[12], m[12].Dims[0]
	for _, x := range m[:4] { // −1
		g.ctx.Memset(g.stream, x.Addr, 0xff, x.Bytes())
	}
	g.ctx.Memset(g.stream, p.args.late, 0, cfg.slots)
	free := make([]int32, cfg.slots)
	for i := range free {
		free[i] = int32(cfg.slots - 1 - i)
	}
	p.d.Upload(m[5], bytesOf(free))
	p.d.Upload(m[8], bytesOf([]poolState{{free: int32(cfg.slots)}}))
	if p.counted, err = g.ctx.AllocHost(m[9].Bytes()); err != nil {
		return err
	}
	clear(p.counted)
	// Copies are few thread blocks that must not wait until a large kernel has started all
	// of its own.
	if p.stream, err = g.ctx.NewStream(-1); err != nil {
		return err
	}
	if p.forked, err = g.ctx.NewEvent(false); err != nil {
		return err
	}
	p.joined, err = g.ctx.NewEvent(false)
	return err
}

// openResident is for a slot for every block, and no host pool.
func (p *pool) openResident() error {
	ids := p.cfg.ids()
	if p.cfg.slots != ids {
		return fmt.Errorf("pool: %d slots for %d blocks that are to stay there", p.cfg.slots, ids)
	}
	for range 2 {
		t, err := p.d.Alloc(dtype.I32, ids)
		if err != nil {
			return fmt.Errorf("pool: %w", err)
		}
		p.memory = append(p.memory, t)
	}
	p.args = poolArgs{slots: int32(ids), ids: int32(ids), layers: int32(p.cfg.layers), slotOf: p.memory[0].Addr, pageOf: p.memory[1].Addr}
	own := make([]int32, ids)
	for i := range own {
		own[i] = int32(i)
	}
	p.d.Upload(p.memory[0], bytesOf(own))
	p.g.ctx.Memset(p.g.stream, p.args.pageOf, 0xff, 4*ids)
	return nil
}

// close gives everything back but the kernels, which are the gpu's. Nothing of the pool
// may run any more.
func (p *pool) close() error {
	var errs []error
	for _, x := range p.memory {
		p.d.Free(x)
	}
	if p.counted != nil {
		errs = append(errs, p.g.ctx.FreeHost(p.counted))
	}
	for _, e := range []driver.Event{p.forked, p.joined} {
		if e != 0 {
			errs = append(errs, p.g.ctx.FreeEvent(e))
		}
	}
	if p.stream != 0 {
		errs = append(errs, p.g.ctx.FreeStream(p.stream))
	}
	*p = pool{}
	return errors.Join(errs...)
}

type wantArgs struct {
	p                  poolArgs
	c                  cacheArgs
	r                  rowsArgs
	s                  selectionArgs
	list               uintptr
	span, width, fetch int32
	_                  int32
}

func (p *pool) want(s driver.Stream, f driver.Function, a *wantArgs) {
	launchOn(p.g, s, f, line(ceil(int(a.span), p.cfg.threads)), p.cfg.threads, a)
}

// begin posts what a step begins with.
func (p *pool) begin(s driver.Stream) { p.compact(s, p.cfg.rows) }

type compactArgs struct {
	p             poolArgs
	valid, pieces uintptr
	rows          int32
	_             int32
}

func (p *pool) compact(s driver.Stream, rows int) {
	a := compactArgs{p: p.args, valid: p.valid.Addr, pieces: p.pieces.Addr, rows: int32(rows)}
	launchOn(p.g, s, p.mark, line(p.pieceN), 1024, &a)
	launchOn(p.g, s, p.pack, line(p.pieceN), 1024, &a)
}

// alongside is the most rows whose attention starts while blocks are looked up. That of more
// takes all of the memory's bandwidth, and slots would come three times as late: it starts when
// they begin to be given.
const alongside = 8

// coming is what attention is told of blocks that are on their way.
type coming struct {
	late     uintptr // by slot, as in pool.cuh
	gathered uintptr // thread blocks of gather that are done; 0: attention cannot run beside it
	copiers  int     // how many there are
	arrived  func()  // posts that what follows waits until all have come
}

// bring is resolve and gather. Where kernels can let later ones start, attention that follows
// runs beside both. They have begun before it, or its thread blocks would leave them no room.
func (p *pool) bring(c cacheArgs, rows rowsArgs, sel selectionArgs) coming {
	p.resolve(c, rows, sel)
	if !p.g.early() {
		p.fork()
		p.gather(p.stream, c)
		return coming{late: p.args.late, arrived: p.join}
	}
	a := gatherArgs{p: p.args, slots: c.slots, bytes: c.l.BlockBytes, turn: c.layer % 2}
	if rows.n > alongside {
		a.hold = 1
	}
	launchEarly(p.g, p.gathered, line(p.cfg.copiers), 512, 0, &a)
	p.g.ctx.Record(p.joined, p.g.stream)
	return coming{p.args.late, p.args.state + unsafe.Offsetof(poolState{}.gathered) + uintptr(4*a.turn), p.cfg.copiers,
		func() { p.g.ctx.Wait(p.g.stream, p.joined) }}
}

// resolve gives every block that the rows of a layer have selected a slot, but for the
// open own ones, and leaves a list of those that gather must fill. Wanted blocks keep
// their slots until the next resolve, place or full.
func (p *pool) resolve(c cacheArgs, rows rowsArgs, sel selectionArgs) {
	span := p.cfg.span(int(rows.n))
	post := launchEarly[wantArgs]
	if c.layer == 0 {
		post = launch[wantArgs] // begin, on a stream of its own, is waited for by ordinary launches alone
	}
	post(p.g, p.wantSelected, line(ceil(span, p.cfg.threads)), p.cfg.threads, 0,
		&wantArgs{p: p.args, c: c, r: rows, s: sel, span: int32(span), width: int32(p.cfg.width), fetch: 1})
	if p.cfg.keepSelected {
		a := trimArgs{p: p.args, c: c, span: int32(span)}
		launch(p.g, p.trim, line(ceil(p.cfg.slots, 256)), 256, 0, &a)
	}
}

type trimArgs struct {
	p    poolArgs
	c    cacheArgs
	span int32
	_    int32
}

// fork makes the pool's own stream, on which gather and store run, wait for what was
// posted to the device's; join is the other way round.
func (p *pool) fork() {
	p.g.ctx.Record(p.forked, p.g.stream)
	p.g.ctx.Wait(p.stream, p.forked)
}

func (p *pool) join() {
	p.g.ctx.Record(p.joined, p.stream)
	p.g.ctx.Wait(p.g.stream, p.joined)
}

type gatherArgs struct {
	p     poolArgs
	slots uintptr
	bytes int32
	turn  int32
	hold  int32
	_     int32
}

// gather posts to a stream that the blocks which the last resolve or place has missed are
// copied from the host pool to their slots.
func (p *pool) gather(s driver.Stream, c cacheArgs) {
	a := gatherArgs{p: p.args, slots: c.slots, bytes: c.l.BlockBytes, turn: -1}
	launchOn(p.g, s, p.gathered, line(p.cfg.copiers), 512, &a)
}

type sealArgs struct {
	p      poolArgs
	c      cacheArgs
	r      rowsArgs
	layers int32
	_      int32
}

// full gives slots to the own blocks of the rows that are full with this step's token, in
// layers from the cache's on. One that finds none lives in its page.
func (p *pool) full(s driver.Stream, c cacheArgs, rows rowsArgs, layers int) {
	p.want(s, p.wantFull, &wantArgs{p: p.args, c: c, r: rows, span: int32(layers * int(rows.n) * p.cfg.layout.Heads)})
}

// seal encodes them into their slots.
func (p *pool) seal(s driver.Stream, c cacheArgs, rows rowsArgs, layers int) {
	a := sealArgs{p: p.args, c: c, r: rows, layers: int32(layers)}
	launchOn(p.g, s, p.sealed, line(5*p.g.props.Processors), 256, &a)
}

// store posts to a stream that what seal has encoded is copied to the host pool.
func (p *pool) store(s driver.Stream, c cacheArgs, rows rowsArgs, layers int) {
	a := sealArgs{p: p.args, c: c, r: rows, layers: int32(layers)}
	launchOn(p.g, s, p.stored, line(p.cfg.copiers), 256, &a)
}

// place gives blocks slots between steps, or makes those that have one the most recently
// used. With fetch they are copied from their pages; without, the caller writes them where
// slot_of says.
func (p *pool) place(ids []int32, c cacheArgs, fetch bool) {
	for part := range slices.Chunk(ids, p.cfg.lists) {
		if p.listed += len(part); p.listed > p.cfg.lists {
			p.compact(p.g.stream, 0)
			p.listed = len(part)
		}
		p.d.Upload(p.list, bytesOf(part))
		a := wantArgs{p: p.args, c: c, list: p.list.Addr, span: int32(len(part))}
		if fetch {
			a.fetch = 1
		}
		p.want(p.g.stream, p.wantListed, &a)
		if fetch {
			p.gather(p.g.stream, c)
		}
	}
}

type listArgs struct {
	p          poolArgs
	list       uintptr
	n, columns int32
	pageOf     uintptr
}

// drop empties the slots of the blocks of columns, in all layers and heads, and forgets
// their pages.
func (p *pool) drop(columns []int32) {
	width := p.cfg.layers * p.cfg.layout.Heads
	for part := range slices.Chunk(columns, p.cfg.lists) {
		p.d.Upload(p.list, bytesOf(part))
		a := listArgs{p: p.args, list: p.list.Addr, n: int32(len(part)), columns: int32(p.cfg.columns), pageOf: p.args.pageOf}
		launch(p.g, p.dropped, line(ceil(len(part)*width, 256)), 256, 0, &a)
	}
}

// setPages says where in the host pool blocks lie, or will when they are full.
func (p *pool) setPages(ids, pages []int32) {
	for at := 0; at < len(ids); at += p.cfg.lists {
		to := min(at+p.cfg.lists, len(ids))
		p.d.Upload(p.list, bytesOf(slices.Concat(ids[at:to], pages[at:to])))
		a := listArgs{p: p.args, list: p.list.Addr, n: int32(to - at), columns: int32(p.cfg.columns), pageOf: p.args.pageOf}
		launch(p.g, p.paged, line(ceil(to-at, 256)), 256, 0, &a)
	}
}

// report posts the copy of the counters that counts returns when the stream has come past.
func (p *pool) report(s driver.Stream) {
	p.g.ctx.CopyOut(s, uintptr(unsafe.Pointer(unsafe.SliceData(p.counted))), p.args.layerCount, len(p.counted))
}

// counts are those of the step until report: by layer, and by row. The layer after the
// last one has what place did, ever.
func (p *pool) counts() (layers, rows []poolCount) {
	all := unsafe.Slice((*poolCount)(unsafe.Pointer(unsafe.SliceData(p.counted))), p.cfg.layers+1+p.cfg.rows)
	return all[:p.cfg.layers+1], all[p.cfg.layers+1:]
}

// check proves that slots and blocks name each other, that each slot is either free or
// holds one block, and that each block has one entry of the ring that counts. It waits for
// the device.
func (p *pool) check() error {
	var state [1]poolState
	slotOf, block, free := make([]int32, p.cfg.ids()), make([]int32, p.cfg.slots), make([]int32, p.cfg.slots)
	used, ring := make([]int64, p.cfg.slots), make([]int32, p.cfg.ring())
	for i, to := range map[int][]byte{0: bytesOf(slotOf), 2: bytesOf(block), 3: bytesOf(used), 4: bytesOf(ring), 5: bytesOf(free), 8: bytesOf(state[:])} {
		p.d.Download(to, p.memory[i])
	}
	if err := p.d.Sync(); err != nil {
		return err
	}
	s := state[0]
	if s.front > s.tail || s.tail-s.front > int64(len(ring)) || s.free < 0 || int(s.free) > len(free) || s.claims != 0 || s.arrived != 0 {
		return fmt.Errorf("pool: state %+v", s)
	}
	isFree := make([]bool, len(block))
	for _, slot := range free[:s.free] {
		if isFree[slot] {
			return fmt.Errorf("pool: slot %d is free twice", slot)
		}
		isFree[slot] = true
	}
	for slot, id := range block {
		switch time := used[slot]; {
		case (id < 0) != isFree[slot]:
			return fmt.Errorf("pool: slot %d holds block %d, free: %v", slot, id, isFree[slot])
		case id < 0 && time != -1:
			return fmt.Errorf("pool: slot %d is free and was used at %d", slot, time)
		case id < 0:
		case slotOf[id] != int32(slot):
			return fmt.Errorf("pool: slot %d holds block %d, which names slot %d", slot, id, slotOf[id])
		case time < s.front || time >= s.tail || ring[time%int64(len(ring))] != int32(slot):
			return fmt.Errorf("pool: slot %d with block %d of time %d is not in the ring from %d to %d", slot, id, time, s.front, s.tail)
		}
	}
	for id, slot := range slotOf {
		if slot < -1 || slot >= 0 && block[slot] != int32(id) {
			return fmt.Errorf("pool: block %d names slot %d", id, slot)
		}
	}
	return nil
}

// pieceEntries is how much of the ring a thread block of compact has.
const pieceEntries = 4096
