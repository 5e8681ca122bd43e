package bench

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"

	"nosa/compute/cpu"
	"nosa/dtype"
	"nosa/engine"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// lanes opens an engine for each method on one model.
func lanes(t testing.TB, path string, s Sweep, methods []string, change func(*engine.Options)) []*Lane {
	t.Helper()
	dev, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := dev.Allocated(); n != 0 {
			t.Errorf("%d bytes of the device are left", n)
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	var all []*Lane
	for _, m := range methods {
		src, err := engine.OpenSource(path)
		if err != nil {
			t.Fatal(err)
		}
		o := engine.NewOptions()
		o.Attention, o.Context, o.Sequences, o.Chunk = m, s.Context(), s.Sequences(), 96
		if change != nil {
			change(&o)
		}
		e, err := engine.Open(dev, src, o, quiet)
		if err != nil {
			t.Fatal(errors.Join(err, src.Close()))
		}
		t.Cleanup(func() {
			if n := e.Store().Stats().Live; n != 0 {
				t.Errorf("%d blocks live on", n)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
		all = append(all, &Lane{Engine: e, Options: o, Device: dev.Name()})
	}
	return all
}

// collect runs and returns the figures and ratios.
func collect(t testing.TB, c Config) (figures []*Figure, ratios []*Ratio) {
	t.Helper()
	c.Emit = func(v any) error {
		switch v := v.(type) {
		case *Figure:
			figures = append(figures, v)
		case *Ratio:
			ratios = append(ratios, v)
		default:
			t.Fatalf("a %T was emitted", v)
		}
		return nil
	}
	if err := Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return figures, ratios
}

// machine is one whose figures are easy to reckon with.
var machine = &Machine{Reads: []Reading{{1 << 20, 100e9}, {1 << 30, 10e9}}, PeakF32: 1e12, PeakInt16: 2e12, PeakInt8: 4e12}

// TestRun walks depths on and off the edges of blocks, two methods and a batch.
func TestRun(t *testing.T) {
	s := Sweep{Prompts: []int{70, 0, 33}, Gen: 5, Depths: []int{320, 0, 100, 100}, Batches: []int{3, 1}}
	path := tiny(t, dtype.Q8_0, 1)
	c := Config{Sweep: s, Model: "tiny", KVType: "bf16", Numerics: "int16", Threads: 2, Repeat: 3, Machine: machine,
		Lanes: lanes(t, path, s, []string{"full", "infllmv2"}, func(o *engine.Options) { o.TopK, o.Window = 3, 64 })}
	var done, total int64
	c.Progress = func(d, n int64, doing string) {
		if d < done || d > n || doing == "" {
			t.Errorf("progress from %d to %d of %d, %q", done, d, n, doing)
		}
		done, total = d, n
	}
	figures, ratios := collect(t, c)
	if len(ratios) != 0 || len(figures) != 2*3*4 {
		t.Fatalf("%d figures, %d ratios, want %d and none", len(figures), len(ratios), 2*3*4)
	}
	if last := figures[len(figures)-1]; done > total || float64(done) < 0.9*float64(total) {
		t.Errorf("%d of %d tokens were told at %s", done, total, last.Test)
	}
	var names []string
	for _, f := range figures {
		if f.Attention == "full" {
			names = append(names, f.Test)
		}
		if len(f.Samples) != 3 || f.MedianTS <= 0 || f.MinTS > f.MedianTS || f.MedianTS > f.MaxTS || f.AvgTS < f.MinTS || f.AvgTS > f.MaxTS {
			t.Errorf("%s %s: %+v", f.Test, f.Attention, f)
		}
		if f.RooflineTS <= 0 || math.Abs(f.Fraction*f.RooflineTS-f.MedianTS) > 1e-6*f.MedianTS || f.Bytes.Weights <= 0 || f.Bytes.Written <= 0 || f.FLOPsPerToken <= 0 {
			t.Errorf("%s %s: %+v", f.Test, f.Attention, f)
		}
		if math.Abs(f.Bytes.total()-f.BytesPerToken) > 1e-6 || f.Tiers.HitRate != 1 || f.Numerics != "int16" || f.Kind != "figure" {
			t.Errorf("%s %s: %+v", f.Test, f.Attention, f)
		}
		if sparse := f.Attention == "infllmv2" && f.Depth == 320; sparse != (f.Bytes.Pooled > 0) {
			t.Errorf("%s %s: %g bytes of pooled keys", f.Test, f.Attention, f.Bytes.Pooled)
		}
	}
	want := []string{"pp33", "pp70", "tg5", "tg5 x3", "pp33 @ d100", "pp70 @ d100", "tg5 @ d100", "tg5 x3 @ d100",
		"pp33 @ d320", "pp70 @ d320", "tg5 @ d320", "tg5 x3 @ d320"}
	if !slices.Equal(names, want) {
		t.Errorf("tests %q, want %q", names, want)
	}
}

// TestBytes: what the store counted is what full attention reads, block by block,
// and a method that selects reads less.
func TestBytes(t *testing.T) {
	const depth, gen = 320, 4
	s := Sweep{Gen: gen, Depths: []int{depth}, Batches: []int{1, 2}}
	figures, _ := collect(t, Config{Sweep: s, Repeat: 2, Lanes: lanes(t, tiny(t, dtype.F16, 1), s, []string{"full", "infllmv2"}, func(o *engine.Options) { o.TopK, o.Window = 3, 64 })})
	shape := shapes[0]
	places := float64(shape.Layers * shape.KVHeads)
	block := float64(64 * shape.HeadDim * 4) // K and V in bf16
	var tails float64
	for i := range gen {
		tails += places * float64(8*shape.HeadDim*(i+1)) / gen
	}
	full := places*block*depth/64 + tails
	// Two layers' projections, the output layer, five norms; the embedding is not read.
	weights := 2.0*float64(shape.Layers*(2*128*128+2*64*128+3*128*256)+512*128) + 4*5*128
	for _, f := range figures {
		want := full
		if f.Attention == "infllmv2" { // two of five blocks beside the open one
			want = places*block*2 + tails
		}
		if math.Abs(f.Bytes.KV-want) > 1e-6 {
			t.Errorf("%s %s: %g bytes of KV, want %g", f.Test, f.Attention, f.Bytes.KV, want)
		}
		if got := f.Bytes.Weights * float64(f.Batch); math.Abs(got-weights) > 1e-6 {
			t.Errorf("%s %s: a step reads %g bytes of weights, want %g", f.Test, f.Attention, got, weights)
		}
		pooled := 0.0
		if f.Attention == "infllmv2" {
			pooled = places * depth / 16 * float64(shape.HeadDim) * 2
		}
		if f.Bytes.Pooled != pooled {
			t.Errorf("%s %s: %g bytes of pooled keys, want %g", f.Test, f.Attention, f.Bytes.Pooled, pooled)
		}
		if f.RooflineTS != 0 || f.Fraction != 0 || f.Bound != "" {
			t.Errorf("a machine that was not measured has the roofline %g, %s", f.RooflineTS, f.Bound)
		}
	}
}

// TestPrefillTiles: a prompt is cut where the engine cuts it, at blocks and chunks.
func TestPrefillTiles(t *testing.T) {
	x := &traffic{chunk: 96}
	x.layout.Block = 64
	got := x.tiles(Test{Prompt: 200, Depth: 100, Batch: 1})
	want := []tile{{100, 28}, {128, 64}, {192, 4}, {196, 60}, {256, 36}, {292, 8}}
	if !slices.Equal(got, want) {
		t.Errorf("tiles %v, want %v", got, want)
	}
}

// TestText: members of a batch have ids of their own, the same in every run, and
// parts of a text are parts of the whole.
func TestText(t *testing.T) {
	for name, x := range map[string]text{"random": {vocab: 40}, "real": {ids: []int32{5, 6, 7, 8, 9, 10, 11}, vocab: 40}} {
		whole := x.slice(1, 0, 50)
		if !slices.Equal(x.slice(1, 20, 30), whole[20:30]) {
			t.Errorf("%s: a part is not of the whole", name)
		}
		if slices.Equal(x.slice(0, 0, 50), whole) {
			t.Errorf("%s: two members have the same tokens", name)
		}
		for _, id := range whole {
			if id < 0 || id >= 40 {
				t.Errorf("%s: id %d", name, id)
			}
		}
	}
}

// TestTiers: with a device pool for a part of the blocks the rest comes from the
// host, and is counted.
func TestTiers(t *testing.T) {
	s := Sweep{Gen: 3, Depths: []int{512}, Batches: []int{1}}
	figures, _ := collect(t, Config{Sweep: s, Repeat: 1, Lanes: lanes(t, tiny(t, dtype.Q8_0, 1), s, []string{"full"}, func(o *engine.Options) {
		o.KVDevice = 200 << 10
	})})
	f := figures[0]
	if f.Tiers.HostHits == 0 || f.Tiers.HitRate >= 1 || f.Tiers.BytesUp == 0 {
		t.Errorf("tiers %+v", f.Tiers)
	}
}

// TestJSON: the names that others rely on, and nothing that JSON has no word for.
func TestJSON(t *testing.T) {
	s := Sweep{Prompts: []int{20}, Gen: 2, Depths: []int{0}, Batches: []int{1}}
	figures, _ := collect(t, Config{Sweep: s, Model: "m", KVType: "bf16", Threads: 2, Repeat: 1, Lanes: lanes(t, tiny(t, dtype.Q8_0, 1), s, []string{"full"}, nil)})
	ratio, ok := newRatio(figures[0].Setting, []float64{1}, map[int][]float64{0: {2}})
	if !ok {
		t.Fatal("no ratio")
	}
	common := "kind test model attention device kv_dtype numerics n_threads n_prompt n_gen n_depth batch "
	for _, tc := range []struct {
		v    any
		keys string
	}{
		{figures[0], common + "avg_ts stddev_ts median_ts min_ts max_ts samples_ts bytes_per_token bytes flops_per_token roofline_ts fraction bound bandwidth tiers others"},
		{ratio, common + "peer flash_attn ours_ts peer_ts ratio ratio_min ratio_max others ours_samples_ts peer_samples_ts"},
		{machine, "kind processor device n_threads bandwidth peak_f32 peak_int16 peak_int8 memory_free"},
	} {
		data, err := json.Marshal(tc.v)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		want := strings.Fields(tc.keys)
		for _, k := range want {
			if _, ok := got[k]; !ok {
				t.Errorf("%T: no %s in %s", tc.v, k, data)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%T: %d names, want %d: %s", tc.v, len(got), len(want), data)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	good := Sweep{Gen: 1, Depths: []int{0}, Batches: []int{1}}
	for name, tc := range map[string]Config{
		"nothing":          {Repeat: 1},
		"no depth":         {Sweep: Sweep{Gen: 1, Batches: []int{1}}, Repeat: 1},
		"no batch":         {Sweep: Sweep{Gen: 1, Depths: []int{0}}, Repeat: 1},
		"batch of none":    {Sweep: Sweep{Gen: 1, Depths: []int{0}, Batches: []int{0}}, Repeat: 1},
		"negative prompt":  {Sweep: Sweep{Prompts: []int{-1}, Gen: 1, Depths: []int{0}, Batches: []int{1}}, Repeat: 1},
		"negative depth":   {Sweep: Sweep{Gen: 1, Depths: []int{-5}, Batches: []int{1}}, Repeat: 1},
		"endless depth":    {Sweep: Sweep{Gen: 1, Depths: []int{1 << 40}, Batches: []int{1}}, Repeat: 1},
		"no repetition":    {Sweep: good},
		"many repetitions": {Sweep: good, Repeat: 1 << 20},
	} {
		if err := Run(t.Context(), tc); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v, want ErrConfig", name, err)
		}
	}
}

// TestEmitFails: what cannot be written ends the run, and frees everything.
func TestEmitFails(t *testing.T) {
	s := Sweep{Gen: 1, Depths: []int{0, 64}, Batches: []int{1}}
	full := errors.New("disk is full")
	c := Config{Sweep: s, Repeat: 1, Lanes: lanes(t, tiny(t, dtype.Q8_0, 1), s, []string{"full"}, nil), Emit: func(any) error { return full }}
	if err := Run(t.Context(), c); !errors.Is(err, full) {
		t.Errorf("%v, want %v", err, full)
	}
}
