//go:build linux && amd64

package step

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/dtype"
)

// poolTwin is what a pool does, by walking: the time of each block that is in a slot.
type poolTwin struct {
	cfg         poolConfig
	held        map[int32]int64
	page        []int32
	tail        int64
	layer, row  []poolCount
	lackedSlots bool // the last want: which blocks have none is nobody's to say
}

func newPoolTwin(cfg poolConfig) *poolTwin {
	return &poolTwin{cfg: cfg, held: map[int32]int64{}, page: slices.Repeat([]int32{-1}, cfg.ids()),
		layer: make([]poolCount, cfg.layers+1), row: make([]poolCount, cfg.rows)}
}

// byTime are the blocks in slots that were used before a time, the longest unused first.
func (t *poolTwin) byTime(before int64) []int32 {
	ids := slices.Collect(maps.Keys(t.held))
	ids = slices.DeleteFunc(ids, func(id int32) bool { return t.held[id] >= before })
	slices.SortFunc(ids, func(a, b int32) int { return int(t.held[a] - t.held[b]) })
	return ids
}

func (t *poolTwin) begin() {
	clear(t.layer[:t.cfg.layers])
	clear(t.row)
	t.compact()
}

func (t *poolTwin) compact() {
	for i, id := range t.byTime(t.tail) {
		t.held[id] = t.tail + int64(i)
	}
	t.tail += int64(len(t.held))
}

// want is one launch: the blocks by place, −1 for none, and the layer and row of a place.
func (t *poolTwin) want(ids []int32, fetch bool, whose func(w int) (layer, row int), full bool) {
	base, missing := t.tail, map[int32]int{}
	count := func(w int, f func(c *poolCount)) {
		layer, row := whose(w)
		f(&t.layer[layer])
		if row >= 0 {
			f(&t.row[row])
		}
	}
	for w, id := range ids {
		if id < 0 {
			continue
		}
		if _, ok := t.held[id]; ok {
			t.held[id] = base + int64(w)
		} else if fetch && t.page[id] < 0 {
			count(w, func(c *poolCount) { c.pageless++ })
		} else {
			missing[id] = w
		}
	}
	t.tail += int64(len(ids))
	victims, free := t.byTime(base), t.cfg.slots-len(t.held)
	if t.lackedSlots = len(missing) > free+len(victims); t.lackedSlots {
		return
	}
	for id, w := range missing {
		if free > 0 {
			free--
		} else {
			delete(t.held, victims[0])
			victims = victims[1:]
			first, _ := whose(0)
			t.layer[first].evicted++
		}
		t.held[id] = base + int64(w)
		if !full {
			count(w, func(c *poolCount) { c.misses++ })
		}
	}
}

// poolWorld is a pool on the GPU, its twin, and sequences whose rows want blocks.
type poolWorld struct {
	testing.TB
	d    *cuda.Device
	g    *gpu
	p    *pool
	twin *poolTwin
	cfg  poolConfig
	rng  *rand.Rand

	seats, most, shared int
	table               []int32 // [seats, most]
	arena               []byte
	want                [][]byte // by id: the bytes of its block
	tailsHost           []float32
	listed              int // as the pool's

	slots, tails, tableDev, pos, seat, blocks, count compute.Tensor
}

