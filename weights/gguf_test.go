package weights

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"nosa/dtype"
)

func TestGGUF(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(path, tiny("llama").bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	c := mustOpen(t, path)
	want := []string{"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "model.norm.weight"}
	if got := c.Names(); !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	embed, err := c.Tensor("model.embed_tokens.weight")
	if err != nil || !slices.Equal(embed.Shape, []int{3, 4}) || embed.Type != dtype.F32 || len(embed.Data) != 48 {
		t.Errorf("embedding: %v, %d bytes, %v", embed.Shape, len(embed.Data), err)
	}
	norm, err := c.Tensor("model.norm.weight")
	if err != nil {
		t.Fatal(err)
	}
	got := make([]float32, 4)
	if dtype.Decode(norm.Type, got, norm.Data); !slices.Equal(got, []float32{1, 2, 3, 4}) {
		t.Errorf("norm is %v", got)
	}
	if _, err := c.Tensor("token_embd.weight"); !errors.Is(err, ErrNoTensor) {
		t.Errorf("a tensor by its other name: %v", err)
	}
	if _, err := c.File("tokenizer.json"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file beside a GGUF: %v", err)
	}
	if !c.Interleaved() || c.Format() != FormatGGUF || c.Bytes() != 128 || c.Check() != nil {
		t.Errorf("interleaved %v, format %s, %d bytes, check %v", c.Interleaved(), c.Format(), c.Bytes(), c.Check())
	}
	m := c.Metadata()
	if s, ok := m.Strings("tokenizer.ggml.tokens"); !ok || !slices.Equal(s, []string{"a", "", "\xff"}) {
		t.Errorf("tokens %q, %v", s, ok)
	}
	if n, ok := m.Ints("tokenizer.ggml.token_type"); !ok || !slices.Equal(n, []int32{1, -3, 6}) {
		t.Errorf("types %v, %v", n, ok)
	}
	if f, ok := m.Floats("tokenizer.ggml.token_type"); !ok || !slices.Equal(f, []float32{1, -3, 6}) {
		t.Errorf("types as floats %v, %v", f, ok)
	}
	if b, ok := m.Bool("flag"); !ok || !b {
		t.Error("flag is lost")
	}
	for _, key := range []string{"flag", "none", "tokenizer.ggml.tokens"} {
		if _, ok := m.Int(key); ok {
			t.Errorf("%s is said to be an integer", key)
		}
		if _, ok := m.String(key); ok {
			t.Errorf("%s is said to be a string", key)
		}
	}
}

// Version 2 has the same layout.
func TestGGUFVersion2(t *testing.T) {
	g := tiny("qwen2")
	g.version = 2
	c, err := readGGUF(g.bytes())
	if err != nil || len(c.tensors) != 3 || c.Interleaved() {
		t.Errorf("version 2: %v", err)
	}
}

// Every kind of value, read as what it is and printed.
func TestMetadataKinds(t *testing.T) {
	g := newBuilder()
	for kind, raw := range map[Kind][]byte{
		KindUint8: {200}, KindInt8: {0xff}, KindUint16: {1, 1}, KindInt16: {0xfe, 0xff}, KindUint32: {0, 0, 0, 0x80},
		KindInt32: {0xfd, 0xff, 0xff, 0xff}, KindUint64: {0, 0, 0, 0, 0, 0, 0, 0x80}, KindInt64: {5, 0, 0, 0, 0, 0, 0, 0},
		KindFloat64: le.AppendUint64(nil, math.Float64bits(0.1)), KindFloat32: le.AppendUint32(nil, math.Float32bits(0.1)),
		KindBool: {1}, KindString: putString(nil, strings.Repeat("é", 200)),
	} {
		g.raw(kind.String(), kind, raw)
	}
	// An array of two arrays of bytes.
	inner := append(le.AppendUint64(le.AppendUint32(nil, uint32(KindUint8)), 2), 7, 8)
	g.raw("nested", KindArray, append(le.AppendUint64(le.AppendUint32(nil, uint32(KindArray)), 2), append(inner, inner...)...))
	m, _, err := parseGGUF(g.bytes())
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"uint8": "200", "int8": "-1", "uint16": "257", "int16": "-2", "uint32": "2147483648", "int32": "-3",
		"uint64": "9223372036854775808", "int64": "5", "float64": "0.1", "float32": "0.1", "bool": "true",
		"string": `"` + strings.Repeat("é", maxShown) + `…"`, "nested": "2 array […]",
	} {
		v, ok := m.Get(key)
		if !ok || v.Text() != want {
			t.Errorf("%s is %s, want %s", key, v.Text(), want)
		}
	}
	if n, ok := m.Int("uint32"); !ok || n != 1<<31 {
		t.Errorf("uint32 is %d, %v", n, ok)
	}
	if _, ok := m.Int("uint64"); ok {
		t.Error("a uint64 beyond int64 is said to fit")
	}
	if f, ok := m.Float("uint8"); !ok || f != 200 {
		t.Errorf("uint8 as a float is %v, %v", f, ok)
	}
	if _, ok := m.Ints("nested"); ok {
		t.Error("an array of arrays is said to be integers")
	}
	var none *Metadata
	if _, ok := none.Int("x"); ok {
		t.Error("nil metadata has a key")
	}
	for range none.Keys() {
		t.Error("nil metadata has keys")
	}
}

func TestGGUFRefused(t *testing.T) {
	big := tiny("llama")
	for name, tc := range map[string]struct {
		data []byte
		err  error
		says string
	}{
		"empty":           {nil, ErrTruncated, "magic"},
		"other magic":     {[]byte("GGML\x03\x00\x00\x00"), ErrNoModel, `"GGML"`},
		"version 1":       {(&ggufBuilder{version: 1, align: 32}).bytes(), ErrUnsupported, "version 1"},
		"version 4":       {(&ggufBuilder{version: 4, align: 32}).bytes(), ErrUnsupported, "version 4"},
		"big-endian":      {(&ggufBuilder{version: 3 << 24, align: 32}).bytes(), ErrUnsupported, "big-endian"},
		"no counts":       {[]byte("GGUF\x03\x00\x00\x00"), ErrTruncated, "number of tensors"},
		"tensor count":    {(&ggufBuilder{version: 3, tensors: 1 << 62, align: 32}).bytes(), ErrTruncated, "number of tensors"},
		"key count":       {(&ggufBuilder{version: 3, keys: 1 << 63, align: 32}).bytes(), ErrTruncated, "number of keys"},
		"many keys":       {(&ggufBuilder{version: 3, keys: maxKeys + 1, data: make([]byte, maxKeys+9), align: 32}).bytes(), ErrTooLarge, "65537 keys"},
		"cut key":         {tiny("llama").bytes()[:40], ErrTruncated, "key"},
		"cut data":        {big.bytes()[:len(big.bytes())-1], ErrTruncated, "blk.0.attn_q"},
		"empty key":       {newBuilder().key("", 1).bytes(), ErrFormat, "key 0"},
		"twice":           {newBuilder().key("a", 1).key("a", 2).bytes(), ErrFormat, `"a" is there twice`},
		"value type":      {newBuilder().raw("a", 13, make([]byte, 64)).bytes(), ErrFormat, "type 13"},
		"bool 2":          {newBuilder().raw("a", KindBool, []byte{2}).bytes(), ErrFormat, "bool is 2"},
		"long string":     {newBuilder().raw("a", KindString, le.AppendUint64(nil, 1<<40)).bytes(), ErrTruncated, "length of a string"},
		"long array":      {newBuilder().raw("a", KindArray, le.AppendUint64(le.AppendUint32(nil, 10), 1<<61)).bytes(), ErrTruncated, "length of an array"},
		"array one short": {newBuilder().raw("a", KindArray, append(le.AppendUint64(le.AppendUint32(nil, 10), 40), make([]byte, 8)...)).bytes(), ErrTruncated, "an array"},
		"array of what":   {newBuilder().raw("a", KindArray, le.AppendUint64(le.AppendUint32(nil, 99), 1)).bytes(), ErrFormat, "type 99"},
		"deep array":      {newBuilder().raw("a", KindArray, bytes.Repeat(le.AppendUint64(le.AppendUint32(nil, 9), 1), 9)).bytes(), ErrFormat, "nested"},
		"alignment 3":     {newBuilder().key("general.alignment", 3).bytes(), ErrFormat, "alignment is 3"},
		"alignment 0":     {newBuilder().key("general.alignment", 0).bytes(), ErrFormat, "alignment is 0"},
		"alignment text":  {newBuilder().key("general.alignment", "x").bytes(), ErrFormat, "alignment is"},
		"same tensor":     {newBuilder().f32("a", []float32{1}, 1).f32("a", []float32{1}, 1).bytes(), ErrFormat, `"a" is there twice`},
		"same name after translation": {newBuilder().f32("output_norm.weight", []float32{1}, 1).
			f32("model.norm.weight", []float32{1}, 1).bytes(), ErrFormat, "model.norm.weight"},
		"overlap":        {newBuilder().f32("a", make([]float32, 16), 16).row("b", 0, 32, 1).bytes(), ErrFormat, "begins inside"},
		"same place":     {newBuilder().f32("a", make([]float32, 16), 16).row("b", 0, 0, 1).bytes(), ErrFormat, "begins inside"},
		"unaligned":      {newBuilder().row("a", 0, 4, 1).f32("b", make([]float32, 16), 16).bytes(), ErrFormat, "multiple of 32"},
		"behind the end": {newBuilder().row("a", 0, 1<<20, 1).bytes(), ErrTruncated, "offset 1048576"},
		"offset wraps":   {newBuilder().row("a", 0, math.MaxUint64-31, 16).bytes(), ErrTruncated, "offset"},
		"five dims":      {newBuilder().row("a", 0, 0, 1, 1, 1, 1, 1).bytes(), ErrFormat, "5 dimensions"},
		"dims overflow":  {newBuilder().row("a", 0, 0, 1<<32, 1<<32).bytes(), ErrFormat, "elements"},
		"bytes overflow": {newBuilder().row("a", 0, 0, 1<<31, 1<<31).bytes(), ErrFormat, "bytes"},
		"negative dim":   {newBuilder().row("a", 0, 0, 1<<63).bytes(), ErrFormat, "dimension 0"},
		"type 99":        {newBuilder().row("a", 99, 0, 32).bytes(), ErrFormat, "number format 99"},
		"known type":     {newBuilder().row("a", 16, 0, 256).bytes(), ErrUnsupported, "IQ2_XXS"},
		"part of a row":  {newBuilder().row("a", 2, 0, 33).bytes(), ErrFormat, "Q4_0"},
		"no name":        {newBuilder().row("", 0, 0, 1).bytes(), ErrFormat, "name of tensor 0"},
		"split":          {newBuilder().key("split.count", 3).key("split.no", 1).bytes(), ErrUnsupported, "part 2 of 3"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readGGUF(tc.data)
			if !errors.Is(err, tc.err) || !strings.Contains(fmt.Sprint(err), tc.says) {
				t.Errorf("got %v, want %v that says %q", err, tc.err, tc.says)
			}
		})
	}
}

