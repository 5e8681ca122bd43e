package attention

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/dtype"
	"nosa/kv"
	"nosa/kv/vfs"
)

// published is the shape of selection that the papers use: 64 blocks of 64 tokens.
var published = Constants{Block: 64, Kernel: 32, Stride: 16, Init: 1, Local: 32, K: 64, Query: 15}

// clock is a device that counts how long each of attention's ops takes.
type clock struct {
	compute.Device
	score, choose, attend, other time.Duration
}

func (c *clock) ScoreBlocks(out, q compute.Tensor, cache *compute.Cache, t compute.Tile) {
	defer since(&c.score, time.Now())
	c.Device.ScoreBlocks(out, q, cache, t)
}

func (c *clock) ScoreImportance(out compute.Tensor, cache *compute.Cache, t compute.Tile) {
	defer since(&c.score, time.Now())
	c.Device.ScoreImportance(out, cache, t)
}

func (c *clock) Select(sel compute.Selection, byQuery, byScore compute.Tensor, t compute.Tile, block int, p compute.SelectParams) {
	defer since(&c.choose, time.Now())
	c.Device.Select(sel, byQuery, byScore, t, block, p)
}

func (c *clock) Attend(state, q compute.Tensor, cache *compute.Cache, t compute.Tile, sel compute.Selection, parts []compute.Part) {
	defer since(&c.attend, time.Now())
	c.Device.Attend(state, q, cache, t, sel, parts)
}

func (c *clock) AttendBegin(state compute.Tensor, t compute.Tile, heads, dim int) {
	defer since(&c.attend, time.Now())
	c.Device.AttendBegin(state, t, heads, dim)
}

func (c *clock) AttendEnd(out, state compute.Tensor, t compute.Tile) {
	defer since(&c.attend, time.Now())
	c.Device.AttendEnd(out, state, t)
}

func (c *clock) Append(cache *compute.Cache, t compute.Tile, k, v, s compute.Tensor) {
	defer since(&c.other, time.Now())
	c.Device.Append(cache, t, k, v, s)
}

func since(sum *time.Duration, begin time.Time) { *sum += time.Since(begin) }

// bench is the attention of SmolLM2-135M without the rest of the model: 30 layers
// of 9 query and 3 KV heads of 64 channels, over a sequence whose keys are random.
type bench struct {
	dev    *clock
	store  *kv.Store
	seq    *kv.Sequence
	att    *Attention
	span   Span
	base   []float32 // queries of each layer, which those of a step are near to
	rnd    *rand.Rand
	layers int
	rows   int
	depth  int
}

func newBench(b *testing.B, method string, threads, layers, depth, rows int, format compute.KVType, tiers func(blocks int) kv.Config) *bench {
	const heads, group, dim = 3, 3, 64
	device, err := cpu.New(cpu.Options{Threads: threads})
	if err != nil {
		b.Fatal(err)
	}
	m, err := ByName(method)
	if err != nil {
		b.Fatal(err)
	}
	x := &bench{dev: &clock{Device: device}, rnd: rand.New(rand.NewPCG(1, 2)), layers: layers, rows: rows, depth: depth}
	columns := (depth + rows + 63) / 64
	blocks := columns * layers * heads
	cfg := tiers(blocks)
	cfg.Layout, cfg.Layers, cfg.Blocks = Layout(m, published, heads, dim, format), layers, blocks
	if x.store, err = kv.Open(x.dev, cfg, nil); err != nil {
		b.Fatal(err)
	}
	if x.seq, err = x.store.NewSequence(kv.SequenceOptions{Tokens: columns * 64, NoShare: true}); err != nil {
		b.Fatal(err)
	}
	if x.att, err = New(x.dev, x.store, Config{Method: m, Constants: published, Heads: heads * group, Layers: layers, Context: columns * 64}); err != nil {
		b.Fatal(err)
	}
	x.fill(b)
	alloc := func(shape ...int) compute.Tensor {
		t, err := x.dev.Alloc(dtype.F32, shape...)
		if err != nil {
			b.Fatal(err)
		}
		x.normal(t.F32(), nil, 1)
		return t
	}
	x.span = Span{Seq: x.seq, N: rows, Pos: depth, Q: alloc(rows, heads*group, dim), K: alloc(rows, heads, dim), V: alloc(rows, heads, dim), Out: alloc(rows, heads*group, dim)}
	if m.Keeps().Scores {
		x.span.S = alloc(rows, heads)
	}
	x.base = make([]float32, layers*heads*group*dim)
	x.normal(x.base, nil, 1)
	return x
}

// normal sets dst to random numbers around those of base.
func (x *bench) normal(dst, base []float32, width float64) {
	for i := range dst {
		dst[i] = float32(x.rnd.NormFloat64() * width)
		if base != nil {
			dst[i] += base[i%len(base)]
		}
	}
}

