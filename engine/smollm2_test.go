package engine

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
)

var modelsDir = flag.String("models", "../models", "folder that scripts/fetch-models filled")

// realModel opens SmolLM2-135M with float32 KV, or skips where it was not
// fetched.
func realModel(t *testing.T, context int) *Engine {
	t.Helper()
	path := filepath.Join(*modelsDir, "SmolLM2-135M-Instruct.gguf")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not there: run scripts/fetch-models", path)
	}
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	src, err := OpenSource(path)
	if err != nil {
		t.Fatal(err)
	}
	o := NewOptions()
	o.Context, o.KVType = context, compute.KVF32
	e, err := Open(dev, src, o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func mobyDick(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(*modelsDir, "moby-dick.txt"))
	if err != nil {
		t.Skipf("%v: run scripts/fetch-models", err)
	}
	return string(text)
}

// TestSmolLM2LogProbs holds a real model against transformers on the same file
// expanded to float32 (scripts/oracles/smollm2_logprobs.py): the first 2,000
// tokens of Moby-Dick.
func TestSmolLM2LogProbs(t *testing.T) {
	e := realModel(t, 2000)
	data, err := os.ReadFile("../model/testdata/smollm2/moby2000.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(data)
	var header map[string]struct {
		Offsets [2]int `json:"data_offsets"`
	}
	if err := json.Unmarshal(data[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	words := func(name string) []uint32 {
		b := data[8+int(n)+header[name].Offsets[0] : 8+int(n)+header[name].Offsets[1]]
		out := make([]uint32, len(b)/4)
		for i := range out {
			out[i] = binary.LittleEndian.Uint32(b[4*i:])
		}
		return out
	}
	ids, err := e.Encode(mobyDick(t), false)
	if err != nil {
		t.Fatal(err)
	}
	ids = ids[:2000]
	for i, want := range words("ids") {
		if ids[i] != int32(want) {
			t.Fatalf("token %d is %d, want %d", i, ids[i], want)
		}
	}
	got, err := e.Score(context.Background(), ids, nil)
	if err != nil {
		t.Fatal(err)
	}
	var sum, worst float64
	for i, w := range words("logprobs") {
		if i == 0 {
			continue
		}
		d := math.Abs(got.LogProbs[i] - float64(math.Float32frombits(w)))
		sum += d
		worst = math.Max(worst, d)
	}
	mean := sum / 1999
	t.Logf("mean |Δ log-probability| %.2e, max %.2e, perplexity %.4f", mean, worst, got.Perplexity)
	if !(mean <= 1e-3) || !(worst <= 2e-2) {
		t.Errorf("mean %.2e, max %.2e: want at most 1e-3 and 2e-2", mean, worst)
	}
}

// TestSmolLM2Perplexity repeats llama.cpp's perplexity tool on 8 chunks of 512
// tokens: the second half of each chunk is scored, each chunk on an empty cache.
func TestSmolLM2Perplexity(t *testing.T) {
	e := realModel(t, 512)
	data, err := os.ReadFile("../model/testdata/smollm2/perplexity.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		AsIs struct{ Perplexity float64 } `json:"as_it_is"`
		F32  struct{ Perplexity float64 } `json:"expanded_to_float32"`
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	ids, err := e.Encode(mobyDick(t), false)
	if err != nil {
		t.Fatal(err)
	}
	var nll float64
	for c := range 8 {
		got, err := e.Score(context.Background(), ids[c*512:(c+1)*512], nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range got.LogProbs[257:] {
			nll -= p
		}
	}
	ppl := math.Exp(nll / (8 * 255))
	t.Logf("perplexity %.4f; llama.cpp on the same file %.4f, on its float32 expansion %.4f", ppl, want.AsIs.Perplexity, want.F32.Perplexity)
	if math.Abs(ppl/want.AsIs.Perplexity-1) > 0.01 {
		t.Errorf("perplexity %.4f is not within 1 %% of %.4f", ppl, want.AsIs.Perplexity)
	}
	if math.Abs(ppl/want.F32.Perplexity-1) > 0.0005 {
		t.Errorf("perplexity %.4f is not that of the float32 expansion, %.4f", ppl, want.F32.Perplexity)
	}
}