// newPoolWorld has sequences of up to most blocks, the first of which they share.
func newPoolWorld(t testing.TB, cfg poolConfig, seats, most int, seed uint64) *poolWorld {
	d, g := open(t)
	var err error
	w := &poolWorld{TB: t, d: d, g: g, rng: rand.New(rand.NewPCG(seed, 1)), seats: seats, most: most, shared: most / 2}
	t.Cleanup(func() {
		var err error
		if w.p != nil {
			err = w.p.close()
		}
		if w.arena != nil {
			err = errors.Join(err, d.Context().FreeHost(w.arena))
		}
		if err != nil {
			t.Error(err)
		}
	})
	l := cfg.layout
	cfg.columns = w.shared + seats*(most-w.shared) + 3
	cfg.stride = l.BlockBytes() + cfg.stride // what is given is the gap
	if w.arena, err = d.Context().AllocHost((cfg.ids() + 1) * cfg.stride); err != nil {
		t.Fatal(err)
	}
	for i := range w.arena {
		w.arena[i] = byte(w.rng.Uint32())
	}
	cfg.pages = uintptr(unsafe.Pointer(unsafe.SliceData(w.arena)))
	if w.p, err = newPool(d, w.g, cfg); err != nil {
		t.Fatal(err)
	}
	w.cfg, w.twin = cfg, newPoolTwin(cfg)
	alloc := func(t dtype.Type, n int) compute.Tensor {
		x, err := d.Alloc(t, max(n, 1))
		if err != nil {
			w.Fatal(err)
		}
		return x
	}
	w.slots = alloc(dtype.U8, cfg.slots*l.BlockBytes())
	w.tailsHost = make([]float32, cfg.layers*seats*l.Heads*2*l.Dim*l.Block)
	w.tails = alloc(dtype.F32, len(w.tailsHost))
	w.tableDev = alloc(dtype.I32, seats*most)
	w.pos, w.seat = alloc(dtype.I32, cfg.rows), alloc(dtype.I32, cfg.rows)
	w.blocks, w.count = alloc(dtype.I32, cfg.layers*cfg.rows*l.Heads*cfg.width), alloc(dtype.I32, cfg.layers*cfg.rows*l.Heads)
	for s := range seats {
		for b := range most {
			c := b
			if b >= w.shared {
				c = w.shared + s*(most-w.shared) + b - w.shared
			}
			w.table = append(w.table, int32(c))
		}
	}
	d.Upload(w.tableDev, bytesOf(w.table))
	w.want = make([][]byte, cfg.ids())
	for id := range w.want {
		w.want[id] = make([]byte, l.BlockBytes())
	}
	all := make([]int32, cfg.ids())
	for i := range all {
		all[i] = int32(i)
	}
	w.setPages(all)
	return w
}

// setPages gives blocks pages of their own, with what the arena holds there.
func (w *poolWorld) setPages(ids []int32) {
	pages := slices.Clone(ids)
	for i := range pages {
		pages[i] = (ids[i]*7 + 3) % int32(w.cfg.ids()+1)
	}
	if w.cfg.ids()%7 == 6 { // 7 would not reach all
		for i := range pages {
			pages[i] = ids[i] + 1
		}
	}
	w.p.setPages(ids, pages)
	for i, id := range ids {
		w.twin.page[id] = pages[i]
		copy(w.want[id], w.page(id))
	}
}

func (w *poolWorld) page(id int32) []byte {
	return w.arena[int(w.twin.page[id])*w.cfg.stride:][:w.cfg.layout.BlockBytes()]
}

func (w *poolWorld) cache(layer int) cacheArgs {
	return cacheArgs{l: cuda.LayoutOf(w.cfg.layout), layer: int32(layer), seats: int32(w.seats), most: int32(w.most), columns: int32(w.cfg.columns),
		table: w.tableDev.Addr, slotOf: w.p.args.slotOf, slots: w.slots.Addr, tails: w.tails.Addr}
}

func (w *poolWorld) rows(n int) rowsArgs {
	return rowsArgs{n: int32(n), pos: w.pos.Addr, seat: w.seat.Addr}
}

func (w *poolWorld) selection(layer int) selectionArgs {
	at := uintptr(layer * w.cfg.rows * w.cfg.layout.Heads * 4)
	return selectionArgs{places: int32(w.cfg.width), blocks: w.blocks.Addr + at*uintptr(w.cfg.width), count: w.count.Addr + at}
}

// id is block_id of step.cuh.
func (w *poolWorld) id(layer, head int, column int32) int32 {
	return int32((layer*w.cfg.layout.Heads+head)*w.cfg.columns) + column
}

