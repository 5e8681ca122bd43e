package model

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"nosa/attention"
	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/dtype"
	"nosa/kv"
	"nosa/policy"
	"nosa/policy/policytest"
)

// layers are what a model's layers would hand to attention: random queries, keys and values,
// which a policy works on in the cache, and beside it in plain memory.
type layers struct {
	shape          policy.Shape
	prompt, tokens int
	q, k, v        [][]float32 // by layer
	ids            []int32
}

func newLayers(s policy.Shape, prompt, tokens int) *layers {
	rng := rand.New(rand.NewPCG(3, 4))
	x := &layers{shape: s, prompt: prompt, tokens: tokens, ids: make([]int32, tokens)}
	draw := func(n int) []float32 {
		list := make([]float32, n)
		for i := range list {
			list[i] = float32(1.5 * rng.NormFloat64())
		}
		return list
	}
	for range s.Layers {
		x.q = append(x.q, draw(tokens*s.Heads*s.Dim))
		x.k = append(x.k, draw(tokens*s.KVHeads*s.Dim))
		x.v = append(x.v, draw(tokens*s.KVHeads*s.Dim))
	}
	for i := range x.ids {
		x.ids[i] = int32(i)
	}
	return x
}

// request says of every ninth token that it is a marker, and of the ones after those that they
// are signs; the text's second quarter is of another kind.
func (x *layers) request() policy.Request {
	r := policy.Request{
		Prompt: x.ids[:x.prompt], Special: func(id int32) bool { return id%9 == 0 },
		Text: func(id int32) string { return map[bool]string{true: ",", false: "word"}[id%9 == 1] }, Tags: make([]uint8, x.prompt),
	}
	for i := x.prompt / 4; i < x.prompt/2; i++ {
		r.Tags[i] = 1
	}
	return r
}

// plain is what comes out of all layers [layers][tokens, heads, dim], and the positions that
// each KV head holds at the end, in plain memory.
func (x *layers) plain(t *testing.T, p policy.Policy) (out [][]float32, held [][]int) {
	t.Helper()
	state, err := p.Begin(x.request())
	if err != nil {
		t.Fatal(err)
	}
	watch, _ := state.(policy.Watcher)
	qw, kw := x.shape.Heads*x.shape.Dim, x.shape.KVHeads*x.shape.Dim
	mem := make([]*policytest.Layer, x.shape.Layers)
	out = make([][]float32, x.shape.Layers)
	for i := range mem {
		mem[i] = policytest.New(x.shape, i, x.ids)
	}
	for pos, next := 0, state.Next(0); pos < x.tokens; pos++ {
		for i, l := range mem {
			out[i] = append(out[i], l.Append(x.q[i][pos*qw:(pos+1)*qw], x.k[i][pos*kw:(pos+1)*kw], x.v[i][pos*kw:(pos+1)*kw], watch)...)
			if pos+1 == next {
				if err := state.Compress(t.Context(), l); err != nil {
					t.Fatal(err)
				}
			}
		}
		if pos+1 == next {
			next = state.Next(next)
		}
	}
	for _, l := range mem {
		for h := range x.shape.KVHeads {
			held = append(held, l.Positions(h))
		}
	}
	return out, held
}

// place is where blocks lie.
type place struct {
	kind  compute.KVType
	chunk int
	cfg   kv.Config
	share bool
}

// on has numbers in the memory of a device.
func on(t *testing.T, dev compute.Device, x []float32, dims ...int) compute.Tensor {
	t.Helper()
	y, err := dev.Alloc(dtype.F32, dims...)
	if err != nil {
		t.Fatal(err)
	}
	dev.Upload(y, compute.F32s(x, len(x)).Data)
	return y
}

