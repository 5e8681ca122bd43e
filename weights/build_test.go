package weights

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// ggufBuilder puts files together byte by byte, right or wrong; the package's own writer refuses to write wrong ones.
type ggufBuilder struct {
	version       uint32
	keys, tensors uint64
	keyBytes      []byte
	tensorBytes   []byte
	data          []byte
	align         int
}

func newBuilder() *ggufBuilder { return &ggufBuilder{version: 3, align: 32} }

var le = binary.LittleEndian

func putString(b []byte, s string) []byte { return append(le.AppendUint64(b, uint64(len(s))), s...) }

func (g *ggufBuilder) raw(key string, kind Kind, value []byte) *ggufBuilder {
	g.keys++
	g.keyBytes = append(le.AppendUint32(putString(g.keyBytes, key), uint32(kind)), value...)
	return g
}

func (g *ggufBuilder) key(key string, value any) *ggufBuilder {
	switch v := value.(type) {
	case string:
		return g.raw(key, KindString, putString(nil, v))
	case int:
		return g.raw(key, KindUint32, le.AppendUint32(nil, uint32(v)))
	case float64:
		return g.raw(key, KindFloat32, le.AppendUint32(nil, math.Float32bits(float32(v))))
	case bool:
		if v {
			return g.raw(key, KindBool, []byte{1})
		}
		return g.raw(key, KindBool, []byte{0})
	case []string:
		b := le.AppendUint64(le.AppendUint32(nil, uint32(KindString)), uint64(len(v)))
		for _, s := range v {
			b = putString(b, s)
		}
		return g.raw(key, KindArray, b)
	case []int32:
		b := le.AppendUint64(le.AppendUint32(nil, uint32(KindInt32)), uint64(len(v)))
		for _, n := range v {
			b = le.AppendUint32(b, uint32(n))
		}
		return g.raw(key, KindArray, b)
	}
	panic("no such kind in tests")
}

func (g *ggufBuilder) row(name string, number uint32, offset uint64, dims ...uint64) *ggufBuilder {
	g.tensors++
	b := le.AppendUint32(putString(g.tensorBytes, name), uint32(len(dims)))
	for _, d := range dims {
		b = le.AppendUint64(b, d)
	}
	g.tensorBytes = le.AppendUint64(le.AppendUint32(b, number), offset)
	return g
}

// f32 adds a tensor with its data at the next aligned place; dims are given fastest first, as in the file.
func (g *ggufBuilder) f32(name string, values []float32, dims ...uint64) *ggufBuilder {
	for len(g.data)%g.align != 0 {
		g.data = append(g.data, 0)
	}
	g.row(name, 0, uint64(len(g.data)), dims...)
	for _, v := range values {
		g.data = le.AppendUint32(g.data, math.Float32bits(v))
	}
	return g
}

func (g *ggufBuilder) header() []byte {
	b := le.AppendUint32([]byte("GGUF"), g.version)
	b = le.AppendUint64(le.AppendUint64(b, g.tensors), g.keys)
	return append(append(b, g.keyBytes...), g.tensorBytes...)
}

func (g *ggufBuilder) bytes() []byte {
	b := g.header()
	for len(b)%g.align != 0 {
		b = append(b, 0)
	}
	return append(b, g.data...)
}

// tiny is a small valid model: every kind of key, a few tensors.
func tiny(arch string) *ggufBuilder {
	g := newBuilder().key("general.architecture", arch).key("general.alignment", 32).
		key(arch+".block_count", 1).key(arch+".embedding_length", 4).key(arch+".attention.head_count", 2).
		key(arch+".attention.head_count_kv", 1).key(arch+".feed_forward_length", 8).key(arch+".context_length", 64).
		key(arch+".rope.freq_base", 5e5).key(arch+".attention.layer_norm_rms_epsilon", 1e-5).
		key("tokenizer.ggml.tokens", []string{"a", "", "\xff"}).key("tokenizer.ggml.token_type", []int32{1, -3, 6}).
		key("tokenizer.ggml.bos_token_id", 1).key("tokenizer.ggml.eos_token_id", 2).key("flag", true)
	return g.f32("token_embd.weight", make([]float32, 12), 4, 3).
		f32("output_norm.weight", []float32{1, 2, 3, 4}, 4).
		f32("blk.0.attn_q.weight", make([]float32, 16), 4, 4)
}

// stWriter builds a safetensors file from a header and data.
func safetensorsFile(header string, data []byte) []byte {
	return append(append(le.AppendUint64(nil, uint64(len(header))), header...), data...)
}

const stHeader = `{"__metadata__":{"format":"pt"},` +
	`"b":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]},` +
	`"a":{"dtype":"F32","shape":[3],"data_offsets":[8,20]},` +
	`"odd":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[20,24]}}   `

// folder writes files to a temporary folder; a value that is no []byte or string is written as JSON.
func folder(t *testing.T, files map[string]any) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		var data []byte
		switch c := content.(type) {
		case []byte:
			data = c
		case string:
			data = []byte(c)
		default:
			var err error
			if data, err = json.Marshal(c); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func mustOpen(t *testing.T, path string) *Checkpoint {
	t.Helper()
	c, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}