// same compares the pool with its twin: who is in a slot, since when, and with what bytes.
func (w *poolWorld) same(what string) {
	w.Helper()
	if err := w.p.check(); err != nil {
		w.Fatalf("%s: %v", what, err)
	}
	slotOf, used, data := make([]int32, w.cfg.ids()), make([]int64, w.cfg.slots), make([]byte, w.slots.Bytes())
	w.d.Download(bytesOf(slotOf), w.p.memory[0])
	w.d.Download(bytesOf(used), w.p.memory[3])
	w.d.Download(data, w.slots)
	if err := w.d.Sync(); err != nil {
		w.Fatal(err)
	}
	size := w.cfg.layout.BlockBytes()
	for id, slot := range slotOf {
		time, ok := w.twin.held[int32(id)]
		switch {
		case ok != (slot >= 0):
			w.Fatalf("%s: block %d has slot %d, should have one: %v", what, id, slot, ok)
		case !ok:
		case used[slot] != time:
			w.Fatalf("%s: block %d was used at %d, should be %d", what, id, used[slot], time)
		case !bytes.Equal(data[int(slot)*size:][:size], w.want[id]):
			w.Fatalf("%s: block %d has other bytes in slot %d", what, id, slot)
		}
	}
}

func (w *poolWorld) sameCounts() {
	w.Helper()
	layers, rows := w.p.counts()
	for i, got := range layers {
		got.faulty = 0
		if got != w.twin.layer[i] {
			w.Fatalf("layer %d of %d counted %+v, should be %+v", i, w.cfg.layers, got, w.twin.layer[i])
		}
	}
	for i, got := range rows {
		got.faulty = 0
		if got != w.twin.row[i] {
			w.Fatalf("row %d counted %+v, should be %+v", i, got, w.twin.row[i])
		}
	}
}

// random rows: seats with own blocks of theirs, or nobody's; and what they select in each
// layer. Returns the rows' positions and seats, and the wanted ids of each layer by place.
func (w *poolWorld) random(n int, rarely float64) (pos, seat []int32, want [][]int32) {
	l, rng := w.cfg.layout, w.rng
	seat = make([]int32, n)
	for i, s := range rng.Perm(w.seats)[:n] {
		seat[i] = int32(s)
	}
	pos = make([]int32, n)
	for i := range pos {
		own := w.shared + rng.IntN(w.most-w.shared)
		pos[i] = int32(own*l.Block + rng.IntN(l.Block))
		switch {
		case rng.Float64() < 0.15:
			pos[i] = int32(own*l.Block + l.Block - 1) // full
		case rng.Float64() < 0.1:
			pos[i] = int32(rng.IntN(min(w.cfg.width, w.shared) * l.Block)) // few blocks, all of them
			if pos[i]%int32(l.Block) == int32(l.Block)-1 {
				pos[i]-- // the shared ones are full long ago
			}
			if l.Block == 1 {
				pos[i] = -1
			}
		case rng.Float64() < 0.1:
			pos[i] = -1
		}
	}
	// What was selected once stays likely, as it is with a model's rows.
	favour := rng.IntN(w.most)
	for layer := range w.cfg.layers {
		blocks, count := make([]int32, n*l.Heads*w.cfg.width), make([]int32, n*l.Heads)
		ids := slices.Repeat([]int32{-1}, n*l.Heads*w.cfg.width)
		for i := range n * l.Heads {
			row, head := i/l.Heads, i%l.Heads
			own := int(pos[row]) / l.Block
			if pos[row] < 0 {
				count[i] = int32(rng.IntN(w.cfg.width + 1)) // of a row that was: nobody reads it
				continue
			}
			var chosen []int32
			if own <= w.cfg.width && rng.IntN(2) == 0 {
				count[i] = -1
				for b := range own {
					chosen = append(chosen, int32(b))
				}
			} else {
				k := min(rng.IntN(w.cfg.width), own)
				for b := range own {
					near := (b+layer+favour)%w.most < w.most/3
					if len(chosen) < k && (near || rng.Float64() < rarely) {
						chosen = append(chosen, int32(b))
					}
				}
				copy(blocks[i*w.cfg.width:], append(slices.Clone(chosen), int32(own)))
				count[i] = int32(len(chosen) + 1)
			}
			for j, b := range chosen {
				ids[i*w.cfg.width+j] = w.id(layer, head, w.table[int(seat[row])*w.most+int(b)])
			}
			w.twin.layer[layer].selected += uint32(len(chosen) + 1)
			w.twin.row[row].selected += uint32(len(chosen) + 1)
		}
		at := layer * w.cfg.rows * l.Heads
		w.put(w.blocks, at*w.cfg.width, blocks)
		w.put(w.count, at, count)
		want = append(want, ids)
	}
	w.put(w.pos, 0, pos)
	w.put(w.seat, 0, seat)
	return pos, seat, want
}

