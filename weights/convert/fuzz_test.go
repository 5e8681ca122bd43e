package convert

import (
	"encoding/json"
	"runtime"
	"testing"

	"nosa/weights"
)

// FuzzTokenizer: a tokenizer.json is refused, or becomes a vocabulary whose lists fit each other, within four times its
// size and 64 MiB.
func FuzzTokenizer(f *testing.F) {
	for _, kind := range []string{"gpt-2", "smollm", "llama-bpe", "qwen2", "sentencepiece"} {
		data, err := json.Marshal(tokenizerOf(kind))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		v := &vocabulary{size: vocab}
		err := v.read(data)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > uint64(4*len(data))+64<<20 {
			t.Fatalf("%d bytes of input made it allocate %d", len(data), used)
		}
		if err != nil {
			return
		}
		if len(v.tokens) != vocab || len(v.kinds) != vocab || v.model == "llama" && len(v.scores) != vocab {
			t.Fatalf("%d tokens, %d kinds, %d scores", len(v.tokens), len(v.kinds), len(v.scores))
		}
		for id, kind := range v.kinds {
			if kind < normal || kind > byteToken {
				t.Fatalf("token %d is of kind %d", id, kind)
			}
		}
		if len(v.pairs()) < 4 {
			t.Fatal("keys are missing")
		}
	})
}

// FuzzConfig: a config.json is refused, or gives keys for every family that can be written; what is computed with is
// within bounds.
func FuzzConfig(f *testing.F) {
	for _, family := range []string{"llama", "qwen2", "minicpm", "nosa"} {
		for _, rope := range ropes {
			data, err := json.Marshal(configOf(family, true, map[string]any{"rope_scaling": rope,
				"sparse_config": map[string]any{"topk": 6, "use_nope": true}}))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig(data)
		if err != nil {
			return
		}
		if d := c.headDim(); d <= 0 || d%2 != 0 || c.kvHeads() <= 0 {
			t.Fatalf("heads of %d, %d for keys", d, c.kvHeads())
		}
		for _, plain := range []bool{false, true} {
			arch, err := c.architecture(!plain, plain)
			if err != nil {
				continue
			}
			meta, factors, err := c.metadata(arch)
			if err != nil {
				continue
			}
			seen := map[string]bool{}
			for _, p := range meta {
				if seen[p.Key] {
					t.Fatalf("key %s twice", p.Key)
				}
				seen[p.Key] = true
			}
			for _, x := range factors {
				if x.Elements()*4 != len(x.Data) || weights.GGUFName(x.Name) != x.Name {
					t.Fatalf("factors %s: %d of %d bytes", x.Name, x.Elements(), len(x.Data))
				}
			}
		}
	})
}
