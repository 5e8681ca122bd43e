package weights

import (
	"bytes"
	"encoding/json"
	"runtime"
	"testing"
	"unsafe"

	"nosa/dtype"
)

// frugal fails when f allocates more than four times the input and 64 MiB.
func frugal(t *testing.T, input int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > uint64(4*input)+64<<20 {
		t.Fatalf("%d bytes of input made it allocate %d", input, used)
	}
}

// within says whether view is a part of data.
func within(view, data []byte) bool {
	if len(view) == 0 {
		return true
	}
	v, d := uintptr(unsafe.Pointer(unsafe.SliceData(view))), uintptr(unsafe.Pointer(unsafe.SliceData(data)))
	return v >= d && v+uintptr(len(view)) <= d+uintptr(len(data))
}

// checkEntries: accepted tensors have the size that their shape says, lie in the file, and do not overlap.
func checkEntries(t *testing.T, tensors []Tensor, data []byte) {
	t.Helper()
	var total int
	for _, e := range tensors {
		if e.Type != dtype.Invalid {
			if n, err := e.Type.Size(e.Elements()); err != nil || n != len(e.Data) {
				t.Fatalf("%s: shape %v of %v, but %d bytes (%v)", e.Name, e.Shape, e.Type, len(e.Data), err)
			}
		}
		if !within(e.Data, data) {
			t.Fatalf("%s: data outside of the file", e.Name)
		}
		total += len(e.Data)
	}
	if total > len(data) {
		t.Fatalf("tensors of %d bytes in a file of %d", total, len(data))
	}
}

func FuzzGGUF(f *testing.F) {
	for _, arch := range []string{"llama", "minicpm", "qwen3", "nosa"} {
		f.Add(tiny(arch).bytes())
	}
	f.Add(newBuilder().raw("a", KindArray, bytes.Repeat(le.AppendUint64(le.AppendUint32(nil, 9), 1), 9)).bytes())
	f.Add(tiny("llama").f32(ropeFreqs, []float32{1, 1, 2, 4, 8, 8}, 6).bytes())
	f.Add(newBuilder().row("a", 2, 0, 32, 2).row("b", 14, 64, 256).bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		frugal(t, len(data), func() {
			c, err := readGGUF(data)
			if err != nil {
				return
			}
			var tensors []Tensor
			for _, e := range c.tensors {
				tensors = append(tensors, e.Tensor)
			}
			checkEntries(t, tensors, data)
			if !json.Valid(c.config) {
				t.Fatalf("config is not JSON: %s", c.config)
			}
			c.Describe()
		})
		// The typed questions may be asked of any accepted file.
		m, _, err := parseGGUF(data)
		if err != nil {
			return
		}
		for key := range m.Keys() {
			m.Strings(key)
			m.Ints(key)
			m.Floats(key)
			m.String(key)
			m.Bool(key)
			if v, _ := m.Get(key); !within(v.raw, data) || len(v.Text()) == 0 {
				t.Fatalf("%s: value outside of the file, or without a text", key)
			}
		}
	})
}

func FuzzSafetensors(f *testing.F) {
	f.Add(safetensorsFile(stHeader, make([]byte, 24)))
	f.Add(one("x"))
	f.Add(safetensorsFile(`{"a":{"dtype":"F32","shape":[0,4],"data_offsets":[0,0]},"b":{"dtype":"Q","shape":[],"data_offsets":[0,3]}}`, []byte("abc")))
	f.Fuzz(func(t *testing.T, data []byte) {
		frugal(t, len(data), func() {
			entries, err := parseSafetensors(data)
			if err != nil {
				return
			}
			var tensors []Tensor
			names := map[string]bool{}
			for _, e := range entries {
				tensors = append(tensors, e.Tensor)
				if names[e.Name] {
					t.Fatalf("%q twice", e.Name)
				}
				names[e.Name] = true
			}
			checkEntries(t, tensors, data)
		})
	})
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":1},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"a":"../m.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{},"weight_map":[]}`))
	f.Add([]byte(`{"model_type":"llama","hidden_size":1e999}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		frugal(t, len(data), func() {
			if kind, err := modelType(data); err == nil && kind != "" && !json.Valid(data) {
				t.Fatalf("model type %q from what is not JSON", kind)
			}
			m, err := parseIndex(data)
			if err != nil {
				return
			}
			for tensor, file := range m {
				if !plainName(file) {
					t.Fatalf("%q is in %q", tensor, file)
				}
			}
		})
	})
}

// The largest tables that are accepted stay within the bound, which a fuzzer would need days to find.
func TestFrugalAtTheLimits(t *testing.T) {
	var table, header bytes.Buffer
	header.WriteByte('{')
	g := newBuilder()
	for i := range maxTensors {
		name := string([]byte{byte('a' + i%26), byte('a' + i/26%26), byte('a' + i/676%26), byte('a' + i/17576)})
		g.row(name, 0, 0, 0)
		if i > 0 {
			header.WriteByte(',')
		}
		header.WriteString(`"` + name + `":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`)
	}
	header.WriteByte('}')
	table.Write(g.bytes())
	frugal(t, table.Len(), func() {
		if c, err := readGGUF(table.Bytes()); err != nil || len(c.tensors) != maxTensors {
			t.Errorf("%d tensors, %v", len(c.tensors), err)
		}
	})
	file := safetensorsFile(header.String(), nil)
	frugal(t, len(file), func() {
		if entries, err := parseSafetensors(file); err != nil || len(entries) != maxTensors {
			t.Errorf("%d tensors, %v", len(entries), err)
		}
	})
	keys := newBuilder()
	for i := range maxKeys {
		keys.raw(string([]byte{byte('a' + i%26), byte('a' + i/26%26), byte('a' + i/676%26), byte('a' + i/17576)}), KindUint8, []byte{1})
	}
	file = keys.bytes()
	frugal(t, len(file), func() {
		if m, _, err := parseGGUF(file); err != nil || len(m.keys) != maxKeys {
			t.Errorf("keys: %v", err)
		}
	})
}