func (w *poolWorld) put(x compute.Tensor, at int, v []int32) {
	x.Addr += uintptr(at * 4)
	w.d.Upload(x, bytesOf(v))
}

// fullOnes are the ids that are full after a step, by place, with their bytes in want.
func (w *poolWorld) fullOnes(pos, seat []int32, from, layers int) []int32 {
	l := w.cfg.layout
	ids := slices.Repeat([]int32{-1}, layers*len(pos)*l.Heads)
	for i := range ids {
		head, row, layer := i%l.Heads, i/l.Heads%len(pos), from+i/l.Heads/len(pos)
		if pos[row] < 0 || int(pos[row])%l.Block != l.Block-1 {
			continue
		}
		ids[i] = w.id(layer, head, w.table[int(seat[row])*w.most+int(pos[row])/l.Block])
		tail := w.tailsHost[((layer*w.seats+int(seat[row]))*l.Heads+head)*2*l.Dim*l.Block:]
		l.EncodeBlock(w.want[ids[i]], tail[:l.Dim*l.Block], tail[l.Dim*l.Block:2*l.Dim*l.Block])
		w.twin.layer[layer].sealed++
		w.twin.row[row].sealed++
	}
	return ids
}

func (w *poolWorld) newTails() {
	for i := range w.tailsHost {
		w.tailsHost[i] = float32(w.rng.NormFloat64())
	}
	w.d.Upload(w.tails, compute.F32s(w.tailsHost, len(w.tailsHost)).Data)
}

// wanted and sealed are the twin's share of resolve and full.
func (w *poolWorld) wanted(layer int, ids []int32) {
	heads := w.cfg.layout.Heads
	base := w.twin.tail
	w.twin.want(ids, true, func(i int) (int, int) { return layer, i / w.cfg.width / heads }, false)
	if w.cfg.keepSelected {
		for _, id := range w.twin.byTime(base) {
			for head := range heads {
				if first := w.id(layer, head, 0); id >= first && id < first+int32(w.cfg.columns) {
					delete(w.twin.held, id)
					w.twin.layer[layer].evicted++
				}
			}
		}
	}
}

func (w *poolWorld) sealed(from, n int, ids []int32) {
	heads := w.cfg.layout.Heads
	w.twin.want(ids, false, func(i int) (int, int) { return from + i/heads/n, i / heads % n }, true)
}

// step posts a step of n rows and has the twin make it.
func (w *poolWorld) step(n int, rarely float64, each bool) {
	w.Helper()
	w.twin.begin()
	w.newTails()
	pos, seat, want := w.random(n, rarely)
	w.p.begin(w.g.stream)
	w.post(n, each)
	var full []int32
	for layer, ids := range want {
		w.wanted(layer, ids)
		if w.twin.lackedSlots {
			w.Fatal("the test's pool is too small")
		}
		if each {
			ids := w.fullOnes(pos, seat, layer, 1)
			w.sealed(layer, n, ids)
			full = append(full, ids...)
		}
	}
	if !each {
		full = w.fullOnes(pos, seat, 0, w.cfg.layers)
		w.sealed(0, n, full)
	}
	w.same("step")
	w.sameCounts()
	for _, id := range full {
		if id >= 0 && !bytes.Equal(w.page(id), w.want[id]) {
			w.Fatalf("block %d has other bytes in its page", id)
		}
	}
}

// post is a step's launches, but for the first.
func (w *poolWorld) post(n int, each bool) {
	p, rows := w.p, w.rows(n)
	seal := func(c cacheArgs, layers int) {
		p.full(p.g.stream, c, rows, layers)
		p.seal(p.g.stream, c, rows, layers)
		p.fork()
		p.store(p.stream, c, rows, layers)
		p.join()
	}
	for layer := range w.cfg.layers {
		c := w.cache(layer)
		p.bring(c, rows, w.selection(layer)).arrived()
		if each {
			seal(c, 1)
		}
	}
	if !each {
		seal(w.cache(0), w.cfg.layers)
	}
	p.report(p.g.stream)
}

