package convert

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Patterns by which published tokenizers cut a text into words before byte-level BPE, and GGUF's names for them.
const (
	llama3Pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	qwen2Pattern  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// step is one part of a tokenizer.json's pre-tokenizer, normaliser, decoder or post-processor: those members of all of
// them that matter here.
type step struct {
	Type           string `json:"type"`
	PreTokenizers  []step `json:"pretokenizers"`
	Normalizers    []step `json:"normalizers"`
	Processors     []step `json:"processors"`
	Decoders       []step `json:"decoders"`
	AddPrefixSpace *bool  `json:"add_prefix_space"`
	PrependScheme  string `json:"prepend_scheme"`
	UseRegex       *bool  `json:"use_regex"`
	Individual     bool   `json:"individual_digits"`
	Behavior       string `json:"behavior"`
	Invert         bool   `json:"invert"`
	Content        string `json:"content"`
	Pattern        struct {
		Regex  *string `json:"Regex"`
		String *string `json:"String"`
	} `json:"pattern"`
	Single []struct {
		SpecialToken *struct {
			ID string `json:"id"`
		} `json:"SpecialToken"`
		Sequence *struct {
			ID string `json:"id"`
		} `json:"Sequence"`
	} `json:"single"`
}

// parts returns the steps of a part of tokenizer.json in order, a sequence taken apart. A null part has none.
func parts(v jsontext.Value) ([]step, error) {
	if len(v) == 0 || v.Kind() == 'n' {
		return nil, nil
	}
	var s step
	if err := json.Unmarshal(v, &s); err != nil {
		return nil, err
	}
	return s.flat(), nil
}

func (s step) flat() []step {
	if s.Type != "Sequence" {
		return []step{s}
	}
	var out []step
	for _, list := range [][]step{s.PreTokenizers, s.Normalizers, s.Processors, s.Decoders} {
		for _, inner := range list {
			out = append(out, inner.flat()...)
		}
	}
	return out
}

// preTokenizer returns GGUF's name for the way in which a byte-level tokenizer cuts words.
func preTokenizer(steps []step) (string, error) {
	if len(steps) == 0 || steps[len(steps)-1].Type != "ByteLevel" {
		return "", fmt.Errorf("pre-tokenizer does not end in ByteLevel: %w", ErrUnsupported)
	}
	last := steps[len(steps)-1]
	own := last.UseRegex == nil || *last.UseRegex // ByteLevel's own pattern is GPT-2's
	if last.AddPrefixSpace != nil && *last.AddPrefixSpace {
		return "", fmt.Errorf("pre-tokenizer adds a space in front, for which byte-level GGUF has no word: %w", ErrUnsupported)
	}
	switch first := steps[0]; {
	case len(steps) == 1 && own:
		return "gpt-2", nil
	case len(steps) == 2 && own && first.Type == "Digits" && first.Individual:
		return "smollm", nil
	case len(steps) == 2 && !own && first.Type == "Split" && first.Behavior == "Isolated" && !first.Invert &&
		first.Pattern.Regex != nil:
		switch *first.Pattern.Regex {
		case llama3Pattern:
			return "llama-bpe", nil
		case qwen2Pattern:
			return "qwen2", nil
		}
		return "", fmt.Errorf("pre-tokenizer with the pattern %q: only those of GPT-2, Llama 3, Qwen2 and SmolLM have a name in GGUF: %w",
			*first.Pattern.Regex, ErrUnsupported)
	}
	return "", fmt.Errorf("pre-tokenizer of %d steps that begins with %s: only those of GPT-2, Llama 3, Qwen2 and SmolLM have a name in GGUF: %w",
		len(steps), steps[0].Type, ErrUnsupported)
}

// object is a piece of tokenizer.json to be written.
type object = map[string]any

// folderPreTokenizer is the way back, with the normaliser that goes with it.
func folderPreTokenizer(name string) (pre, normalizer any, err error) {
	byteLevel := func(useRegex bool) object {
		return object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": useRegex}
	}
	split := func(pattern string) object {
		return object{"type": "Sequence", "pretokenizers": []object{
			{"type": "Split", "pattern": object{"Regex": pattern}, "behavior": "Isolated", "invert": false}, byteLevel(false),
		}}
	}
	switch name {
	case "gpt-2", "phi-2", "exaone4", "mellum", "jina-es", "jina-de":
		return byteLevel(true), nil, nil
	case "smollm":
		return object{"type": "Sequence", "pretokenizers": []object{
			{"type": "Digits", "individual_digits": true}, byteLevel(true),
		}}, nil, nil
	case "llama-bpe", "llama3", "llama-v3":
		return split(llama3Pattern), nil, nil
	case "qwen2", "deepseek-r1-qwen", "megrez":
		return split(qwen2Pattern), object{"type": "NFC"}, nil
	}
	return nil, nil, fmt.Errorf("tokenizer.ggml.pre is %q, want gpt-2, llama-bpe, qwen2 or smollm: %w", name, ErrUnsupported)
}
