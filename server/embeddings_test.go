package server

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"testing"
)

// TestEmbeddings: vectors in all forms of input and output are the same, of length 1,
// and near for texts that mean nearly the same.
func TestEmbeddings(t *testing.T) {
	w := start(t, nil)
	type answer struct {
		Object string
		Model  string
		Data   []struct {
			Object    string
			Index     int
			Embedding json.RawMessage
		}
		Usage struct {
			Prompt int `json:"prompt_tokens"`
			Total  int `json:"total_tokens"`
		}
	}
	ask := func(more string) (a answer) {
		t.Helper()
		w.good("POST", "/v1/embeddings", `{"model":"tiny",`+more+`}`, &a)
		return a
	}
	floats := func(raw json.RawMessage) (v []float32) {
		t.Helper()
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	texts := []string{"The whale swam in the sea.", "A whale was swimming in the ocean.", "Interest rates rose by two points."}
	list, _ := json.Marshal(texts)
	all := ask(`"input":` + string(list))
	var vectors [][]float32
	for i, d := range all.Data {
		v := floats(d.Embedding)
		var squares float64
		for _, x := range v {
			squares += float64(x) * float64(x)
		}
		if len(v) != w.e.Width() || math.Abs(squares-1) > 1e-6 || d.Index != i || d.Object != "embedding" {
			t.Errorf("vector %d: %d numbers of length %v, index %d, %s", i, len(v), math.Sqrt(squares), d.Index, d.Object)
		}
		vectors = append(vectors, v)
	}
	if len(vectors) != 3 || all.Object != "list" || all.Model != "tiny" || all.Usage.Prompt != all.Usage.Total {
		t.Fatalf("%+v", all)
	}
	dot := func(a, b []float32) (sum float64) {
		for i := range a {
			sum += float64(a[i]) * float64(b[i])
		}
		return sum
	}
	if near, far := dot(vectors[0], vectors[1]), dot(vectors[0], vectors[2]); near <= far {
		t.Errorf("cosine %v of two whales, %v of a whale and a bank", near, far)
	}
	tokens := 0
	for i, text := range texts {
		ids, err := w.e.Encode(text, false)
		if err != nil {
			t.Fatal(err)
		}
		tokens += len(ids)
		quoted, _ := json.Marshal(text)
		numbers, _ := json.Marshal(ids)
		for _, input := range []string{string(quoted), string(numbers), "[" + string(numbers) + "]"} {
			if v := floats(ask(`"input":` + input).Data[0].Embedding); !slices.Equal(v, vectors[i]) {
				t.Errorf("%s alone is another vector than in company", input)
			}
		}
		var packed string
		if err := json.Unmarshal(ask(`"encoding_format":"base64","input":` + string(quoted)).Data[0].Embedding, &packed); err != nil {
			t.Fatal(err)
		}
		raw, err := base64.StdEncoding.DecodeString(packed)
		if err != nil || len(raw) != 4*len(vectors[i]) {
			t.Fatalf("%d bytes, %v", len(raw), err)
		}
		for j, want := range vectors[i] {
			if got := math.Float32frombits(binary.LittleEndian.Uint32(raw[4*j:])); got != want {
				t.Fatalf("number %d in base64 is %v, want %v", j, got, want)
			}
		}
	}
	if all.Usage.Prompt != tokens {
		t.Errorf("%d tokens, want %d", all.Usage.Prompt, tokens)
	}
}