// place is a list between steps.
func (w *poolWorld) place(ids []int32, fetch bool) {
	w.Helper()
	w.p.place(ids, w.cache(0), fetch)
	for part := range slices.Chunk(ids, w.cfg.lists) {
		if w.listed += len(part); w.listed > w.cfg.lists {
			w.twin.compact()
			w.listed = len(part)
		}
		w.twin.want(part, fetch, func(int) (int, int) { return w.cfg.layers, -1 }, false)
		if w.twin.lackedSlots {
			w.Fatal("the test's pool is too small")
		}
	}
	if fetch {
		return
	}
	slotOf, state := make([]int32, w.cfg.ids()), make([]poolState, 1)
	w.d.Download(bytesOf(slotOf), w.p.memory[0])
	w.d.Download(bytesOf(state), w.p.memory[8])
	if state[0].fetch != 0 {
		w.Fatalf("%d blocks are left to gather", state[0].fetch)
	}
	for _, id := range ids {
		if slot := slotOf[id]; slot >= 0 {
			x := compute.Describe(dtype.U8, len(w.want[id]))
			x.Addr = w.slots.Addr + uintptr(int(slot)*len(w.want[id]))
			w.d.Upload(x, w.want[id])
		}
	}
}

func (w *poolWorld) drop(columns []int32) {
	w.p.drop(columns)
	for _, c := range columns {
		for id := c; id < int32(w.cfg.ids()); id += int32(w.cfg.columns) {
			delete(w.twin.held, id)
			w.twin.page[id] = -1
		}
	}
}

// poolShape is a small pool: of one layer's wants at most, or with room for more.
func poolShape(l compute.Layout, layers, rows, width, slots int) poolConfig {
	return poolConfig{layout: l, layers: layers, slots: slots, rows: rows, width: width, lists: 16, threads: 64, copiers: 2}
}

// TestPoolSteps: after each of many steps, lists and drops the same blocks are in slots as
// the twin has, of the same times, with the bytes of their pages, and the same is counted.
func TestPoolSteps(t *testing.T) {
	small := compute.Layout{Heads: 2, Dim: 4, Block: 4, Type: compute.KVBF16}
	odd := compute.Layout{Heads: 3, Dim: 5, Block: 3, Type: compute.KVQ4}
	one := compute.Layout{Heads: 1, Dim: 8, Block: 1, Type: compute.KVF16}
	q8 := compute.Layout{Heads: 2, Dim: 8, Block: 8, Type: compute.KVQ8}
	for _, c := range []struct {
		name  string
		cfg   poolConfig
		seats int
		most  int
		keep  bool
		each  bool
	}{
		{"tight", poolShape(small, 3, 6, 5, 6*2*5), 8, 14, false, false},
		{"room", poolShape(small, 3, 6, 5, 200), 8, 14, false, false},
		{"all", poolShape(small, 2, 4, 4, 2000), 5, 12, false, false},
		{"each layer", poolShape(small, 4, 5, 6, 90), 7, 16, false, true},
		{"odd", poolShape(odd, 3, 5, 4, 110), 6, 13, false, false},
		{"block of one", poolShape(one, 2, 6, 7, 60), 8, 20, false, true},
		{"q8 kept as selected", poolShape(q8, 3, 6, 5, 150), 8, 14, true, false},
		{"many threads", poolShape(small, 2, 40, 5, 800), 60, 14, false, false},
		{"many rows", poolShape(small, 2, 96, 63, 96*2*63), 100, 80, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.keepSelected = c.keep
			steps := poolSteps(t)
			switch c.name {
			case "odd":
				c.cfg.stride = 3
			case "many threads":
				c.cfg.threads = 1024
			case "many rows":
				c.cfg.threads, c.cfg.copiers = 256, 16
				steps /= 10
			}
			w := newPoolWorld(t, c.cfg, c.seats, c.most, uint64(len(c.name)))
			w.same("new")
			for range steps {
				n := 1 + w.rng.IntN(c.cfg.rows)
				w.step(n, w.rng.Float64(), c.each)
				switch w.rng.IntN(6) {
				case 0:
					ids := make([]int32, 1+w.rng.IntN(2*w.cfg.lists))
					for i := range ids {
						ids[i] = int32(w.rng.IntN(w.cfg.ids()))
					}
					w.place(ids, w.rng.IntN(2) == 0)
					w.same("place")
				case 1:
					columns := make([]int32, 1+w.rng.IntN(w.cfg.lists+3))
					for i := range columns {
						columns[i] = int32(w.rng.IntN(w.cfg.columns))
					}
					w.drop(columns)
					w.same("drop")
					var ids []int32
					for _, c := range columns {
						for id := c; id < int32(w.cfg.ids()); id += int32(w.cfg.columns) {
							if !slices.Contains(ids, id) {
								ids = append(ids, id)
							}
						}
					}
					w.setPages(ids)
				}
			}
		})
	}
}

