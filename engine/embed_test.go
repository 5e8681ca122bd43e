package engine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"nosa/compute"
	"nosa/dtype"
	"nosa/weights"
)

// tensors reads the float32 and int32 tensors of a safetensors file, as rows, without the
// weights room, so that a mistake there can not hide itself.
func tensors(t *testing.T, path string) map[string][][]float64 {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(data)
	var header map[string]struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	raw := map[string]json.RawMessage{}
	if err := json.Unmarshal(data[8:8+n], &raw); err != nil {
		t.Fatal(err)
	}
	delete(raw, "__metadata__")
	again, _ := json.Marshal(raw)
	if err := json.Unmarshal(again, &header); err != nil {
		t.Fatal(err)
	}
	out := map[string][][]float64{}
	for name, h := range header {
		width := h.Shape[len(h.Shape)-1]
		var row []float64
		for body := data[8+int(n)+h.Offsets[0] : 8+int(n)+h.Offsets[1]]; len(body) > 0; body = body[4:] {
			v := binary.LittleEndian.Uint32(body)
			if h.DType == "I32" {
				row = append(row, float64(int32(v)))
			} else {
				row = append(row, float64(math.Float32frombits(v)))
			}
			if len(row) == width {
				out[name], row = append(out[name], row), nil
			}
		}
	}
	return out
}

// solve finds x with a·x = b, by elimination with pivots. Both are used up.
func solve(a [][]float64, b []float64) []float64 {
	n := len(b)
	for i := range n {
		p := i
		for r := i; r < n; r++ {
			if math.Abs(a[r][i]) > math.Abs(a[p][i]) {
				p = r
			}
		}
		a[i], a[p], b[i], b[p] = a[p], a[i], b[p], b[i]
		for r := i + 1; r < n; r++ {
			f := a[r][i] / a[i][i]
			for c := i; c < n; c++ {
				a[r][c] -= f * a[i][c]
			}
			b[r] -= f * b[i]
		}
	}
	for i := n - 1; i >= 0; i-- {
		for c := i + 1; c < n; c++ {
			b[i] -= a[i][c] * b[c]
		}
		b[i] /= a[i][i]
	}
	return b
}

// states are the hidden states that the logits of a golden come from: the head has more
// rows than columns, so that they are determined, by least squares.
func states(head, logits [][]float64) [][]float64 {
	n := len(head[0])
	out := make([][]float64, len(logits))
	for t, l := range logits {
		a, b := make([][]float64, n), make([]float64, n)
		for i := range n {
			a[i] = make([]float64, n)
			for v := range head {
				for j := range n {
					a[i][j] += head[v][i] * head[v][j]
				}
				b[i] += head[v][i] * l[v]
			}
		}
		out[t] = solve(a, b)
	}
	return out
}

func cosine(a []float64, b []float32) float64 {
	var ab, aa, bb float64
	for i, v := range a {
		w := float64(b[i])
		ab, aa, bb = ab+v*w, aa+v*v, bb+w*w
	}
	return ab / math.Sqrt(aa*bb)
}