// cached is the same in the cache of a device.
func (x *layers) cached(t *testing.T, dev compute.Device, p policy.Policy, at place) (out [][]float32, held [][]int) {
	t.Helper()
	s, cfg := x.shape, at.cfg
	cfg.Layers = s.Layers
	cfg.Layout = compute.Layout{Heads: s.KVHeads, Dim: s.Dim, Block: s.Block, Scores: true, Type: at.kind}
	store, err := kv.Open(dev, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	full, err := attention.ByName("full")
	if err != nil {
		t.Fatal(err)
	}
	att, err := attention.New(dev, store, attention.Config{Method: full, Constants: attention.Constants{Block: s.Block}, Heads: s.Heads, Layers: s.Layers, Context: x.tokens})
	if err != nil {
		t.Fatal(err)
	}
	defer att.Close()
	runner, err := policy.NewRunner(dev, store, p, s)
	if err != nil {
		t.Fatal(err)
	}
	defer runner.Close()
	state, _, err := runner.State(x.request())
	if err != nil {
		t.Fatal(err)
	}
	seq, err := store.NewSequence(kv.SequenceOptions{Tokens: x.tokens, Rewrites: true, NoShare: !at.share, Promise: true})
	if err != nil {
		t.Fatal(err)
	}
	run := runner.Run(seq, state, nil)
	out = make([][]float32, s.Layers)
	none := on(t, dev, make([]float32, x.tokens*s.KVHeads), x.tokens, s.KVHeads)
	defer dev.Free(none)
	for pos := 0; pos < x.tokens; {
		n := min(at.chunk, x.tokens-pos)
		if pos < x.prompt {
			n = min(n, x.prompt-pos)
		} else {
			n = 1
		}
		store.BeginStep()
		if err := seq.Reserve(n); err != nil {
			t.Fatal(err)
		}
		for i := range s.Layers {
			o := on(t, dev, make([]float32, n*s.Heads*s.Dim), n, s.Heads, s.Dim)
			rows := func(all []float32, heads int) compute.Tensor {
				w := heads * s.Dim
				return on(t, dev, all[pos*w:(pos+n)*w], n, heads, s.Dim)
			}
			span := attention.Span{Seq: seq, Layer: i, N: n, Pos: pos, Q: rows(x.q[i], s.Heads), K: rows(x.k[i], s.KVHeads), V: rows(x.v[i], s.KVHeads), S: none, Out: o}
			if err := compressed(context.Background(), att, span, run, x.ids[pos:pos+n]); err != nil {
				t.Fatal(err)
			}
			y := make([]float32, o.Len())
			dev.Download(compute.F32s(y, len(y)).Data, o)
			out[i] = append(out[i], y...)
			for _, z := range []compute.Tensor{o, span.Q, span.K, span.V} {
				dev.Free(z)
			}
		}
		seq.Advance(x.ids[pos : pos+n])
		pos += n
		if err := store.Check(); err != nil {
			t.Fatalf("%d tokens: %v", pos, err)
		}
	}
	for i := range s.Layers {
		for h := range s.KVHeads {
			held = append(held, run.Positions(i, h))
		}
	}
	seq.Free()
	if err := store.Check(); err != nil {
		t.Fatal(err)
	}
	store.Forget()
	if st := store.Stats(); st.Live > st.UnderWay {
		t.Errorf("%d blocks are left, %d transfers under way", st.Live, st.UnderWay)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return out, held
}

// TestCompressed: a policy keeps in the cache what it keeps in plain memory, queries attend to
// the same, and neither tiers nor chunks change a bit.
func TestCompressed(t *testing.T) {
	shape := policy.Shape{Layers: 2, Heads: 4, KVHeads: 2, Dim: 8, Block: 16}
	x := newLayers(shape, 150, 330)
	columns := (x.tokens + shape.Block - 1) / shape.Block
	ids := columns * shape.Layers * shape.KVHeads
	places := map[string]place{}
	for _, chunk := range []int{150, 64, 37, 1} {
		places[fmt.Sprintf("resident, chunks of %d", chunk)] = place{chunk: chunk, cfg: kv.Config{Blocks: ids, Spares: ids}}
	}
	places["host"] = place{chunk: 50, cfg: kv.Config{Blocks: ids, Spares: ids, Slots: 7, HostPages: ids}}
	places["copied"] = place{chunk: 50, cfg: kv.Config{Blocks: ids, Spares: ids, Slots: 9, HostPages: ids, Copying: true}}
	places["selected"] = place{chunk: 41, cfg: kv.Config{Blocks: ids, Spares: ids, Slots: 20, HostPages: ids, Keep: kv.KeepSelected}}
	places["retained"] = place{chunk: 41, share: true, cfg: kv.Config{Blocks: ids, Spares: ids, Retain: true}}
	places["offered"] = place{chunk: 41, share: true, cfg: kv.Config{Blocks: ids, Spares: ids}}
	places["disk"] = place{chunk: 64, cfg: kv.Config{Blocks: ids, Spares: ids, Slots: 9, HostPages: 9, Disk: &kv.Disk{Dir: t.TempDir()}}}
	for _, name := range []string{
		"streamingllm:sinks=4,recent=40", "streamingllm:sinks=20,recent=3", "h2o:heavy=20,recent=30", "h2o:heavy=25%,recent=5",
		"snapkv:keep=60,window=8", "snapkv:keep=10,window=20", "snapkv:keep=140,window=32", "random:keep=70,window=0", "random:keep=1,window=0",
		"windowkv:keep=50,window=7,task=aggregation", "windowkv:keep=90,window=16,observe=20,layers=1,task=localization",
		"dbudgetkv:loss=.4,recent=20,whole=1", "dbudgetkv:loss=.1,ranking=attention,recent=20,whole=0",
		"kvmerger:alike=.2,recent=20,top=10,first=0,last=0,bias=count", "kvmerger:keep=50%,rows=9,runs=apart,sigma=0,first=0,last=1",
		"fastgen:recover=.2", "fastgen:recover=.6,frequent=.2", "think:recent=20", "think:prune=.8,window=5,recent=0",
		"deltakv:recent=20,batch=2,sinks=5,stride=4,whole=0", "deltakv:recent=0,batch=7,bits=8,sinks=40,whole=none",
		"tca:event=2,sink=10,local=20,rows=12,mu=2", "tca:event=1,sink=0,local=9,rows=9,mu=1,select=end",
		"csp:heavy=40,recent=12", "csp:heavy=20%,recent=10%,decode=extra,extra=9",
	} {
		t.Run(name, func(t *testing.T) {
			spec, err := policy.Parse(name)
			if err != nil {
				t.Fatal(err)
			}
			p, err := spec.Method.New(spec.Values, shape)
			if err != nil {
				t.Fatal(err)
			}
			x.hold(t, p, places, true)
		})
	}
}

// hold compares a policy in plain memory, if that is exact, with the same in several places.
func (x *layers) hold(t *testing.T, p policy.Policy, places map[string]place, exact bool) {
	t.Helper()
	fast, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fast.Close() }()
	for _, dev := range append([]compute.Device{fast}, gpu(t)...) {
		x.holdOn(t, dev, p, places, exact)
	}
}

func (x *layers) holdOn(t *testing.T, dev compute.Device, p policy.Policy, places map[string]place, exact bool) {
	t.Helper()
	bound := 2e-5
	if dev.Name() != "cpu" {
		if needs := p.Needs(); needs.Window > 0 || needs.Sums {
			return // refused there
		}
		bound = 2e-2 // factors are rounded to bfloat16
	}
	var want [][]float32
	var positions [][]int
	if exact {
		want, positions = x.plain(t, p)
	}
	var first [][]float32
	for where, at := range places {
		at.kind = compute.KVF32
		out, held := x.cached(t, dev, p, at)
		if positions == nil {
			want, positions = out, held
		}
		for i, list := range held {
			if !slices.Equal(list, positions[i]) {
				t.Fatalf("%s, %s: layer and head %d hold %v, want %v", dev.Name(), where, i, list, positions[i])
			}
		}
		for layer := range out {
			for i, y := range out[layer] {
				if d := math.Abs(float64(y - want[layer][i])); !(d < bound) {
					t.Fatalf("%s, %s: layer %d, position %d, element %d: %v, want %v", dev.Name(), where, layer, i/(x.shape.Heads*x.shape.Dim), i%(x.shape.Heads*x.shape.Dim), y, want[layer][i])
				}
			}
		}
		if first == nil {
			first = out
		}
		for layer := range out {
			if !slices.Equal(out[layer], first[layer]) {
				t.Errorf("%s, %s: other bits in layer %d", dev.Name(), where, layer)
			}
		}
	}
}

// rewriter is a policy of the tests: what it does at some lengths.
type rewriter struct {
	needs policy.Needs
	at    []int
	do    func(l policy.Layer, head int) error
}

func (p rewriter) Needs() policy.Needs                        { return p.needs }
func (p rewriter) Begin(policy.Request) (policy.State, error) { return p, nil }

func (p rewriter) Next(tokens int) int {
	for _, n := range p.at {
		if n > tokens {
			return n
		}
	}
	return policy.Never
}

func (p rewriter) Compress(_ context.Context, l policy.Layer) error {
	for h := range l.Shape().KVHeads {
		if err := p.do(l, h); err != nil {
			return err
		}
	}
	return nil
}

// evenKeys keeps every other channel of the keys, and the values.
type evenKeys struct{ dim int }

func (c evenKeys) Bytes(cells int) int { return 6 * c.dim * cells }

func (c evenKeys) Encode(dst []byte, _ int, k, v []float32) {
	for i := range len(v) / c.dim {
		row := dst[6*c.dim*i:]
		for d := range c.dim {
			if d%2 == 0 {
				binary.LittleEndian.PutUint32(row[2*d:], math.Float32bits(k[i*c.dim+d]))
			}
			binary.LittleEndian.PutUint32(row[2*c.dim+4*d:], math.Float32bits(v[i*c.dim+d]))
		}
	}
}

func (c evenKeys) Decode(k, v []float32, src []byte) {
	for i := range len(v) / c.dim {
		row := src[6*c.dim*i:]
		for d := range c.dim {
			if d%2 == 0 {
				k[i*c.dim+d] = math.Float32frombits(binary.LittleEndian.Uint32(row[2*d:]))
			}
			v[i*c.dim+d] = math.Float32frombits(binary.LittleEndian.Uint32(row[2*c.dim+4*d:]))
		}
	}
}

// TestRewritten: what a policy merges, packs and sees is the same in the cache as in plain
// memory.
func TestRewritten(t *testing.T) {
	shape := policy.Shape{Layers: 2, Heads: 4, KVHeads: 2, Dim: 8, Block: 16}
	x := newLayers(shape, 150, 260)
	ids := (x.tokens + shape.Block - 1) / shape.Block * shape.Layers * shape.KVHeads
	places := map[string]place{
		"resident": {chunk: 150, cfg: kv.Config{Blocks: ids, Spares: ids}},
		"chunks":   {chunk: 29, share: true, cfg: kv.Config{Blocks: ids, Spares: ids, Retain: true}},
		"host":     {chunk: 50, cfg: kv.Config{Blocks: ids, Spares: ids, Slots: 7, HostPages: ids}},
		"copied":   {chunk: 50, cfg: kv.Config{Blocks: ids, Spares: ids, Slots: 9, HostPages: ids, Copying: true}},
		"disk":     {chunk: 64, cfg: kv.Config{Blocks: ids, Spares: ids, Slots: 9, HostPages: 9, Disk: &kv.Disk{Dir: t.TempDir()}}},
	}
	ctx := t.Context()
	merge := func(l policy.Layer, head int) error { // neighbours, weighed by what the last queries give them
		k, err := l.Keys(ctx, head)
		if err != nil {
			return err
		}
		v, err := l.Values(ctx, head)
		if err != nil {
			return err
		}
		w, err := l.Weights(ctx, head, 5)
		if err != nil {
			return err
		}
		list, dim := l.Cells(head), l.Shape().Dim
		var cells []policy.Cell
		var ks, vs []float32
		for i := 0; i+1 < len(list); i += 2 {
			a, b := float32(1e-3), float32(1e-3)
			for row := range l.Shape().Group() * 5 {
				a, b = a+w[row*len(list)+i], b+w[row*len(list)+i+1]
			}
			cells = append(cells, policy.Cell{Pos: list[i].Pos, Count: list[i].Count + list[i+1].Count, Bias: float32(math.Log(float64(list[i].Count + list[i+1].Count)))})
			for d := range dim {
				ks = append(ks, (a*k[i*dim+d]+b*k[(i+1)*dim+d])/(a+b))
				vs = append(vs, (a*v[i*dim+d]+b*v[(i+1)*dim+d])/(a+b))
			}
		}
		return l.Put(ctx, head, cells, ks, vs)
	}
	codec := evenKeys{shape.Dim}
	pack := func(l policy.Layer, head int) error {
		_, err := l.Pack(ctx, head, len(l.Cells(head))-20, codec)
		return err
	}
	thin := func(l policy.Layer, head int) error { // every third goes
		var keep []int
		for i := range l.Cells(head) {
			if i%3 != head {
				keep = append(keep, i)
			}
		}
		return l.Keep(ctx, head, keep)
	}
	lightest := func(l policy.Layer, head int) error { // the half with the smallest sums goes
		sums := slices.Clone(l.Sums(head))
		slices.Sort(sums)
		var keep []int
		for i, x := range l.Sums(head) {
			if x >= sums[len(sums)/2] {
				keep = append(keep, i)
			}
		}
		return l.Keep(ctx, head, keep)
	}
	for name, tc := range map[string]struct {
		rewriter
		exact bool // plain memory, which has no blocks, packs as many
	}{
		"merge":                {rewriter{policy.Needs{Window: 5}, []int{150, 200, 208}, merge}, true},
		"merge on a seam":      {rewriter{policy.Needs{Window: 20}, []int{64, 65, 96, 160}, merge}, true},
		"pack":                 {rewriter{policy.Needs{Packs: true}, []int{100, 150, 180, 240}, pack}, true},
		"pack, then thin":      {rewriter{policy.Needs{Packs: true}, []int{150}, then(pack, thin)}, true},
		"pack, then merge":     {rewriter{policy.Needs{Packs: true, Window: 5}, []int{130}, then(pack, merge)}, true},
		"pack, then by weight": {rewriter{policy.Needs{Packs: true, Sums: true}, []int{130}, then(pack, lightest)}, true},
		"thin, pack":           {rewriter{policy.Needs{Packs: true}, []int{100, 150, 180, 240}, then(thin, pack)}, false},
		"pack, thin":           {rewriter{policy.Needs{Packs: true}, []int{100, 150, 180, 240}, then(pack, thin)}, false},
		"pack, merge":          {rewriter{policy.Needs{Packs: true, Window: 5}, []int{130, 200}, then(pack, merge)}, false},
		"pack, by weight":      {rewriter{policy.Needs{Packs: true, Sums: true}, []int{130, 200, 220}, then(pack, lightest)}, false},
	} {
		t.Run(name, func(t *testing.T) { x.hold(t, tc.rewriter, places, tc.exact) })
	}
}

func then(a, b func(policy.Layer, int) error) func(policy.Layer, int) error {
	return func(l policy.Layer, h int) error { return errors.Join(a(l, h), b(l, h)) }
}
