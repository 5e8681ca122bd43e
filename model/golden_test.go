package model

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nosa/attention"
	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/compute/cuda"
	"nosa/dtype"
	"nosa/kv"
	"nosa/weights"
)

// golden is one file of values that transformers or PyTorch computed
// (scripts/oracles/tiny_models.py and sparse_models.py).
type golden struct {
	meta map[string]string
	f32  map[string][]float32
	i32  map[string][]int32
	dims map[string][]int
}

// readGolden reads a safetensors file without the weights room, so that a
// mistake there cannot hide itself.
func readGolden(t *testing.T, path string) *golden {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(data)
	var header map[string]json.RawMessage
	if err := json.Unmarshal(data[8:8+n], &header); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	g := &golden{meta: map[string]string{}, f32: map[string][]float32{}, i32: map[string][]int32{}, dims: map[string][]int{}}
	for name, raw := range header {
		if name == "__metadata__" {
			if err := json.Unmarshal(raw, &g.meta); err != nil {
				t.Fatal(err)
			}
			continue
		}
		var e struct {
			Dtype   string
			Shape   []int
			Offsets [2]int `json:"data_offsets"`
		}
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		b := data[8+int(n)+e.Offsets[0] : 8+int(n)+e.Offsets[1]]
		g.dims[name] = e.Shape
		switch e.Dtype {
		case "F32":
			v := make([]float32, len(b)/4)
			dtype.Decode(dtype.F32, v, b)
			g.f32[name] = v
		case "I32":
			for i := 0; i < len(b); i += 4 {
				g.i32[name] = append(g.i32[name], int32(binary.LittleEndian.Uint32(b[i:])))
			}
		default:
			t.Fatalf("%s: %s is %s", path, name, e.Dtype)
		}
	}
	return g
}

// rig is a model with everything that a pass needs.
type rig struct {
	model *Model
	dev   compute.Device
	store *kv.Store
	att   *attention.Attention
	work  *Workspace
	seq   *kv.Sequence
}

type rigConfig struct {
	method         string
	slots, pages   int
	context, chunk int
	sequences      int // that have room beside each other; 0: one
	kind           compute.KVType
	disk           *kv.Disk
	trace          func(layer int, t compute.Tile, sel compute.Selection)
}