// TestEmbedGolden: vectors are those of the hidden states of transformers, which the
// logits in its golden files tell, whatever the chunks.
func TestEmbedGolden(t *testing.T) {
	for _, name := range []string{"llama-linear", "llama-yarn", "llama-llama3"} {
		dir := filepath.Join("..", "model", "testdata", name)
		file := tensors(t, filepath.Join(dir, "golden.safetensors"))
		golden := file["logits"]
		head := tensors(t, filepath.Join(dir, "model.safetensors"))["lm_head.weight"]
		if len(golden) != 320 || len(head) <= len(head[0]) {
			t.Fatalf("%s: %d rows of logits, a head of %d × %d", name, len(golden), len(head), len(head[0]))
		}
		const length = 150
		want := states(head, golden[:length])
		mean := make([]float64, len(want[0]))
		for _, h := range want {
			for i, v := range h {
				mean[i] += v
			}
		}
		for _, chunk := range []int{150, 64, 7} {
			before := *sameModel
			*sameModel = dir
			_, s := serve(t, "full", 2, 320, budget{chunk: chunk, threads: 2}, ServiceOptions{}, func(o *Options) { o.KVType = compute.KVF32 })
			*sameModel = before
			ids := make([]int32, length)
			for i := range ids {
				ids[i] = int32(file["ids"][0][i])
			}
			for pooling, want := range map[Pooling][]float64{PoolMean: mean, PoolLast: want[length-1]} {
				out := answer(t, s, Order{Request: Request{IDs: ids}, Embed: pooling})
				var squares float64
				for _, v := range out.Vector {
					squares += float64(v) * float64(v)
				}
				if c := cosine(want, out.Vector); c < 1-1e-9 || math.Abs(squares-1) > 1e-6 || len(out.Vector) != len(want) {
					t.Errorf("%s, %s, chunks of %d: cosine 1 − %.3g, length %v", name, pooling, chunk, 1-c, math.Sqrt(squares))
				}
			}
		}
	}
}

// TestEmbedRefusals: an order for a vector is for nothing else, and a model that
// computes no numbers gives none.
func TestEmbedRefusals(t *testing.T) {
	e, s := serve(t, "full", 1, 100, budget{chunk: 50, threads: 1}, ServiceOptions{}, nil)
	ids := randomIDs(1, 10, e.model.Vocab)
	for name, o := range map[string]Order{
		"text":    {Request: Request{IDs: ids, MaxTokens: 1}, Embed: PoolMean},
		"choices": {Request: Request{IDs: ids}, Embed: PoolMean, Choices: 2},
		"prompt":  {Request: Request{IDs: ids}, Embed: PoolMean, PromptLogProbs: true},
		"pooling": {Request: Request{IDs: ids}, Embed: "max"},
	} {
		if _, err := s.Submit(t.Context(), o); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, sum := range [][]float64{{0, 0}, {math.NaN(), 1}, {math.Inf(1), 1}, nil} {
		if v, err := (&pool{sum}).vector(); !errors.Is(err, ErrLogits) {
			t.Errorf("%v: %v, %v", sum, v, err)
		}
	}
}

// TestPooling: the model's file says how it was trained, or it is the mean.
func TestPooling(t *testing.T) {
	for name, tc := range map[string]struct {
		kind any
		want Pooling
	}{
		"nothing": {nil, PoolMean}, "none": {uint32(0), PoolMean}, "mean": {uint32(1), PoolMean}, "last": {uint32(3), PoolLast}, "cls": {uint32(2), ""}, "rank": {uint32(4), ""},
	} {
		meta := []weights.Pair{{Key: "general.architecture", Value: "llama"}}
		for _, key := range []string{"block_count", "embedding_length", "feed_forward_length", "attention.head_count", "context_length"} {
			meta = append(meta, weights.Pair{Key: "llama." + key, Value: uint32(4)})
		}
		meta = append(meta, weights.Pair{Key: "llama.attention.layer_norm_rms_epsilon", Value: float32(1e-5)})
		if tc.kind != nil {
			meta = append(meta, weights.Pair{Key: "llama.pooling_type", Value: tc.kind})
		}
		path := filepath.Join(t.TempDir(), "m.gguf")
		err := weights.WriteGGUF(t.Context(), path, meta, []weights.Source{{Name: "token_embd.weight", Type: dtype.F32, Shape: []int{8, 4}, Write: func(w io.Writer) error {
			_, err := w.Write(make([]byte, 8*4*4))
			return err
		}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ck, err := weights.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := (&Source{Checkpoint: ck}).Pooling()
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%s: %q, %v, want %q", name, got, err, tc.want)
		}
		if err := ck.Close(); err != nil {
			t.Error(err)
		}
	}
}
