//go:build linux && amd64

package step

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// poolBench is a GPU with memory for a benchmark of the pool.
type poolBench struct {
	testing.TB
	d      *cuda.Device
	g      *gpu
	p      *pool
	events []driver.Event
}

func newPoolBench(b testing.TB, cfg poolConfig) *poolBench {
	d, g := open(b)
	w := &poolBench{TB: b, d: d, g: g}
	var err error
	w.p, err = newPool(d, w.g, cfg)
	b.Cleanup(func() {
		if w.p != nil {
			err = w.p.close()
		}
		for _, e := range w.events {
			err = errors.Join(err, w.g.ctx.FreeEvent(e))
		}
		if err != nil {
			b.Error(err)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	return w
}

func (w *poolBench) alloc(t dtype.Type, n int) compute.Tensor {
	x, err := w.d.Alloc(t, n)
	if err != nil {
		w.Fatal(err)
	}
	return x
}

func (w *poolBench) upload(v []int32) uintptr {
	x := w.alloc(dtype.I32, len(v))
	w.d.Upload(x, bytesOf(v))
	return x.Addr
}

func (w *poolBench) event(s driver.Stream) driver.Event {
	e, err := w.g.ctx.NewEvent(true)
	if err != nil {
		w.Fatal(err)
	}
	w.events = append(w.events, e)
	w.g.ctx.Record(e, s)
	return e
}

// us is the time between two events.
func (w *poolBench) us(from, to driver.Event) float64 {
	ms, err := w.g.ctx.Elapsed(from, to)
	if err != nil {
		w.Fatal(err)
	}
	return ms * 1e3
}

func (w *poolBench) sync() {
	if err := errors.Join(w.d.Sync(), w.g.ctx.Synchronize(w.p.stream)); err != nil {
		w.Fatal(err)
	}
}

// BenchmarkPoolResolve is the pool's part of steps of an 8B model whose rows select 64
// blocks each, of which some are others than in the step before. There are as many slots
// as blocks are selected: what goes is scattered among what stays, and little more than
// what is missing may go.
func BenchmarkPoolResolve(b *testing.B) {
	l := compute.Layout{Heads: 2, Dim: 128, Block: 64, Kernel: 32, Stride: 16, Type: compute.KVBF16}
	const layers, places, most, sets = 32, 64, 512, 4
	for _, rows := range []int{48, 96} {
		for _, misses := range []int{0, 2, 16} {
			b.Run(fmt.Sprintf("rows=%d/misses=%d", rows, misses), func(b *testing.B) {
				wants := rows * l.Heads * (places - 1)
				w := newPoolBench(b, poolConfig{layout: l, layers: layers, columns: rows * most, slots: layers * wants, rows: rows,
					width: places - 1, lists: 1 << 12, stride: 1, threads: 1024, copiers: 4})
				rng := rand.New(rand.NewPCG(3, 4))
				pos, seat := make([]int32, rows), make([]int32, rows)
				for i := range pos {
					pos[i], seat[i] = int32(most*l.Block-10), int32(i)
				}
				table := make([]int32, rows*most)
				for i, c := range rng.Perm(len(table)) {
					table[i] = int32(c)
				}
				w.g.ctx.Memset(w.g.stream, w.p.args.pageOf, 0, w.p.cfg.ids()*4)
				c := cacheArgs{l: cuda.LayoutOf(l), seats: int32(rows), most: most, columns: int32(rows * most), table: w.upload(table), slotOf: w.p.args.slotOf}
				r := rowsArgs{n: int32(rows), pos: w.upload(pos), seat: w.upload(seat)}
				// Of set s the misses/2 % of all places from s·misses/2 % on select another block
				// than in all other sets: those and the ones of the set before are missing.
				count := make([]int32, layers*rows*l.Heads)
				for i := range count {
					count[i] = places
				}
				counts := w.upload(count)
				var execs [sets]driver.GraphExec
				var graphs [sets]driver.Graph
				for s := range sets {
					blocks := make([]int32, 0, layers*rows*l.Heads*places)
					for i := range count {
						for place := range places - 1 {
							n := int32(place * (most / places))
							part := (i*(places-1) + place) * 37 % 200
							if part >= s*misses && part < (s+1)*misses {
								n++
							}
							blocks = append(blocks, n)
						}
						blocks = append(blocks, most-1)
					}
					all := w.upload(blocks)
					if err := w.g.ctx.BeginCapture(w.g.stream); err != nil {
						b.Fatal(err)
					}
					for layer := range layers {
						at := uintptr(layer * rows * l.Heads * 4)
						c.layer = int32(layer)
						w.p.resolve(c, r, selectionArgs{places: places, blocks: all + at*places, count: counts + at})
					}
					w.p.report(w.g.stream)
					var err1, err2 error
					graphs[s], err1 = w.g.ctx.EndCapture(w.g.stream)
					execs[s], err2 = w.g.ctx.Instantiate(graphs[s])
					if err := errors.Join(err1, err2); err != nil {
						b.Fatal(err)
					}
				}
				defer func() {
					for s := range sets {
						if err := errors.Join(w.g.ctx.FreeGraphExec(execs[s]), w.g.ctx.FreeGraph(graphs[s])); err != nil {
							b.Error(err)
						}
					}
				}()
				step := func(s int) [3]driver.Event {
					e := [3]driver.Event{w.event(w.g.stream)}
					w.p.begin(w.g.stream)
					e[1] = w.event(w.g.stream)
					w.g.ctx.LaunchGraph(execs[s%sets], w.g.stream)
					e[2] = w.event(w.g.stream)
					return e
				}
				for s := range 2 * sets {
					step(s)
				}
				w.sync()
				var all [][3]driver.Event
				for b.Loop() {
					all = append(all, step(len(all)))
				}
				w.sync()
				var begin, resolve float64
				for _, e := range all {
					begin += w.us(e[0], e[1])
					resolve += w.us(e[1], e[2])
				}
				n := float64(len(all))
				layersCounted, _ := w.p.counts()
				missed := 0
				for _, c := range layersCounted[:layers] {
					missed += int(c.misses)
					if err := c.err("layer"); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(resolve/n/layers, "us/layer")
				b.ReportMetric(begin/n, "us/begin")
				b.ReportMetric(100*float64(missed)/layers/float64(wants), "%missed")
			})
		}
	}
}

// BenchmarkPoolGather copies blocks over the bus: alone, and beside a kernel that takes all
// of the memory's bandwidth; that one's loss is told too.
func BenchmarkPoolGather(b *testing.B) {
	for _, kv := range []compute.KVType{compute.KVBF16, compute.KVQ8} {
		l := compute.Layout{Heads: 2, Dim: 128, Block: 64, Kernel: 32, Stride: 16, Type: kv}
		const most = 4000
		size := l.BlockBytes()
		for _, copiers := range []int{4, 8} {
			cfg := poolConfig{layout: l, layers: 1, columns: most, slots: most, rows: 1, width: 1, lists: most, stride: size,
				threads: 1024, copiers: copiers}
			b.Run(fmt.Sprintf("%v/blocks=%d", kv, copiers), func(b *testing.B) {
				w := newPoolBench(b, cfg)
				ctx := w.g.ctx
				arena, err := ctx.AllocHost(most * size)
				if err != nil {
					b.Fatal(err)
				}
				defer func() {
					if err := ctx.FreeHost(arena); err != nil {
						b.Error(err)
					}
				}()
				w.p.args.pages = uintptr(unsafe.Pointer(unsafe.SliceData(arena)))
				ids := make([]int32, most)
				for i, id := range rand.New(rand.NewPCG(1, 1)).Perm(most) {
					ids[i] = int32(id)
				}
				slots := w.alloc(dtype.U8, most*size)
				w.p.setPages(ids, ids)
				c := cacheArgs{l: cuda.LayoutOf(l), slots: slots.Addr, slotOf: w.p.args.slotOf}

				// The other kernel: the norm of many rows.
				var norm driver.Function
				if err := w.g.load("dense", map[string]*driver.Function{"step_norm": &norm}); err != nil {
					b.Fatal(err)
				}
				const n, width = 1 << 15, 4096
				type normArgs struct {
					out, x, weight uintptr
					width          int32
					eps, scale     float32
					_              int32
				}
				a := normArgs{out: w.alloc(dtype.BF16, n*width).Addr, x: w.alloc(dtype.F32, n*width).Addr, weight: w.alloc(dtype.F32, width).Addr,
					width: width, eps: 1e-5, scale: 1}
				norms := func(times int) {
					for range times {
						launch(w.g, norm, line(n), 512, 0, &a)
					}
				}
				gathers := func(times int) {
					for range times {
						w.p.gather(w.p.stream, c)
					}
				}
				// time posts both from one moment on, and returns how long each took.
				time := func(gather, norm int) (float64, float64) {
					from := w.event(w.g.stream)
					w.p.fork()
					gathers(gather)
					to := w.event(w.p.stream)
					norms(norm)
					end := w.event(w.g.stream)
					w.sync()
					return w.us(from, to), w.us(from, end)
				}
				time(1, 3)
				for _, blocks := range []int{100, 1000, 4000} {
					w.p.drop(ids)
					w.p.setPages(ids, ids)
					wa := wantArgs{p: w.p.args, c: c, list: w.p.list.Addr, span: int32(blocks), fetch: 1}
					w.d.Upload(w.p.list, bytesOf(ids[:blocks]))
					w.p.compact(w.g.stream, 0)
					w.p.want(w.g.stream, w.p.wantListed, &wa)
					repeat := 1 + 4000/blocks
					gigabytes := float64(blocks*size*repeat) / 1e3
					alone, _ := time(repeat, 0)
					_, other := time(0, 20)
					beside, _ := time(repeat, 2+int(2.5*alone/(other/20)))
					_, slowed := time(2+int(2.5*other/(alone/float64(repeat))), 20)
					b.ReportMetric(gigabytes/alone, fmt.Sprintf("GB/s-%d", blocks))
					b.ReportMetric(gigabytes/beside, fmt.Sprintf("GB/s-%d-beside", blocks))
					b.ReportMetric(100*(slowed/other-1), fmt.Sprintf("%%slowed-%d", blocks))
					b.ReportMetric(float64(n*width*6)*20/other/1e3, "GB/s-norm")
				}
			})
		}
	}
}

// BenchmarkPoolSeal: two of 96 rows are full, in all layers of an 8B model; or none.
func BenchmarkPoolSeal(b *testing.B) {
	for _, kv := range []compute.KVType{compute.KVBF16, compute.KVQ8, compute.KVQ4} {
		for _, full := range []int{0, 2, 8} {
			b.Run(fmt.Sprintf("%v/full=%d", kv, full), func(b *testing.B) {
				l := compute.Layout{Heads: 2, Dim: 128, Block: 64, Kernel: 32, Stride: 16, Type: kv}
				const rows, layers, most, pages = 96, 32, 8, 2000
				w := newPoolBench(b, poolConfig{layout: l, layers: layers, columns: rows * most, slots: 768, rows: rows, width: 7, lists: 64,
					stride: l.BlockBytes(), threads: 1024, copiers: 4})
				arena, err := w.g.ctx.AllocHost(pages * l.BlockBytes())
				if err != nil {
					b.Fatal(err)
				}
				defer func() {
					if err := w.g.ctx.FreeHost(arena); err != nil {
						b.Error(err)
					}
				}()
				w.p.args.pages = uintptr(unsafe.Pointer(unsafe.SliceData(arena)))
				page := make([]int32, w.p.cfg.ids())
				for i := range page {
					page[i] = int32(i % pages)
				}
				w.d.Upload(w.p.memory[1], bytesOf(page))
				pos, seat, table := make([]int32, most*rows), make([]int32, rows), make([]int32, rows*most)
				for i := range pos { // turns of other blocks, so that none has a slot when its comes
					pos[i], seat[i%rows] = int32(i/rows*l.Block), int32(i%rows)
					if i%rows < full {
						pos[i] += int32(l.Block) - 1
					}
				}
				for i := range table {
					table[i] = int32(i)
				}
				c := cacheArgs{l: cuda.LayoutOf(l), seats: rows, most: most, columns: rows * most, table: w.upload(table), slotOf: w.p.args.slotOf,
					slots: w.alloc(dtype.U8, 768*l.BlockBytes()).Addr, tails: w.alloc(dtype.F32, layers*rows*2*2*l.Dim*l.Block).Addr}
				r := rowsArgs{n: rows, seat: w.upload(seat)}
				turns := w.upload(pos)
				var sum [3]float64
				n := 0
				for b.Loop() {
					r.pos = turns + uintptr(n%most*rows*4)
					w.p.begin(w.g.stream)
					e := [4]driver.Event{w.event(w.g.stream)}
					w.p.full(w.g.stream, c, r, layers)
					e[1] = w.event(w.g.stream)
					w.p.seal(w.g.stream, c, r, layers)
					e[2] = w.event(w.g.stream)
					w.p.store(w.g.stream, c, r, layers)
					e[3] = w.event(w.g.stream)
					w.sync()
					for i := range sum {
						sum[i] += w.us(e[i], e[i+1])
					}
					n++
				}
				for i, name := range []string{"us/full", "us/seal", "us/store"} {
					b.ReportMetric(sum[i]/float64(n), name)
				}
			})
		}
	}
}
