package attention

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/compute/cuda"
	"nosa/dtype"
	"nosa/kv"
)

var exampleFile = flag.String("example", "testdata/nosa_example.json", "worked example to reproduce (spec nosa, section 9)")

// example is a worked example: one layer's inputs, and what each method must make
// of them. Every constant and shape is the file's.
type example struct {
	Config struct {
		BlockSize    int `json:"block_size"`
		InitBlocks   int `json:"init_blocks"`
		KernelSize   int `json:"kernel_size"`
		KernelStride int `json:"kernel_stride"`
		LocalBlocks  int `json:"local_blocks"`
		TopK         int `json:"topk"`
		TopKQ        int `json:"topk_q"`
		DenseLen     int `json:"dense_len"`
	}
	Shape struct {
		Group   int `json:"group"`
		HeadDim int `json:"head_dim"`
		KVHeads int `json:"kv_heads"`
		Tokens  int `json:"tokens"`
	}
	Q, K, V [][][]float64
	Delta   [][]float64
	Bias    []float64 `json:"delta_bias"`
	A       []float64
	Score   [][]float64
	Expect  map[string]map[string]struct {
		Blocks [][]int32
		Out    [][]float64
	}
	kv compute.KVType // float32 in the file's
}

func loadExample(t *testing.T) *example {
	t.Helper()
	data, err := os.ReadFile(*exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	var x example
	if err := json.Unmarshal(data, &x); err != nil {
		t.Fatalf("%s: %v", *exampleFile, err)
	}
	if len(x.Expect) == 0 || len(x.Q) != x.Shape.Tokens {
		t.Fatalf("%s: %d methods expected, %d of %d queries", *exampleFile, len(x.Expect), len(x.Q), x.Shape.Tokens)
	}
	return &x
}

func flat[T any](rows [][]T) (out []T) {
	for _, r := range rows {
		out = append(out, r...)
	}
	return out
}

func floats(v []float64) []float32 {
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return out
}

// setting is one way to run the example.
type setting struct {
	dev   compute.Device
	slots int // 0: all resident
	pages int
	disk  bool
	keep  kv.Keep
	cuts  []int // sizes of the steps, repeated to the end
}

func (s setting) String() string {
	return fmt.Sprintf("%s/slots=%d,pages=%d,disk=%v,keep=%v/cuts=%v", s.dev.Info(), s.slots, s.pages, s.disk, s.keep, s.cuts)
}

// run gives the selected blocks [token][kvHead] and outputs [token][heads·dim].
func (x *example) run(t *testing.T, m Method, s setting) (blocks [][][]int32, out []float32) {
	t.Helper()
	c := Constants{
		Block: x.Config.BlockSize, Kernel: x.Config.KernelSize, Stride: x.Config.KernelStride, Init: x.Config.InitBlocks,
		Local: x.Config.LocalBlocks, K: x.Config.TopK, Query: x.Config.TopKQ, DenseLen: x.Config.DenseLen,
	}
	heads, n := x.Shape.KVHeads*x.Shape.Group, x.Shape.Tokens
	layout := Layout(m, c, x.Shape.KVHeads, x.Shape.HeadDim, x.kv)
	all := (n + c.Block - 1) / c.Block * x.Shape.KVHeads
	cfg := kv.Config{Layout: layout, Layers: 1, Blocks: all, Slots: s.slots, HostPages: s.pages, Keep: s.keep}
	if s.slots > 0 && s.pages == 0 {
		cfg.HostPages = all
	}
	if s.disk {
		cfg.Disk = &kv.Disk{Dir: t.TempDir()}
	}
	store, err := kv.Open(s.dev, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	blocks = make([][][]int32, n)
	a, err := New(s.dev, store, Config{Method: m, Constants: c, Heads: heads, Layers: 1, Context: n, Trace: func(_ int, tile compute.Tile, sel compute.Selection) {
		for r := range tile.N {
			for h := range x.Shape.KVHeads {
				blocks[tile.Pos+r] = append(blocks[tile.Pos+r], sel.List(r, h, tile.Own(c.Block)))
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	seq, err := store.NewSequence(kv.SequenceOptions{Tokens: n})
	if err != nil {
		t.Fatal(err)
	}
	defer seq.Free()

	dim := x.Shape.HeadDim
	put := func(v []float32, shape ...int) compute.Tensor {
		d, err := s.dev.Alloc(dtype.F32, shape...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.dev.Free(d) })
		s.dev.Upload(d, compute.F32s(v, len(v)).Data)
		return d
	}
	read := func(d compute.Tensor) []float32 {
		v := make([]float32, d.Len())
		s.dev.Download(compute.F32s(v, len(v)).Data, d)
		return v
	}
	q := put(floats(flat(flat(x.Q))), n, heads, dim)
	k := put(floats(flat(flat(x.K))), n, x.Shape.KVHeads, dim)
	v := put(floats(flat(flat(x.V))), n, x.Shape.KVHeads, dim)
	o := put(make([]float32, n*heads*dim), n, heads, dim)
	var score compute.Tensor
	if m.Keeps().Scores {
		score = put(make([]float32, n*x.Shape.KVHeads), n, x.Shape.KVHeads)
		delta := put(floats(flat(x.Delta)), x.Shape.KVHeads, x.Shape.KVHeads*dim)
		var bias compute.Tensor
		if len(x.Bias) > 0 {
			bias = put(floats(x.Bias), len(x.Bias))
		}
		s.dev.Importance(score, v.Reshape(n, x.Shape.KVHeads*dim), delta, bias, put(floats(x.A), len(x.A)))
		scores := read(score)
		for i, want := range flat(x.Score) {
			if got := scores[i]; math.Abs(float64(got)-want) > 1e-6 {
				t.Fatalf("score %d is %v, want %v", i, got, want)
			}
		}
	}
	for pos, i := 0, 0; pos < n; i++ {
		step := min(s.cuts[i%len(s.cuts)], n-pos)
		store.BeginStep()
		if err := seq.Reserve(step); err != nil {
			t.Fatal(err)
		}
		span := Span{Seq: seq, Row: 0, N: step, Pos: pos, Q: q.Rows(pos, pos+step), K: k.Rows(pos, pos+step), V: v.Rows(pos, pos+step), Out: o.Rows(pos, pos+step)}
		if !score.None() {
			span.S = score.Rows(pos, pos+step)
		}
		if err := a.Run(context.Background(), span); err != nil {
			t.Fatal(err)
		}
		seq.Advance(make([]int32, step))
		pos += step
	}
	if err := store.Check(); err != nil {
		t.Fatal(err)
	}
	if err := s.dev.Sync(); err != nil {
		t.Fatal(err)
	}
	return blocks, read(o)
}

func testDevices(t *testing.T) []compute.Device {
	t.Helper()
	devs := []compute.Device{compute.Reference{}}
	for _, threads := range []int{1, 2} {
		d, err := cpu.New(cpu.Options{Threads: threads})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
		devs = append(devs, d)
	}
	return append(devs, gpu(t)...)
}

// gpu is the first GPU, where there is one: then these tests run on it too.
func gpu(t *testing.T) []compute.Device {
	t.Helper()
	d, err := cuda.Open(0)
	if errors.Is(err, cuda.ErrNoDriver) {
		t.Logf("not run on a GPU: %v", err)
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return []compute.Device{d}
}

// TestExample holds every method against the worked example: prefill whole and
// in chunks, decode token by token, resident and offloaded with pools from one
// slot upwards, host pools down to one page over a disk, both ways to keep.
// Blocks must be equal, outputs within 1e-6, and all settings of one device equal
// to the bit.
func TestExample(t *testing.T) {
	x := loadExample(t)
	all := (x.Shape.Tokens + x.Config.BlockSize - 1) / x.Config.BlockSize * x.Shape.KVHeads
	for name, expect := range x.Expect {
		m, err := ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, dev := range testDevices(t) {
			var first []float32
			for _, cuts := range [][]int{{x.Shape.Tokens}, {1}, {x.Config.BlockSize}, {5}, {13, 1, 1, 2}} {
				for _, s := range exampleSettings(dev, cuts, all) {
					t.Run(name+"/"+s.String(), func(t *testing.T) {
						blocks, out := x.run(t, m, s)
						for at, want := range expect {
							pos, err := strconv.Atoi(at)
							if err != nil {
								t.Fatal(err)
							}
							for h, w := range want.Blocks {
								if !slices.Equal(blocks[pos][h], w) {
									t.Errorf("position %d, KV head %d: blocks %v, want %v", pos, h, blocks[pos][h], w)
								}
							}
							row := out[pos*len(out)/x.Shape.Tokens:]
							for i, w := range flat(want.Out) {
								if math.Abs(float64(row[i])-w) > 1e-6 {
									t.Errorf("position %d, output %d: %v, want %v", pos, i, row[i], w)
								}
							}
						}
						if first == nil {
							first = out
						}
						for i := range out {
							if math.Float32bits(out[i]) != math.Float32bits(first[i]) {
								t.Fatalf("output %d is %v, in the first setting %v", i, out[i], first[i])
							}
						}
					})
				}
			}
		}
	}
}

func exampleSettings(dev compute.Device, cuts []int, all int) []setting {
	s := []setting{{dev: dev, cuts: cuts}}
	for slots := 1; slots < all; slots++ {
		s = append(s, setting{dev: dev, cuts: cuts, slots: slots})
	}
	return append(s,
		setting{dev: dev, cuts: cuts, slots: all / 2, keep: kv.KeepSelected},
		setting{dev: dev, cuts: cuts, slots: 1, pages: 1, disk: true},
		setting{dev: dev, cuts: cuts, slots: all / 3, pages: 3, disk: true},
		setting{dev: dev, cuts: cuts, slots: all - 1, pages: 2, disk: true, keep: kv.KeepSelected},
	)
}