// poolSteps is how many steps a random test makes.
func poolSteps(t *testing.T) int {
	if testing.Short() {
		return 20
	}
	return 400
}

// TestPoolGraph: a step that is recorded once serves every other.
func TestPoolGraph(t *testing.T) {
	l := compute.Layout{Heads: 2, Dim: 8, Block: 4, Type: compute.KVBF16}
	const n = 6
	w := newPoolWorld(t, poolShape(l, 4, n, 5, 130), 8, 14, 5)
	g := w.g
	if err := g.ctx.BeginCapture(g.stream); err != nil {
		t.Fatal(err)
	}
	w.p.begin(w.g.stream)
	w.post(n, false)
	graph, err := g.ctx.EndCapture(g.stream)
	if err != nil {
		t.Fatal(err)
	}
	exec, err := g.ctx.Instantiate(graph)
	if err != nil {
		t.Fatal(err)
	}
	for range poolSteps(t) / 4 {
		w.twin.begin()
		w.newTails()
		pos, seat, want := w.random(n, 0.3)
		g.ctx.LaunchGraph(exec, g.stream)
		for layer, ids := range want {
			w.wanted(layer, ids)
		}
		w.sealed(0, n, w.fullOnes(pos, seat, 0, w.cfg.layers))
		w.same("graph")
		w.sameCounts()
	}
	if err := errors.Join(g.ctx.FreeGraphExec(exec), g.ctx.FreeGraph(graph)); err != nil {
		t.Error(err)
	}
}

