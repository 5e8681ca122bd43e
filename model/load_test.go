package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/dtype"
	"nosa/weights"
)

// shapes are the tensors of a small llama of two layers, by name.
func shapes() map[string][]int {
	s := map[string][]int{"model.embed_tokens.weight": {10, 8}, "lm_head.weight": {10, 8}, "model.norm.weight": {8}}
	for i := range 2 {
		for name, shape := range map[string][]int{
			"input_layernorm.weight": {8}, "post_attention_layernorm.weight": {8},
			"self_attn.q_proj.weight": {8, 8}, "self_attn.k_proj.weight": {4, 8}, "self_attn.v_proj.weight": {4, 8}, "self_attn.o_proj.weight": {8, 8},
			"mlp.gate_proj.weight": {12, 8}, "mlp.up_proj.weight": {12, 8}, "mlp.down_proj.weight": {8, 12},
		} {
			s[fmt.Sprintf("model.layers.%d.%s", i, name)] = shape
		}
	}
	return s
}

// checkpointOf writes tensors of zeros and a config.json, and opens them.
func checkpointOf(t *testing.T, tensors map[string][]int, types map[string]dtype.Type, config map[string]any) *weights.Checkpoint {
	t.Helper()
	c := map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
		"intermediate_size": 12, "vocab_size": 10, "max_position_embeddings": 64,
	}
	maps.Copy(c, config)
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var sources []weights.Source
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		kind := dtype.F32
		if k, ok := types[name]; ok {
			kind = k
		}
		n := 1
		for _, d := range tensors[name] {
			n *= d
		}
		size, err := kind.Size(n)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, weights.Source{Name: name, Type: kind, Shape: tensors[name], Write: func(w io.Writer) error {
			_, err := w.Write(make([]byte, size))
			return err
		}})
	}
	dir := filepath.Join(t.TempDir(), "model")
	if err := weights.WriteFolder(context.Background(), dir, map[string][]byte{"config.json": data}, sources, weights.FolderOptions{}); err != nil {
		t.Fatal(err)
	}
	ck, err := weights.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ck.Close(); err != nil {
			t.Error(err)
		}
	})
	return ck
}