// A file cut at any byte is refused, whatever it is cut in.
func TestGGUFCutAnywhere(t *testing.T) {
	whole := tiny("llama").bytes()
	if _, err := readGGUF(whole); err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if _, err := readGGUF(whole[:n]); !errors.Is(err, ErrTruncated) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func config(t *testing.T, g *ggufBuilder) map[string]any {
	t.Helper()
	c, err := readGGUF(g.bytes())
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(c.Config(), &out); err != nil {
		t.Fatalf("%v in %s", err, c.Config())
	}
	return out
}

func TestGGUFConfig(t *testing.T) {
	got := config(t, tiny("llama"))
	for key, want := range map[string]any{
		"model_type": "llama", "architectures": []any{"LlamaForCausalLM"}, "hidden_size": 4., "num_hidden_layers": 1.,
		"num_attention_heads": 2., "num_key_value_heads": 1., "intermediate_size": 8., "max_position_embeddings": 64.,
		"rope_theta": 5e5, "rms_norm_eps": 1e-5, "vocab_size": 3., "tie_word_embeddings": true, "bos_token_id": 1.,
		"eos_token_id": 2., "rope_interleaved": true, "attention_bias": false,
	} {
		if !reflect.DeepEqual(got[key], want) {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	if _, ok := got["rope_scaling"]; ok {
		t.Error("rope_scaling out of nothing")
	}
	g := tiny("qwen2").key("tokenizer.ggml.eot_token_id", 7).key("qwen2.rope.scaling.type", "yarn").
		key("qwen2.rope.scaling.factor", 4.).key("qwen2.rope.scaling.original_context_length", 16).
		key("qwen2.rope.scaling.yarn_beta_fast", 24.).f32("output.weight", make([]float32, 12), 4, 3).
		key("qwen2.attention.key_length", 2).key("qwen2.rope.dimension_count", 1)
	got = config(t, g)
	for key, want := range map[string]any{
		"model_type": "qwen2", "eos_token_id": []any{2., 7.}, "tie_word_embeddings": false, "rope_interleaved": false,
		"rope_scaling": map[string]any{"rope_type": "yarn", "factor": 4., "original_max_position_embeddings": 16., "beta_fast": 24.},
		"head_dim":     2., "partial_rotary_factor": .5,
	} {
		if !reflect.DeepEqual(got[key], want) {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
}

func TestGGUFConfigMiniCPM(t *testing.T) {
	g := tiny("minicpm").key("minicpm.embedding_scale", 12.).key("minicpm.residual_scale", 1.4).
		key("minicpm.logit_scale", 2.).key("minicpm.rope.scaling.type", "longrope").
		key("nosa.topk", 6).key("nosa.kernel_size", 4).key("nosa.use_nope", false).
		f32(ropeLong, []float32{1, 2.5}, 2).f32(ropeShort, []float32{1, 1.25}, 2)
	got := config(t, g)
	for key, want := range map[string]any{
		"scale_emb": 12., "scale_depth": 1.4, "dim_model_base": 2., "rope_interleaved": true,
		"rope_scaling":  map[string]any{"rope_type": "longrope", "long_factor": []any{1., 2.5}, "short_factor": []any{1., 1.25}},
		"sparse_config": map[string]any{"topk": 6., "kernel_size": 4., "use_nope": false},
	} {
		if !reflect.DeepEqual(got[key], want) {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	old := config(t, tiny("minicpm")) // a file from before the scales were written
	if old["scale_emb"] != 12. || old["scale_depth"] != 1.4 || old["dim_model_base"] != 256. {
		t.Errorf("without scales: %v, %v, %v", old["scale_emb"], old["scale_depth"], old["dim_model_base"])
	}
}

// llama3's parameters come back from the list of factors that they made.
func TestLlama3Factors(t *testing.T) {
	for _, tc := range []struct {
		dim, original         int
		theta, factor, lo, hi float64
	}{
		{128, 8192, 5e5, 8, 1, 4}, {64, 8192, 5e5, 32, 1, 4}, {64, 4096, 1e4, 4, 1, 8},
	} {
		divisors := Llama3Factors(tc.dim, tc.theta, tc.factor, tc.lo, tc.hi, float64(tc.original))
		g := tiny("llama")
		g.keyBytes = bytes.Replace(g.keyBytes, le.AppendUint32(nil, math.Float32bits(5e5)), le.AppendUint32(nil, math.Float32bits(float32(tc.theta))), 1)
		got, _ := config(t, g.f32(ropeFreqs, divisors, uint64(len(divisors))))["rope_scaling"].(map[string]any)
		if got["rope_type"] != "llama3" || got["factor"] != tc.factor || got["low_freq_factor"] != tc.lo ||
			got["high_freq_factor"] != tc.hi || got["original_max_position_embeddings"] != float64(tc.original) {
			t.Errorf("%+v came back as %v", tc, got)
		}
		if list, _ := got["rope_freq_factors"].([]any); len(list) != len(divisors) {
			t.Errorf("%d factors, want %d", len(list), len(divisors))
		}
	}
	// A list of another origin stays a list.
	got, _ := config(t, tiny("llama").f32(ropeFreqs, []float32{1, 3, 2, 8}, 4))["rope_scaling"].(map[string]any)
	if got["rope_type"] != "default" || len(got["rope_freq_factors"].([]any)) != 4 {
		t.Errorf("a foreign list came back as %v", got)
	}
}

func TestNames(t *testing.T) {
	for gguf, folder := range map[string]string{
		"token_embd.weight": "model.embed_tokens.weight", "output.weight": "lm_head.weight",
		"blk.17.attn_q.bias": "model.layers.17.self_attn.q_proj.bias", "blk.0.attn_a": "model.layers.0.self_attn.A",
		"blk.0.attn_delta.bias": "model.layers.0.self_attn.delta.bias", "rope_freqs.weight": "rope_freqs.weight",
		"blk.01.attn_q.weight": "blk.01.attn_q.weight", "blk.-1.attn_q.weight": "blk.-1.attn_q.weight",
		"blk.0.attn_q": "blk.0.attn_q", "blk.0.ffn_gate_exps.weight": "blk.0.ffn_gate_exps.weight", "": "",
	} {
		if got := FolderName(gguf); got != folder {
			t.Errorf("FolderName(%q) = %q, want %q", gguf, got, folder)
		}
		if got := GGUFName(folder); got != gguf {
			t.Errorf("GGUFName(%q) = %q, want %q", folder, got, gguf)
		}
	}
}

func TestDescribe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(path, tiny("llama").bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	d := mustOpen(t, path).Describe()
	if d.Parameters != 32 || d.Bytes != 128 || d.Architecture != "llama" || len(d.Tensors) != 3 || len(d.Metadata) != 15 {
		t.Errorf("%+v", d)
	}
	if len(d.Types) != 1 || d.Types[0] != (TypeTotal{"F32", 3, 32, 128}) {
		t.Errorf("types %+v", d.Types)
	}
	if want := (Entry{"tokenizer.ggml.tokens", "array of string", `3 string ["a", "", "\xff"]`}); !slices.Contains(d.Metadata, want) {
		t.Errorf("metadata %v lacks %v", d.Metadata, want)
	}
}

// TestOpenBytes: a file in memory is the model that it is on a disk, under the name that it was given.
func TestOpenBytes(t *testing.T) {
	data := tiny("llama").bytes()
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	want := mustOpen(t, path)
	got, err := OpenBytes("inside", data)
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest() != want.Digest() || !slices.Equal(got.Names(), want.Names()) || len(got.Names()) == 0 {
		t.Errorf("%q, want %q, or other bytes", got.Names(), want.Names())
	}
	d := want.Describe()
	d.Path = "inside"
	if !reflect.DeepEqual(got.Describe(), d) {
		t.Errorf("%+v, want %+v", got.Describe(), d)
	}
	if err := got.Check(); err != nil {
		t.Error(err)
	}
	if _, err := got.File("tokenizer.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file beside it: %v", err)
	}
	if err := got.Close(); err != nil || got.Has("model.norm.weight") {
		t.Errorf("closed: %v", err)
	}
	for n := range data { // cut anywhere
		if ck, err := OpenBytes("inside", data[:n]); err == nil || ck != nil || !strings.HasPrefix(err.Error(), "weights: inside: ") {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
}
