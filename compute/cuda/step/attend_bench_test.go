//go:build linux && amd64

package step

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/dtype"
)

// timed records op(0) to op(n−1) as a graph, runs it a few times, and reports what one op
// took and how fast its bytes came.
func timed(b *testing.B, g *gpu, n, bytes int, op func(i int)) {
	b.Helper()
	if err := g.ctx.BeginCapture(g.stream); err != nil {
		b.Fatal(err)
	}
	for i := range n {
		op(i)
	}
	recorded, err := g.ctx.EndCapture(g.stream)
	if err != nil {
		b.Fatal(err)
	}
	x, err1 := g.ctx.Instantiate(recorded)
	from, err2 := g.ctx.NewEvent(true)
	to, err3 := g.ctx.NewEvent(true)
	if err := errors.Join(err1, err2, err3); err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := errors.Join(g.ctx.FreeGraphExec(x), g.ctx.FreeGraph(recorded), g.ctx.FreeEvent(from), g.ctx.FreeEvent(to)); err != nil {
			b.Error(err)
		}
	}()
	g.ctx.LaunchGraph(x, g.stream)
	best := 0.0
	for b.Loop() {
		for range 5 {
			g.ctx.Record(from, g.stream)
			g.ctx.LaunchGraph(x, g.stream)
			g.ctx.Record(to, g.stream)
			if err := errors.Join(g.ctx.Synchronize(g.stream), g.ctx.Err()); err != nil {
				b.Fatal(err)
			}
			ms, err := g.ctx.Elapsed(from, to)
			if err != nil {
				b.Fatal(err)
			}
			if best == 0 || ms < best {
				best = ms
			}
		}
	}
	b.ReportMetric(best*1e3/float64(n), "us/op")
	b.ReportMetric(float64(bytes)*float64(n)/best/1e6, "GB/s")
	b.ReportMetric(0, "ns/op")
}

// attendCache is a cache of an 8B model's layer, with blocks in all slots: as many as
// some layers of the longest launch have, so that no cache of the GPU holds the next.
type attendCache struct {
	c       cacheArgs
	columns int
}

const (
	benchBytes = 1 << 30
	benchSeats = 96
	benchTails = 8 // sets of tails
)

func newAttendCache(b *testing.B, d *cuda.Device, g *gpu, kv compute.KVType) attendCache {
	b.Helper()
	l := compute.Layout{Heads: 2, Dim: 128, Block: 64, Kernel: 32, Stride: 16, Type: kv}
	alloc := func(t dtype.Type, shape ...int) uintptr {
		x, err := d.Alloc(t, shape...)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { d.Free(x) })
		return x.Addr
	}
	rng := rand.New(rand.NewPCG(3, uint64(kv)))
	const drawn = 64
	some := make([]byte, drawn*l.BlockBytes())
	for i := range drawn {
		l.EncodeBlock(some[i*l.BlockBytes():][:l.BlockBytes()], normals(rng, l.Block*l.Dim), normals(rng, l.Block*l.Dim))
	}
	n := benchBytes / l.BlockBytes() / drawn * drawn
	if testing.Short() {
		n = 2 * drawn
	}
	c := attendCache{columns: n / l.Heads}
	slots := alloc(dtype.U8, n*l.BlockBytes())
	for i := range n / drawn {
		to := compute.Describe(dtype.U8, len(some))
		to.Addr = slots + uintptr(i*len(some))
		if i == 0 {
			d.Upload(to, some)
		} else {
			g.ctx.Copy(g.stream, to.Addr, slots, len(some))
		}
	}
	slotOf := make([]int32, n)
	for i, s := range rng.Perm(n) {
		slotOf[i] = int32(s)
	}
	c.c = cacheArgs{l: cuda.LayoutOf(l), seats: benchSeats, columns: int32(c.columns), slotOf: put(b, d, slotOf), slots: slots,
		tails: alloc(dtype.F32, benchTails*benchSeats, l.Heads, 2, l.Block*l.Dim)}
	return c
}

// bench times launches of n rows that attend to blocks closed blocks and their own, of
// sequences of their own; every: to all that they have, by no list.
func (c attendCache) bench(b *testing.B, d *cuda.Device, g *gpu, a *attention, n, blocks int, every bool) {
	l := c.c.l
	const group = 16
	heads := int(l.Heads) * group
	sets := min(max(c.columns/(n*blocks), 1), 48)
	most := blocks + 1
	if n > int(c.c.seats) {
		b.Fatal("too many rows")
	}
	tables := make([]uintptr, sets)
	for s := range sets {
		table := make([]int32, int(c.c.seats)*most)
		for i := range n * most {
			table[i] = int32((s*n*blocks + i/most*blocks + i%most) % c.columns)
		}
		tables[s] = put(b, d, table)
	}
	pos, seat, count := make([]int32, n), make([]int32, n), make([]int32, n*int(l.Heads))
	var list []int32
	for r := range n {
		pos[r], seat[r] = int32(blocks*64+r%64), int32(r)
		for h := range int(l.Heads) {
			count[r*int(l.Heads)+h] = -1
			if !every {
				count[r*int(l.Heads)+h] = int32(most)
				for i := range most {
					list = append(list, int32(i))
				}
			}
		}
	}
	sel := selectionArgs{places: int32(most), count: put(b, d, count), blocks: put(b, d, list)}
	rows := rowsArgs{n: int32(n), pos: put(b, d, pos), seat: put(b, d, seat)}
	q := put(b, d, normals(rand.New(rand.NewPCG(4, 5)), n*heads*128))
	out := put(b, d, make([]uint8, 2*n*heads*128))
	layout := compute.Layout{Heads: int(l.Heads), Dim: int(l.Dim), Block: int(l.Block), Kernel: 32, Stride: 16, Type: compute.KVType(l.KV)}
	scratch, err := d.Alloc(dtype.U8, a.scratchBytes(g, layout, n, group, most))
	if err != nil {
		b.Fatal(err)
	}
	defer d.Free(scratch)
	ops := max(sets, 8)
	bytes := n * int(l.Heads) * blocks * int(l.BlockBytes)
	timed(b, g, ops, bytes, func(i int) {
		args := c.c
		args.table, args.most = tables[i%sets], int32(most)
		args.tails += uintptr(i % benchTails * benchSeats * int(l.Heads*l.Block*l.Dim) * 2 * 4)
		a.run(g, activations{addr: out}, q, args, rows, sel, group, most, scratch.Addr)
	})
}

// BenchmarkAttend is attention of one layer of an 8B model: 32 query heads on 2 KV heads of
// 128 channels, blocks of 64 tokens.
func BenchmarkAttend(b *testing.B) {
	d, g := open(b)
	for _, kv := range []compute.KVType{compute.KVBF16, compute.KVQ8, compute.KVQ4} {
		var a attention
		if err := a.load(g); err != nil {
			b.Fatal(err)
		}
		c := newAttendCache(b, d, g, kv)
		for _, n := range []int{1, 4, 16, 48, 96} {
			b.Run(fmt.Sprintf("%v/rows=%d", kv, n), func(b *testing.B) { c.bench(b, d, g, &a, n, 64, false) })
		}
		for _, n := range []int{1, 16, 32} {
			b.Run(fmt.Sprintf("%v/rows=%d/every=512", kv, n), func(b *testing.B) { c.bench(b, d, g, &a, n, 512, true) })
		}
	}
}