// TestLoadRefusals: what a checkpoint lacks, has in another shape, or has without
// its config.json knowing, is refused in one line that names the tensor, and
// nothing stays allocated.
func TestLoadRefusals(t *testing.T) {
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	const at = "model.layers.1."
	type change = func(s map[string][]int, types map[string]dtype.Type, config map[string]any)
	cases := map[string]struct {
		change change
		scored bool
		say    string // empty: loads
	}{
		"as it should be": {change: func(map[string][]int, map[string]dtype.Type, map[string]any) {}},
		"axes of length 1": {change: func(s map[string][]int, _ map[string]dtype.Type, _ map[string]any) {
			s["model.norm.weight"] = []int{1, 8, 1}
		}},
		"tied, with an output layer in the file": {change: func(_ map[string][]int, _ map[string]dtype.Type, c map[string]any) { c["tie_word_embeddings"] = true }},
		"tied, without": {change: func(s map[string][]int, _ map[string]dtype.Type, c map[string]any) {
			c["tie_word_embeddings"] = true
			delete(s, "lm_head.weight")
		}},
		"transposed": {change: func(s map[string][]int, _ map[string]dtype.Type, _ map[string]any) {
			s[at+"mlp.down_proj.weight"] = []int{12, 8}
		}, say: at + "mlp.down_proj.weight is [12 8], config.json asks for [8 12]"},
		"flat": {change: func(s map[string][]int, _ map[string]dtype.Type, _ map[string]any) {
			s[at+"self_attn.q_proj.weight"] = []int{64}
		}, say: at + "self_attn.q_proj.weight is [64]"},
		"larger vocabulary in the file": {change: func(s map[string][]int, _ map[string]dtype.Type, _ map[string]any) {
			s["model.embed_tokens.weight"] = []int{11, 8}
		}, say: "model.embed_tokens.weight is [11 8]"},
		"integers": {change: func(_ map[string][]int, types map[string]dtype.Type, _ map[string]any) {
			types[at+"mlp.up_proj.weight"] = dtype.I32
		}, say: at + "mlp.up_proj.weight is stored as"},
		"biases without a word": {change: func(s map[string][]int, _ map[string]dtype.Type, _ map[string]any) {
			s[at+"self_attn.k_proj.bias"] = []int{4}
		}, say: at + "self_attn.k_proj.bias"},
		"a word without biases": {change: func(_ map[string][]int, _ map[string]dtype.Type, c map[string]any) { c["mlp_bias"] = true },
			say: "model.layers.0.mlp.gate_proj.bias"},
		"norms of heads without a word": {change: func(s map[string][]int, _ map[string]dtype.Type, _ map[string]any) {
			s[at+"self_attn.q_norm.weight"] = []int{2}
		}, say: at + "self_attn.q_norm.weight"},
		"a third layer": {change: func(s map[string][]int, _ map[string]dtype.Type, _ map[string]any) {
			s["model.layers.2.mlp.up_proj.weight"] = []int{12, 8}
		}, say: "model.layers.2.mlp.up_proj.weight, but in config.json num_hidden_layers is 2"},
		"scores in one layer of two": {change: func(s map[string][]int, _ map[string]dtype.Type, _ map[string]any) {
			s["model.layers.0.self_attn.delta.weight"], s["model.layers.0.self_attn.A"] = []int{2, 4}, []int{2}
		}, scored: true, say: at + "self_attn.delta.weight"},
		"scores that nobody asked for": {change: func(s map[string][]int, _ map[string]dtype.Type, _ map[string]any) {
			s["model.layers.0.self_attn.delta.weight"], s["model.layers.0.self_attn.A"] = []int{2, 4}, []int{2}
			s["model.layers.0.self_attn.delta.bias"] = []int{2}
		}},
	}
	for name := range shapes() {
		cases["without "+name] = struct {
			change change
			scored bool
			say    string
		}{func(s map[string][]int, _ map[string]dtype.Type, _ map[string]any) { delete(s, name) }, false, name}
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s, types, config := shapes(), map[string]dtype.Type{}, map[string]any{}
			tc.change(s, types, config)
			ck := checkpointOf(t, s, types, config)
			c, err := ParseConfig(ck.Config())
			if err != nil {
				t.Fatal(err)
			}
			m, err := Load(dev, ck, c, 64, tc.scored)
			switch {
			case err == nil && tc.say != "":
				t.Errorf("it was loaded")
			case err != nil && tc.say == "":
				t.Error(err)
			case err != nil && (!errors.Is(err, ErrWeights) || !strings.Contains(err.Error(), tc.say) || strings.Contains(err.Error(), "\n")):
				t.Errorf("%v: want %v that says %q", err, ErrWeights, tc.say)
			}
			if m != nil {
				m.Close()
			}
			if n := dev.Allocated(); n != 0 {
				t.Errorf("%d bytes are left", n)
			}
		})
	}
}

// TestOutputLayer: the file's own table is the output layer, tied or not; without
// one it is the embedding.
func TestOutputLayer(t *testing.T) {
	for name, tc := range map[string]struct{ tied, own, want bool }{
		"untied": {false, true, true}, "tied, own in the file": {true, true, true}, "tied": {true, false, false},
	} {
		s := shapes()
		if !tc.own {
			delete(s, "lm_head.weight")
		}
		ck := checkpointOf(t, s, nil, map[string]any{"tie_word_embeddings": tc.tied})
		c, err := ParseConfig(ck.Config())
		if err != nil {
			t.Fatal(err)
		}
		m, err := Load(compute.Reference{}, ck, c, 64, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := &m.head.Data[0] != &m.embed.Data[0]; got != tc.want {
			t.Errorf("%s: a table of its own: %v", name, got)
		}
		m.Close()
	}
}

// TestQuantisedRows: a weight whose rows are not whole quantised blocks cannot be
// multiplied, and is refused by its name.
func TestQuantisedRows(t *testing.T) {
	for shape, fits := range map[[2]int]bool{{2, 32}: true, {2, 48}: false, {4, 16}: false} {
		if err := rowsFit("x", dtype.Q8_0, shape[:]); (err == nil) != fits || err != nil && !strings.Contains(err.Error(), "x is stored as") {
			t.Errorf("%v: %v", shape, err)
		}
	}
}