func newRig(t *testing.T, dev compute.Device, dir string, rc rigConfig) *rig {
	t.Helper()
	ck, err := weights.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseConfig(ck.Config())
	if err != nil {
		t.Fatal(err)
	}
	c.Rope.Interleaved = ck.Interleaved()
	method, err := attention.ByName(rc.method)
	if err != nil {
		t.Fatal(err)
	}
	sparse := DefaultSparse()
	if c.Sparse != nil {
		sparse = *c.Sparse
	}
	k := attention.Constants{
		Block: sparse.BlockSize, Kernel: sparse.KernelSize, Stride: sparse.KernelStride, Init: sparse.InitBlocks,
		Local: sparse.LocalBlocks(), K: sparse.TopK, Query: sparse.TopKQ, DenseLen: sparse.DenseLen,
	}
	r := &rig{dev: dev}
	if r.model, err = Load(dev, ck, c, rc.context, method.Keeps().Scores); err != nil {
		t.Fatal(err)
	}
	layout := attention.Layout(method, k, c.KVHeads, c.HeadDim, rc.kind)
	blocks := (rc.context + k.Block - 1) / k.Block * c.Layers * c.KVHeads * max(rc.sequences, 1)
	cfg := kv.Config{Layout: layout, Layers: c.Layers, Blocks: blocks, Slots: rc.slots, HostPages: rc.pages, Disk: rc.disk}
	if rc.slots > 0 && rc.pages == 0 {
		cfg.HostPages = blocks
	}
	if r.store, err = kv.Open(dev, cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	r.att, err = attention.New(dev, r.store, attention.Config{Method: method, Constants: k, Heads: c.Heads, Layers: c.Layers, Context: rc.context, Trace: rc.trace})
	if err != nil {
		t.Fatal(err)
	}
	if r.work, err = r.model.NewWorkspace(rc.chunk, rc.chunk); err != nil {
		t.Fatal(err)
	}
	if r.seq, err = r.store.NewSequence(kv.SequenceOptions{Tokens: rc.context}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.seq.Free()
		r.work.Close()
		r.att.Close()
		if err := r.store.Close(); err != nil {
			t.Error(err)
		}
		if err := r.model.Close(); err != nil {
			t.Error(err)
		}
		if err := ck.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// step runs ids after what the sequence holds and returns their logits.
func (r *rig) step(t *testing.T, ids []int32) []float32 {
	t.Helper()
	r.store.BeginStep()
	if err := r.seq.Reserve(len(ids)); err != nil {
		t.Fatal(err)
	}
	b := Batch{IDs: ids, Spans: []Span{{Seq: r.seq, N: len(ids)}}}
	for i := range ids {
		b.Pos = append(b.Pos, int32(r.seq.Len()+i))
	}
	if err := r.model.Forward(context.Background(), r.att, r.work, &b); err != nil {
		t.Fatal(err)
	}
	if err := b.Spans[0].Err; err != nil {
		t.Fatal(err)
	}
	r.seq.Advance(ids)
	logits := r.model.Logits(r.work, 0, len(ids))
	v := make([]float32, logits.Len())
	r.dev.Download(compute.F32s(v, len(v)).Data, logits)
	return v
}

// all runs ids in the given steps, the last size repeated to the end.
func (r *rig) all(t *testing.T, ids []int32, cuts ...int) []float32 {
	t.Helper()
	var out []float32
	for at, i := 0, 0; at < len(ids); i++ {
		n := min(cuts[min(i, len(cuts)-1)], len(ids)-at)
		out = append(out, r.step(t, ids[at:at+n])...)
		at += n
	}
	return out
}

func deviation(x []float32) float64 {
	var sum, sq float64
	for _, v := range x {
		sum += float64(v)
		sq += float64(v) * float64(v)
	}
	n := float64(len(x))
	return math.Sqrt(sq/n - sum/n*sum/n)
}

// distance is the largest difference, in standard deviations of want.
func distance(got, want []float32) float64 {
	var worst float64
	for i, w := range want {
		d := math.Abs(float64(got[i]) - float64(w))
		if !(d <= worst) { // also when it is not a number
			worst = d
		}
	}
	return worst / deviation(want)
}

func testDevices(t *testing.T) []compute.Device {
	t.Helper()
	fast, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fast.Close(); err != nil {
			t.Error(err)
		}
	})
	return append([]compute.Device{compute.Reference{}, fast}, gpu(t)...)
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

// tolerance is the bar: the largest difference of a logit, in standard
// deviations of all logits.
const tolerance = 1e-4

// TestFamilies holds every family and every rotation against transformers: 300
// tokens of prefill and 20 single steps in float32.
func TestFamilies(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*/golden.safetensors")
	if err != nil || len(dirs) < 15 {
		t.Fatalf("%d golden files, %v", len(dirs), err)
	}
	for _, dev := range testDevices(t) {
		for _, path := range dirs {
			dir := filepath.Dir(path)
			t.Run(dev.Name()+"/"+filepath.Base(dir), func(t *testing.T) {
				g := readGolden(t, path)
				ids := g.i32["ids"]
				r := newRig(t, dev, dir, rigConfig{method: "full", context: len(ids), chunk: 300})
				got := r.all(t, ids, 300, 1)
				if d := distance(got, g.f32["logits"]); !(d <= tolerance) {
					t.Errorf("logits differ by %.2e standard deviations, want at most %.0e", d, tolerance)
				} else {
					t.Logf("largest difference %.2e standard deviations", d)
				}
			})
		}
	}
}

// TestSparseModels holds the four methods inside a whole model against an
// independent implementation of the spec in PyTorch float64: logits at every
// position, chosen blocks at those that were recorded.
func TestSparseModels(t *testing.T) {
	paths, err := filepath.Glob("testdata/*/golden-*.safetensors")
	if err != nil || len(paths) < 5 {
		t.Fatalf("%d golden files, %v", len(paths), err)
	}
	for _, dev := range testDevices(t) {
		for _, path := range paths {
			dir := filepath.Dir(path)
			method := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "golden-"), ".safetensors")
			for name, rc := range map[string]rigConfig{
				"resident":  {chunk: 640},
				"offloaded": {chunk: 100, slots: 20},
			} {
				t.Run(fmt.Sprintf("%s/%s/%s/%s", dev.Name(), filepath.Base(dir), method, name), func(t *testing.T) {
					g := readGolden(t, path)
					ids := g.i32["ids"]
					chosen := map[[3]int][]int32{}
					rc.method, rc.context = method, len(ids)
					rc.trace = func(layer int, tile compute.Tile, sel compute.Selection) {
						own := tile.Own(16)
						for r := range tile.N {
							for h := range 2 {
								chosen[[3]int{layer, tile.Pos + r, h}] = sel.List(r, h, own)
							}
						}
					}
					r := newRig(t, dev, dir, rc)
					got := r.all(t, ids, rc.chunk)
					if d := distance(got, g.f32["logits"]); !(d <= tolerance) {
						t.Errorf("logits differ by %.2e standard deviations, want at most %.0e", d, tolerance)
					}
					places := g.dims["blocks"][3]
					row := g.i32["blocks"]
					for layer := range g.dims["blocks"][0] {
						for _, pos := range g.i32["positions"] {
							for h := range 2 {
								want := row[:places]
								row = row[places:]
								if end := slices.Index(want, -1); end >= 0 {
									want = want[:end]
								}
								if got := chosen[[3]int{layer, int(pos), h}]; !slices.Equal(got, want) {
									t.Errorf("layer %d, position %d, KV head %d: blocks %v, want %v", layer, pos, h, got, want)
								}
							}
						}
					}
				})
			}
		}
	}
}