// TestPoolFaults: what can not be had is counted, for its layer and row, and does no harm to
// the pool or to others.
func TestPoolFaults(t *testing.T) {
	l := compute.Layout{Heads: 1, Dim: 4, Block: 4, Type: compute.KVF32}
	post := func(t *testing.T, w *poolWorld, pos []int32, blocks [][]int32) ([]poolCount, []poolCount) {
		n := len(pos)
		w.put(w.pos, 0, pos)
		seat := make([]int32, n)
		for i := range seat {
			seat[i] = int32(i)
		}
		w.put(w.seat, 0, seat)
		for i, b := range blocks {
			w.put(w.blocks, i*w.cfg.width, b)
			w.put(w.count, i, []int32{int32(len(b)) + 1})
		}
		w.p.begin(w.g.stream)
		w.p.resolve(w.cache(0), w.rows(n), w.selection(0))
		w.p.gather(w.g.stream, w.cache(0))
		w.p.full(w.g.stream, w.cache(0), w.rows(n), w.cfg.layers)
		w.p.seal(w.g.stream, w.cache(0), w.rows(n), w.cfg.layers)
		w.p.store(w.g.stream, w.cache(0), w.rows(n), w.cfg.layers)
		w.p.report(w.g.stream)
		if err := w.p.check(); err != nil {
			t.Fatal(err)
		}
		return w.p.counts()
	}
	held := func(w *poolWorld) (n int) {
		slotOf := make([]int32, w.cfg.ids())
		w.d.Download(bytesOf(slotOf), w.p.memory[0])
		for _, s := range slotOf {
			if s >= 0 {
				n++
			}
		}
		return n
	}
	t.Run("slots", func(t *testing.T) {
		w := newPoolWorld(t, poolShape(l, 1, 3, 4, 5), 3, 16, 1)
		layers, rows := post(t, w, []int32{40, 40, 40}, [][]int32{{0, 1, 2, 3}, {0, 1, 4, 5}, {2, 6, 7}})
		lost := rows[0].slotless + rows[1].slotless + rows[2].slotless
		if c := layers[0]; c.slotless != 3 || lost != 3 || c.misses != 5 || c.selected != 14 || c.err("layer 0") == nil || held(w) != 5 {
			t.Errorf("%+v, rows %+v, %d in slots", c, rows, held(w))
		}
		layers, _ = post(t, w, []int32{40, 40}, [][]int32{{8, 9}, {9}}) // and goes on
		if c := layers[0]; c.misses != 3 || c.slotless != 0 || c.evicted != 3 || c.err("layer 0") != nil {
			t.Errorf("afterwards %+v", c)
		}
	})
	t.Run("pages", func(t *testing.T) {
		w := newPoolWorld(t, poolShape(l, 1, 2, 4, 9), 2, 16, 2)
		w.drop([]int32{1, 3})
		layers, rows := post(t, w, []int32{40, 40}, [][]int32{{0, 1, 2}, {1, 3}})
		if c := layers[0]; c.pageless != 3 || rows[0].pageless != 1 || rows[1].pageless != 2 || c.misses != 2 || held(w) != 2 || c.err("layer 0") == nil {
			t.Errorf("%+v, rows %+v, %d in slots", c, rows, held(w))
		}
	})
	t.Run("width", func(t *testing.T) {
		w := newPoolWorld(t, poolShape(l, 1, 2, 4, 9), 2, 16, 3)
		w.put(w.pos, 0, []int32{40, 8})
		w.put(w.seat, 0, []int32{0, 1})
		w.put(w.count, 0, []int32{-1, -1})
		w.p.begin(w.g.stream)
		w.p.resolve(w.cache(0), w.rows(2), w.selection(0))
		w.p.report(w.g.stream)
		if err := w.d.Sync(); err != nil {
			t.Fatal(err)
		}
		layers, rows := w.p.counts()
		if c := layers[0]; c.overflow != 6 || rows[0].overflow != 6 || rows[1].overflow != 0 || c.misses != 4 || c.err("layer 0") == nil {
			t.Errorf("%+v, rows %+v", c, rows)
		}
	})
	t.Run("full blocks without a slot", func(t *testing.T) {
		w := newPoolWorld(t, poolShape(l, 3, 2, 4, 4), 2, 16, 4)
		w.newTails()
		pos := []int32{43, 43}
		layers, rows := post(t, w, pos, [][]int32{{0, 1}, {0, 1}})
		if err := w.d.Sync(); err != nil {
			t.Fatal(err)
		}
		full := w.fullOnes(pos, []int32{0, 1}, 0, 3)
		for _, id := range full {
			if !bytes.Equal(w.page(id), w.want[id]) {
				t.Errorf("block %d has other bytes in its page", id)
			}
		}
		for i, c := range layers[:3] {
			if c.sealed != 2 || c.slotless != 0 {
				t.Errorf("layer %d: %+v", i, c)
			}
		}
		if rows[0].sealed != 3 || rows[1].sealed != 3 || held(w) != 4 {
			t.Errorf("rows %+v, %d in slots", rows, held(w))
		}
		w.drop([]int32{w.table[10], w.table[16+10]})
		if layers, _ = post(t, w, pos, [][]int32{{0, 1}, {0, 1}}); layers[0].slotless+layers[1].slotless+layers[2].slotless != 2 {
			t.Errorf("without pages %+v", layers)
		}
	})
}

// TestPoolConfig: what can not be numbered or launched is refused.
func TestPoolConfig(t *testing.T) {
	good := poolShape(compute.Layout{Heads: 2, Dim: 4, Block: 4}, 2, 4, 4, 10)
	good.columns = 10
	if err := good.validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*poolConfig){
		"slots":   func(c *poolConfig) { c.slots = 0 },
		"rows":    func(c *poolConfig) { c.rows = mostRows + 1 },
		"ids":     func(c *poolConfig) { c.columns = 1 << 30 },
		"wants":   func(c *poolConfig) { c.width = 1 << 29 },
		"threads": func(c *poolConfig) { c.threads = 100 },
		"lists":   func(c *poolConfig) { c.lists = 0 },
	} {
		c := good
		change(&c)
		if c.validate() == nil {
			t.Errorf("%s: %+v is taken", name, c)
		}
	}
}
