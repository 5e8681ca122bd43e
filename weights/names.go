package weights

import (
	"strconv"
	"strings"
)

// GGUF and Hugging Face folders name the same tensors differently. What has no entry here keeps its name.

var topNames = map[string]string{
	"token_embd":  "model.embed_tokens",
	"output_norm": "model.norm",
	"output":      "lm_head",
}

// layerNames are those behind blk.N. and model.layers.N., without .weight or .bias.
var layerNames = map[string]string{
	"attn_norm":   "input_layernorm",
	"attn_q":      "self_attn.q_proj",
	"attn_k":      "self_attn.k_proj",
	"attn_v":      "self_attn.v_proj",
	"attn_output": "self_attn.o_proj",
	"attn_q_norm": "self_attn.q_norm",
	"attn_k_norm": "self_attn.k_norm",
	"ffn_norm":    "post_attention_layernorm",
	"ffn_gate":    "mlp.gate_proj",
	"ffn_up":      "mlp.up_proj",
	"ffn_down":    "mlp.down_proj",
	"attn_delta":  "self_attn.delta", // NOSA's importance score; the name in GGUF is ours
}

// The other half of the importance score is a bare parameter, without .weight.
const (
	ggufA   = "attn_a"
	folderA = "self_attn.A"
)

var topNamesBack, layerNamesBack = invert(topNames), invert(layerNames)

func invert(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[v] = k
	}
	return out
}

// FolderName returns the name that Hugging Face folders have for a tensor of a GGUF file.
func FolderName(gguf string) string {
	return rename(gguf, "blk.", "model.layers.", ggufA, folderA, topNames, layerNames)
}

// GGUFName returns the name that GGUF files have for a tensor of a Hugging Face folder.
func GGUFName(folder string) string {
	return rename(folder, "model.layers.", "blk.", folderA, ggufA, topNamesBack, layerNamesBack)
}

// rename translates name: layer prefixes, the one bare name, and stems before .weight or .bias.
func rename(name, prefix, newPrefix, bare, newBare string, top, layer map[string]string) string {
	rest, inLayer := strings.CutPrefix(name, prefix)
	if inLayer {
		number, part, ok := strings.Cut(rest, ".")
		if !ok || !layerNumber(number) {
			return name
		}
		if part == bare {
			return newPrefix + number + "." + newBare
		}
		stem, ending := cutEnding(part)
		if to, ok := layer[stem]; ok && ending != "" {
			return newPrefix + number + "." + to + ending
		}
		return name
	}
	stem, ending := cutEnding(name)
	if to, ok := top[stem]; ok && ending != "" {
		return to + ending
	}
	return name
}

// layerNumber takes decimal numbers as they are printed, so that two spellings never mean one layer.
func layerNumber(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 0 && strconv.Itoa(n) == s
}

func cutEnding(name string) (stem, ending string) {
	for _, e := range []string{".weight", ".bias"} {
		if stem, ok := strings.CutSuffix(name, e); ok {
			return stem, e
		}
	}
	return name, ""
}