// fill makes the sequence as long as the depth: all blocks hold the same keys and
// values, and their summaries are random.
func (x *bench) fill(b *testing.B) {
	ctx, cache := context.Background(), x.store.Cache()
	for layer := range x.layers {
		x.normal(x.seq.Tail(layer).F32(), nil, 1)
	}
	some := make([]float32, 1<<16)
	x.normal(some, nil, 1)
	half := make([]byte, 2*len(some))
	dtype.Encode(dtype.F16, half, some)
	for at := 0; at < len(cache.Segments.Data); at += 1000 { // at no multiple of a row
		copy(cache.Segments.Data[at:], half)
	}
	if !cache.Score.None() {
		x.normal(cache.Score.F32(), nil, 1)
		x.normal(cache.SegScore.F32(), nil, 1)
	}
	tokens := make([]int32, 64)
	for pos := 0; pos < x.depth; pos += 64 {
		x.store.BeginStep()
		n := min(64, x.depth-pos)
		if err := x.seq.Reserve(n); err != nil {
			b.Fatal(err)
		}
		for layer := 0; layer < x.layers && n == 64; layer++ {
			t := compute.Tile{N: 1, Pos: pos + 63, Tables: x.seq.Tables(layer), Tail: x.seq.Tail(layer)}
			if err := x.seq.Seal(ctx, t, layer); err != nil {
				b.Fatal(err)
			}
		}
		x.seq.Advance(tokens[:n])
	}
	if err := x.seq.Reserve(x.rows); err != nil {
		b.Fatal(err)
	}
}

// step runs every layer once, with queries near to those of the step before.
func (x *bench) step(b *testing.B) {
	x.store.BeginStep()
	width := len(x.base) / x.layers
	for layer := range x.layers {
		x.normal(x.span.Q.F32(), x.base[layer*width:][:width], 0.1)
		x.span.Layer = layer
		if err := x.att.Run(context.Background(), x.span); err != nil {
			b.Fatal(err)
		}
	}
}

func (x *bench) close(b *testing.B) {
	x.seq.Free()
	x.att.Close()
	if err := x.store.Close(); err != nil {
		b.Fatal(err)
	}
	for _, t := range []compute.Tensor{x.span.Q, x.span.K, x.span.V, x.span.Out, x.span.S} {
		if !t.None() {
			x.dev.Free(t)
		}
	}
	if err := x.dev.Close(); err != nil {
		b.Fatal(err)
	}
}

// measure reports where the time of a step goes, per token of 30 layers.
func (x *bench) measure(b *testing.B) {
	for range 4 {
		x.step(b)
	}
	x.dev.score, x.dev.choose, x.dev.attend, x.dev.other = 0, 0, 0, 0
	var all time.Duration
	width := len(x.base) / x.layers
	before := x.store.Stats().Total
	for b.Loop() {
		x.store.BeginStep()
		for layer := range x.layers {
			x.normal(x.span.Q.F32(), x.base[layer*width:][:width], 0.1)
			x.span.Layer = layer
			begin := time.Now()
			if err := x.att.Run(context.Background(), x.span); err != nil {
				b.Fatal(err)
			}
			all += time.Since(begin)
		}
	}
	after := x.store.Stats().Total
	per := func(t time.Duration) float64 { return t.Seconds() * 1e3 * 30 / float64(b.N*x.layers*x.rows) }
	d := x.dev
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(per(all), "ms/token")
	b.ReportMetric(per(d.score), "score")
	b.ReportMetric(per(d.choose), "select")
	b.ReportMetric(per(d.attend), "attend")
	b.ReportMetric(per(d.other), "append")
	b.ReportMetric(per(all-d.score-d.choose-d.attend-d.other), "rest")
	if wanted := float64(after.Selected - before.Selected); after.HostHits+after.DiskHits > 0 {
		b.ReportMetric(float64(after.HostHits-before.HostHits)/wanted, "host/block")
		b.ReportMetric(float64(after.DiskHits-before.DiskHits)/wanted, "disk/block")
	}
}

func resident(int) kv.Config { return kv.Config{} }

// BenchmarkDecode is a token of 30 layers, by depth.
func BenchmarkDecode(b *testing.B) {
	for _, method := range []string{"infllmv2", "nosa"} {
		for _, depth := range []int{8, 32, 128, 300} {
			for _, format := range []compute.KVType{compute.KVBF16, compute.KVQ8, compute.KVQ4} {
				for threads := 1; threads <= 2; threads++ {
					b.Run(fmt.Sprintf("%s/%dK/%v/threads=%d", method, depth, format, threads), func(b *testing.B) {
						x := newBench(b, method, threads, 30, depth<<10-32, 1, format, resident)
						x.measure(b)
						x.close(b)
					})
				}
			}
		}
	}
}

// BenchmarkPrefill is a tile of 64 rows, by depth.
func BenchmarkPrefill(b *testing.B) {
	for _, depth := range []int{8, 32, 128, 300} {
		for threads := 1; threads <= 2; threads++ {
			b.Run(fmt.Sprintf("%dK/threads=%d", depth, threads), func(b *testing.B) {
				x := newBench(b, "infllmv2", threads, 3, depth<<10-64, 63, compute.KVBF16, resident)
				x.measure(b)
				x.close(b)
			})
		}
	}
}

// BenchmarkTiers is a token of 30 layers with a quarter of the blocks in slots and
// the rest in the host pool, or half of all on disk.
func BenchmarkTiers(b *testing.B) {
	for _, method := range []string{"infllmv2", "full"} {
		for _, depth := range []int{8, 32} {
			for _, tier := range []struct {
				name string
				cfg  func(blocks int) kv.Config
			}{
				{"resident", resident},
				{"host", func(n int) kv.Config { return kv.Config{Slots: n / 4, HostPages: n} }},
				{"disk", func(n int) kv.Config {
					return kv.Config{Slots: n / 4, HostPages: n / 4, Disk: &kv.Disk{FS: vfs.OS{}, Dir: b.TempDir(), Direct: true}}
				}},
			} {
				b.Run(fmt.Sprintf("%s/%dK/%s", method, depth, tier.name), func(b *testing.B) {
					x := newBench(b, method, 2, 30, depth<<10-32, 1, compute.KVBF16, tier.cfg)
					x.measure(b)
					x.close(b)
				})
			}
		}
	}
}
