//go:build linux && amd64

package step

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// BenchmarkSelecting is what a layer of an 8B model takes from the product of queries, keys
// and values to the blocks that rows attend to. Layers take turns, so that no cache holds
// the means of the next one, in a graph, so that what is measured is the GPU.
func BenchmarkSelecting(b *testing.B) {
	d, g := open(b)
	var s selecting
	if err := s.load(g); err != nil {
		b.Fatal(err)
	}
	for _, importance := range []bool{false, true} {
		for _, shape := range []struct{ rows, tokens int }{{1, 32 << 10}, {16, 32 << 10}, {58, 32 << 10}, {96, 32 << 10}, {1, 128 << 10}, {28, 128 << 10}, {1, 1 << 20}} {
			b.Run(fmt.Sprintf("importance=%v/rows=%d/tokens=%d", importance, shape.rows, shape.tokens), func(b *testing.B) {
				benchSelecting(b, d, g, &s, shape.rows, shape.tokens, importance)
			})
		}
	}
}

func benchSelecting(b *testing.B, d *cuda.Device, g *gpu, s *selecting, rows, tokens int, importance bool) {
	const heads, group = 2, 16
	l := compute.Layout{Heads: heads, Dim: 128, Block: 64, Kernel: 32, Stride: 16, Type: compute.KVBF16}
	p := compute.SelectParams{Init: 1, Local: 16, Query: 16, K: 64, ByQuery: true, ByScore: importance}
	blocks := tokens / l.Block
	columns := rows * blocks
	layerBytes := columns * heads * l.SummaryBytes()
	layers := min(32, max(2, (300<<20)/layerBytes))
	alloc := func(n int) uintptr {
		x, err := d.Alloc(dtype.U8, n)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { d.Free(x) })
		return x.Addr
	}
	rng := rand.New(rand.NewPCG(1, 2))
	// random fills n bytes with numbers of a few megabytes, again and again.
	random := func(t dtype.Type, n int) uintptr {
		v := make([]float32, min(n, 4<<20)/4)
		for i := range v {
			v[i] = float32(rng.NormFloat64())
		}
		size := compute.Describe(t, len(v)).Bytes()
		data := make([]byte, size)
		dtype.Encode(t, data, v)
		at := alloc((n + size - 1) / size * size)
		d.Upload(compute.Tensor{Type: dtype.U8, Dims: [4]int{size, 1, 1, 1}, Rank: 1, Addr: at}, data)
		for to := size; to < n; to += size {
			g.ctx.Copy(g.stream, at+uintptr(to), at, size)
		}
		return at
	}
	ints := func(v []int32) uintptr {
		at := alloc(4 * len(v))
		d.Upload(compute.Tensor{Type: dtype.I32, Dims: [4]int{len(v), 1, 1, 1}, Rank: 1, Addr: at}, compute.I32s(v, len(v)).Data)
		return at
	}
	table, pos, seat := make([]int32, columns), make([]int32, rows), make([]int32, rows)
	for i, c := range rng.Perm(columns) {
		table[i] = int32(c)
	}
	for r := range rows {
		pos[r], seat[r] = int32(tokens-64+(r*7+31)%64), int32(r)
	}
	const pairs = 64
	c := cacheArgs{l: cuda.LayoutOf(l), seats: int32(rows), most: int32(blocks), columns: int32(columns), table: ints(table),
		means: random(dtype.F16, layers*layerBytes), tails: random(dtype.F32, layers*rows*heads*2*l.Dim*l.Block*4)}
	at := rowsArgs{n: int32(rows), pos: ints(pos), seat: ints(seat)}
	inv := make([]int32, pairs)
	for i := range inv {
		inv[i] = int32(math.Float32bits(float32(math.Pow(10000, -float64(i)/pairs))))
	}
	a := appendArgs{c: c, rows: at, qkv: random(dtype.F32, 4*rows*(group+2)*heads*l.Dim), q: alloc(4 * rows * heads * group * l.Dim),
		angles: alloc(8 * rows * pairs), group: group, pairs: pairs}
	s.angles(g, &anglesArgs{rows: at, out: a.angles, inv: ints(inv), pairs: pairs, factor: 1})
	common := scoring(g, c, at, l, group, blocks, p, alloc(s.scratchBytes(l, group, rows, blocks)))
	common.c.segmentScore = random(dtype.F32, layers*heads*columns*l.Segments()*4)
	sel := selectionArgs{places: int32(p.Most()), blocks: alloc(4 * rows * heads * p.Most()), count: alloc(4 * rows * heads)}
	type part struct {
		name string
		post func(layer int32)
	}
	appends := func(layer int32) { a.c.layer = layer; s.append(g, &a) }
	parts := []part{{"append", appends}}
	// way is one of the ways to the same blocks: by parts of so many.
	way := func(name string, in int) func(layer int32) {
		common.cut(blocks, in)
		score, choose := scores(common, a.q), choosing(common, sel, p, blocks)
		scores := func(layer int32) { score.scoring.c.layer = layer; s.score(g, &score) }
		chooses := func(layer int32) { choose.scoring.c.layer = layer; s.choose(g, &choose, blocks) }
		both := func(layer int32) { scores(layer); chooses(layer) }
		parts = append(parts, part{"score" + name, scores}, part{"choose" + name, chooses}, part{"score+choose" + name, both})
		return both
	}
	both := way("", int(common.part))
	for _, in := range []int{256, 512, 1024, blocks} {
		if in <= blocks {
			way(fmt.Sprintf("-%d", in), in)
		}
	}
	all := func(layer int32) { appends(layer); both(layer) }
	parts = append(parts, part{"all", all}, part{"all-late", all})

	const posts = 32
	graphs := map[string]driver.GraphExec{}
	for _, p := range parts {
		g.late = strings.HasSuffix(p.name, "-late")
		p.post(0)
		if err := errors.Join(d.Sync(), g.ctx.BeginCapture(g.stream)); err != nil {
			b.Fatal(err)
		}
		for i := range posts {
			p.post(int32(i % layers))
		}
		graph, err := g.ctx.EndCapture(g.stream)
		if err != nil {
			b.Fatal(err)
		}
		x, err := g.ctx.Instantiate(graph)
		if err := errors.Join(err, g.ctx.FreeGraph(graph)); err != nil {
			b.Fatal(err)
		}
		graphs[p.name] = x
		b.Cleanup(func() {
			if err := g.ctx.FreeGraphExec(x); err != nil {
				b.Error(err)
			}
		})
	}
	g.late = false
	from, err1 := g.ctx.NewEvent(true)
	to, err2 := g.ctx.NewEvent(true)
	if err := errors.Join(err1, err2); err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := errors.Join(g.ctx.FreeEvent(from), g.ctx.FreeEvent(to)); err != nil {
			b.Error(err)
		}
	}()
	b.ResetTimer()
	sum, n := map[string]float64{}, 0
	for b.Loop() {
		n++
		for _, p := range parts {
			g.ctx.Record(from, g.stream)
			g.ctx.LaunchGraph(graphs[p.name], g.stream)
			g.ctx.Record(to, g.stream)
			if err := d.Sync(); err != nil {
				b.Fatal(err)
			}
			ms, err := g.ctx.Elapsed(from, to)
			if err != nil {
				b.Fatal(err)
			}
			sum[p.name] += ms * 1e3 / posts
		}
	}
	for name, us := range sum {
		b.ReportMetric(us/float64(n), name+"-us")
	}
	b.ReportMetric(float64(layerBytes)*float64(n)/sum["score"]/1e3, "score-GB/s")
	b.ReportMetric(0, "ns/op")
}
