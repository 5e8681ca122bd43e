package cpu

import (
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// eachLevel runs a test on every level of this machine; on the best alone under the race detector,
// which sees goroutines and not kernels, and in the short tests of arm64, which CI emulates: plain
// Go is the same there.
func eachLevel(t *testing.T, f func(t *testing.T, level string)) {
	levels := Levels()
	if raced || runtime.GOARCH == "arm64" && testing.Short() {
		levels = levels[:1]
	}
	for _, level := range levels {
		t.Run(level, func(t *testing.T) { f(t, level) })
	}
}

func open(t *testing.T, o Options) *Device {
	t.Helper()
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestNewRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		opts Options
		want error
	}{
		"unknown level":    {Options{Level: "mmx"}, ErrLevel},
		"negative threads": {Options{Threads: -1}, ErrThreads},
		"too many threads": {Options{Threads: 1 << 20}, ErrThreads},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(tc.opts); !errors.Is(err, tc.want) {
				t.Errorf("New(%+v): %v, want %v", tc.opts, err, tc.want)
			}
		})
	}
}

// TestLinearRows: the bits of a row do not depend on the rows beside it, nor on
// threads.
func TestLinearRows(t *testing.T) {
	eachLevel(t, func(t *testing.T, level string) {
		rng := rand.New(rand.NewPCG(5, 6))
		const rows, n, k = 17, 83, 203
		x, w, bias := make([]float32, rows*k), make([]float32, n*k), make([]float32, n)
		fill(x, rng)
		fill(w, rng)
		fill(bias, rng)
		weight, b := compute.F32s(w, n, k), compute.F32s(bias, n)
		one := open(t, Options{Threads: 1, Level: level})
		want := make([]float32, rows*n)
		for r := range rows {
			one.Linear(compute.F32s(want[r*n:(r+1)*n], 1, n), compute.F32s(x[r*k:(r+1)*k], 1, k), weight, b)
		}
		twin := make([]float32, rows*n)
		compute.Linear(twin, x, weight, bias)
		for i := range want {
			if math.Abs(float64(want[i]-twin[i])) > 1e-4 {
				t.Fatalf("element %d: %v, the definition says %v", i, want[i], twin[i])
			}
		}
		for _, threads := range []int{1, 2, 3, 7} {
			d := open(t, Options{Threads: threads, Level: level})
			for _, m := range []int{1, 2, 3, 4, 5, rows} {
				got := make([]float32, m*n)
				d.Linear(compute.F32s(got, m, n), compute.F32s(x[:m*k], m, k), weight, b)
				for i := range got {
					if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
						t.Fatalf("%d threads, %d rows: element %d is %v, alone %v", threads, m, i, got[i], want[i])
					}
				}
			}
		}
	})
}

// outputs runs every op that threads share, on inputs that a seed gives, and
// returns all results one after the other.
func outputs(t *testing.T, d *Device) []float32 {
	t.Helper()
	rng := rand.New(rand.NewPCG(11, 12))
	const rows, heads, kv, dim, width, block, blocks = 61, 6, 2, 40, 240, 64, 37
	normal := func(shape ...int) compute.Tensor {
		n := 1
		for _, s := range shape {
			n *= s
		}
		v := make([]float32, n)
		fill(v, rng)
		return compute.F32s(v, shape...)
	}
	zeros := func(shape ...int) compute.Tensor {
		x := compute.Describe(dtype.F32, shape...)
		return compute.F32s(make([]float32, x.Len()), shape...)
	}
	var all []float32
	keep := func(x compute.Tensor) { all = append(all, x.F32()...) }

	x, table := normal(rows, width), normal(100, width)
	ids := make([]int32, rows)
	for i := range ids {
		ids[i] = rng.Int32N(100)
	}
	out := zeros(rows, width)
	d.Embed(out, table, ids)
	keep(out)
	d.RMSNorm(out, x, normal(width), 1e-5)
	keep(out)
	d.Linear(out, x, normal(width, width), normal(width))
	keep(out)
	d.SwiGLU(out, x, normal(rows, width))
	keep(out)
	d.AddScaled(out, x, 0.3)
	keep(out)

	l := compute.Layout{Heads: kv, Dim: dim, Block: block, Kernel: 32, Stride: 16, Scores: true, Type: compute.KVQ8}
	c := &compute.Cache{Layout: l, Slots: compute.NewTensor(dtype.U8, make([]byte, kv*blocks*l.BlockBytes()), kv*blocks, l.BlockBytes())}
	c.Segments, c.SegScore = summaries(rng, l, kv*blocks), normal(kv*blocks, l.Segments())
	c.Score = normal(kv*blocks, block)
	var parts []compute.Part
	tile := compute.Tile{N: rows, Pos: block * (blocks - 1), Tail: normal(kv, 2, block, dim)}
	for h := range kv {
		p := compute.Part{Head: h}
		tile.Tables = append(tile.Tables, make([]int32, blocks))
		for b := range blocks {
			id := int32(h*blocks + b)
			tile.Tables[h][b] = id
			fill(tile.Tail.F32(), rng)
			d.Seal(c, tile, h, id)
			p.Blocks, p.Slots = append(p.Blocks, int32(b)), append(p.Slots, id)
		}
		parts = append(parts, p)
	}
	for _, n := range []int{rows, 1} {
		tile.N = n
		q := normal(n, heads, dim)
		byQuery, byScore := zeros(n, kv, blocks), zeros(n, kv, blocks)
		d.ScoreBlocks(byQuery, q, c, tile)
		d.ScoreImportance(byScore, c, tile)
		keep(byQuery)
		keep(byScore)
		p := compute.SelectParams{Init: 1, Local: 2, Query: 5, K: 25, ByQuery: true, ByScore: true}
		sel := compute.Selection{
			Blocks: compute.I32s(make([]int32, n*kv*p.Most()), n, kv, p.Most()),
			Count:  compute.I32s(make([]int32, n*kv), n, kv),
		}
		d.Select(sel, byQuery, byScore, tile, block, p)
		for _, b := range sel.Blocks.I32() {
			all = append(all, float32(b))
		}
		state, o := zeros(n, heads, compute.StateLen(dim)), zeros(n, heads, dim)
		d.AttendBegin(state, tile, heads, dim)
		d.Attend(state, q, c, tile, sel, parts)
		keep(state)
		d.AttendEnd(o, state, tile)
		keep(o)
	}
	return all
}

