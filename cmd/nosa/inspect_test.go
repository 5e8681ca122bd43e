package main

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nosa/dtype"
	"nosa/weights"
)

// tinyFolder writes a folder with the tensors of a llama of one layer, and a configuration that tries its luck with
// the terminal.
func tinyFolder(t testing.TB) string { return tinyModel(t, 16, nil) }

// tinyModel is the same with a vocabulary of any size, and files beside the weights.
func tinyModel(t testing.TB, vocab int, files map[string][]byte) string {
	t.Helper()
	const hidden, inner = 32, 64
	tensor := func(name string, shape ...int) weights.Source {
		n := 1
		for _, d := range shape {
			n *= d
		}
		return weights.Source{Name: name, Type: dtype.F32, Shape: shape, Write: func(w io.Writer) error {
			b := make([]byte, 0, 4*n)
			for i := range n {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(i%7)-3))
			}
			_, err := w.Write(b)
			return err
		}}
	}
	layer := "model.layers.0."
	tensors := []weights.Source{
		tensor("model.embed_tokens.weight", vocab, hidden), tensor("model.norm.weight", hidden), tensor("lm_head.weight", vocab, hidden),
		tensor(layer+"input_layernorm.weight", hidden), tensor(layer+"post_attention_layernorm.weight", hidden),
		tensor(layer+"self_attn.q_proj.weight", hidden, hidden), tensor(layer+"self_attn.k_proj.weight", hidden, hidden),
		tensor(layer+"self_attn.v_proj.weight", hidden, hidden), tensor(layer+"self_attn.o_proj.weight", hidden, hidden),
		tensor(layer+"mlp.gate_proj.weight", inner, hidden), tensor(layer+"mlp.up_proj.weight", inner, hidden), tensor(layer+"mlp.down_proj.weight", hidden, inner),
	}
	dir := filepath.Join(t.TempDir(), "tiny")
	config := `{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":32,"num_hidden_layers":1,"num_attention_heads":2,
"num_key_value_heads":2,"intermediate_size":64,"vocab_size":` + count(vocab) + `,"max_position_embeddings":128,"rms_norm_eps":1e-6,"rope_theta":10000,
"tie_word_embeddings":false,"_note":"` + "\u009b2J" + `"}` + "\n"
	all := map[string][]byte{"config.json": []byte(config)}
	maps.Copy(all, files)
	if err := weights.WriteFolder(t.Context(), dir, all, tensors, weights.FolderOptions{}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestInspect(t *testing.T) {
	dir := tinyFolder(t)
	r := nosa(t, nil, "inspect", dir)
	for _, s := range []string{"architecture  llama\n", "tensors       12\n", "\nF32 ", dir} {
		if r.code != exitDone || !strings.Contains(r.out, s) {
			t.Errorf("%q is not in %+v", s, r)
		}
	}
	r = nosa(t, nil, "inspect", dir, "-t", "-c")
	if !strings.Contains(r.out, "model.layers.0.mlp.down_proj.weight             F32   [32, 64]  8.0 KiB\n") || !strings.Contains(r.out, `"_note":"?2J"`) || strings.Contains(r.out, "\u009b") {
		t.Errorf("tensors and configuration: %+v", r)
	}
	r = nosa(t, nil, "inspect", dir, "--json")
	var d weights.Description
	if err := json.Unmarshal([]byte(r.out), &d); err != nil || len(d.Tensors) != 12 || d.Path != dir {
		t.Errorf("--json: %v, %+v", err, r)
	}
}

func TestInspectRefuses(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "x.gguf")
	if err := os.WriteFile(garbage, []byte("GGUF\x03\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\x7f"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOSA_HOME", dir) // modelPath asks the process's environment
	nosa(t, nil, "inspect", garbage).refused(t, exitFailed, garbage)
	nosa(t, nil, "inspect", dir).refused(t, exitFailed, dir)
	nosa(t, nil, "inspect", filepath.Join(dir, "none")).refused(t, exitFailed, "none")
	nosa(t, nil, "inspect", "org/none").refused(t, exitFailed, "nosa pull")
	nosa(t, nil, "inspect", "line\nbreak/\x1b[2J").refused(t, exitFailed)
}