// summaries are random means of the segments of ids blocks.
func summaries(rng *rand.Rand, l compute.Layout, ids int) compute.Tensor {
	size := l.SummaryBytes()
	data := make([]byte, ids*size)
	for id := range ids {
		for seg := range l.Segments() {
			for d := range l.Dim {
				l.PutMean(data[id*size:(id+1)*size], seg, d, float32(rng.NormFloat64()))
			}
		}
	}
	return compute.NewTensor(l.SummaryType(), data, ids, l.SummarySteps(), l.Segments(), 4)
}

// TestThreads: the bits of every op are the same on any number of threads.
func TestThreads(t *testing.T) {
	eachLevel(t, func(t *testing.T, level string) {
		want := outputs(t, open(t, Options{Threads: 1, Level: level}))
		for _, threads := range []int{2, 3, 7} {
			got := outputs(t, open(t, Options{Threads: threads, Level: level}))
			for i := range want {
				if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
					t.Fatalf("%d threads: value %d of %d is %v, on one thread %v", threads, i, len(want), got[i], want[i])
				}
			}
		}
	})
}

// TestAllocations: a decode step's ops take nothing from the heap.
func TestAllocations(t *testing.T) {
	eachLevel(t, func(t *testing.T, level string) {
		d := open(t, Options{Threads: 2, Level: level})
		const heads, kv, dim, block, blocks, width = 6, 2, 64, 64, 40, 384
		f := func(shape ...int) compute.Tensor {
			x, err := d.Alloc(dtype.F32, shape...)
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
		weight, err := d.Alloc(dtype.Q8_0, width, width)
		if err != nil {
			t.Fatal(err)
		}
		x, out, norm := f(1, width), f(1, width), f(width)
		l := compute.Layout{Heads: kv, Dim: dim, Block: block, Kernel: 32, Stride: 16, Type: compute.KVQ4}
		c := &compute.Cache{Layout: l, Segments: summaries(rand.New(rand.NewPCG(1, 1)), l, kv*blocks)}
		c.Slots, _ = d.Alloc(dtype.U8, kv*blocks, l.BlockBytes())
		tile := compute.Tile{N: 1, Pos: block*blocks - 1, Tail: f(kv, 2, block, dim)}
		var parts []compute.Part
		for h := range kv {
			p := compute.Part{Head: h}
			tile.Tables = append(tile.Tables, make([]int32, blocks))
			for b := range blocks {
				tile.Tables[h][b] = int32(h*blocks + b)
				p.Blocks, p.Slots = append(p.Blocks, int32(b)), append(p.Slots, int32(h*blocks+b))
			}
			parts = append(parts, p)
		}
		p := compute.SelectParams{Init: 1, Local: 2, K: 20, ByQuery: true}
		sel := compute.Selection{
			Blocks: compute.I32s(make([]int32, kv*p.Most()), 1, kv, p.Most()),
			Count:  compute.I32s(make([]int32, kv), 1, kv),
		}
		q, o, scores, state := f(1, heads, dim), f(1, heads, dim), f(1, kv, blocks), f(1, heads, compute.StateLen(dim))
		rope := &compute.Rope{Inv: make([]float32, dim/2), Factor: 1}
		angles := f(1, 2, dim/2)
		step := func() {
			d.RMSNorm(out, x, norm, 1e-5)
			d.Linear(out, x, weight, norm)
			d.Rotate(q, angles, rope)
			d.ScoreBlocks(scores, q, c, tile)
			d.Select(sel, scores, compute.Tensor{}, tile, block, p)
			d.AttendBegin(state, tile, heads, dim)
			d.Attend(state, q, c, tile, sel, parts)
			d.AttendEnd(o, state, tile)
			d.SwiGLU(out, out, x)
			d.AddScaled(x, out, 1)
		}
		step()
		if n := testing.AllocsPerRun(20, step); n != 0 {
			t.Errorf("%v allocations in a decode step", n)
		}
	})
}
