package convert

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"nosa/weights"
)

// Kinds of tokens, by GGUF's numbers.
const (
	normal int32 = 1 + iota
	unknown
	control
	userDefined
	unused
	byteToken
)

// tokenizerFile is what matters of tokenizer.json.
type tokenizerFile struct {
	Added []struct {
		ID      int    `json:"id"`
		Content string `json:"content"`
		Special bool   `json:"special"`
	} `json:"added_tokens"`
	Normalizer    jsontext.Value `json:"normalizer"`
	PreTokenizer  jsontext.Value `json:"pre_tokenizer"`
	PostProcessor jsontext.Value `json:"post_processor"`
	Model         jsontext.Value `json:"model"`
}

// bpe is its model.
type bpe struct {
	Type         string           `json:"type"`
	Vocab        map[string]int   `json:"vocab"`
	Merges       []jsontext.Value `json:"merges"`
	Unknown      *string          `json:"unk_token"`
	ByteFallback bool             `json:"byte_fallback"`
	Prefix       *string          `json:"continuing_subword_prefix"`
	Suffix       *string          `json:"end_of_word_suffix"`
}

// tokenizerConfig is what matters of tokenizer_config.json. Tokens are strings or objects with content.
type tokenizerConfig struct {
	BOS      jsontext.Value `json:"bos_token"`
	EOS      jsontext.Value `json:"eos_token"`
	UNK      jsontext.Value `json:"unk_token"`
	PAD      jsontext.Value `json:"pad_token"`
	AddBOS   *bool          `json:"add_bos_token"`
	AddEOS   *bool          `json:"add_eos_token"`
	Template jsontext.Value `json:"chat_template"`
}

// folderVocabulary returns the keys of a folder's tokenizer. A folder without one gives a GGUF that says so.
func folderVocabulary(m *model) ([]weights.Pair, error) {
	data, err := m.File("tokenizer.json")
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := m.File("tokenizer.model"); !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("tokenizer.model without tokenizer.json: save the tokenizer with transformers first: %w",
				ErrUnsupported)
		}
		return []weights.Pair{{Key: "tokenizer.ggml.model", Value: "no_vocab"}}, nil
	}
	if err != nil {
		return nil, err
	}
	v := &vocabulary{size: m.vocab}
	if err := v.read(data); err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	var settings tokenizerConfig
	if data, err := m.File("tokenizer_config.json"); err == nil {
		if err := json.Unmarshal(data, &settings); err != nil {
			return nil, fmt.Errorf("tokenizer_config.json: %w: %w", err, weights.ErrFormat)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	out := v.pairs()
	out = append(out, v.special(m.config, settings)...)
	template, err := chatTemplate(m.Checkpoint, settings)
	if err != nil {
		return nil, err
	}
	if template != "" {
		out = append(out, weights.Pair{Key: "tokenizer.chat_template", Value: template})
	}
	return out, nil
}

// vocabulary is a tokenizer in GGUF's form.
type vocabulary struct {
	size    int
	model   string // gpt2 for byte-level BPE, llama for SentencePiece's
	pre     string
	tokens  []string
	kinds   []int32
	merges  []string
	scores  []float32 // of llama
	ids     map[string]int
	unknown *string
	prefix  bool     // a space is put in front of the text
	ends    []string // special tokens that the post-processor puts around the text: first, last
}

func (v *vocabulary) read(data []byte) error {
	var f tokenizerFile
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("%w: %w", err, weights.ErrFormat)
	}
	var kind struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(f.Model, &kind); err != nil {
		return fmt.Errorf("model: %w: %w", err, weights.ErrFormat)
	}
	if kind.Type != "BPE" {
		return fmt.Errorf("model is %q, only BPE is converted: %w", kind.Type, ErrUnsupported)
	}
	var b bpe
	if err := json.Unmarshal(f.Model, &b); err != nil {
		return fmt.Errorf("model: %w: %w", err, weights.ErrFormat)
	}
	if b.Prefix != nil && *b.Prefix != "" || b.Suffix != nil && *b.Suffix != "" {
		return fmt.Errorf("model with a subword prefix or suffix: %w", ErrUnsupported)
	}
	if err := v.style(f, b); err != nil {
		return err
	}
	if err := v.place(f, b); err != nil {
		return err
	}
	if err := v.mergeRules(b); err != nil {
		return err
	}
	post, err := parts(f.PostProcessor)
	if err != nil {
		return fmt.Errorf("post_processor: %w: %w", err, weights.ErrFormat)
	}
	v.around(post)
	return nil
}

// style tells byte-level BPE from SentencePiece's with byte fallback.
func (v *vocabulary) style(f tokenizerFile, b bpe) error {
	pre, err := parts(f.PreTokenizer)
	if err != nil {
		return fmt.Errorf("pre_tokenizer: %w: %w", err, weights.ErrFormat)
	}
	normalizer, err := parts(f.Normalizer)
	if err != nil {
		return fmt.Errorf("normalizer: %w: %w", err, weights.ErrFormat)
	}
	if !b.ByteFallback {
		v.model = "gpt2"
		v.pre, err = preTokenizer(pre)
		return err
	}
	v.model, v.pre, v.unknown = "llama", "default", b.Unknown
	marked := false
	for _, s := range append(normalizer, pre...) {
		switch s.Type {
		case "Prepend":
			v.prefix = true
		case "Replace":
			marked = marked || s.Content == "▁"
		case "Metaspace":
			marked = true
			v.prefix = v.prefix || s.PrependScheme == "always" || s.PrependScheme == "first" ||
				s.PrependScheme == "" && (s.AddPrefixSpace == nil || *s.AddPrefixSpace)
		default:
			return fmt.Errorf("%s in a tokenizer with byte fallback: %w", s.Type, ErrUnsupported)
		}
	}
	if !marked {
		return fmt.Errorf("byte fallback without ▁ for spaces: %w", ErrUnsupported)
	}
	return nil
}

// place puts every token at its id; ids that nobody has become unused ones.
func (v *vocabulary) place(f tokenizerFile, b bpe) error {
	v.tokens, v.kinds = make([]string, v.size), make([]int32, v.size)
	v.ids = make(map[string]int, len(b.Vocab)+len(f.Added))
	put := func(token string, id int, kind int32) error {
		if id < 0 || id >= v.size {
			return fmt.Errorf("token %q has id %d, the embedding has %d rows: %w", token, id, v.size, weights.ErrFormat)
		}
		if v.kinds[id] != 0 && v.tokens[id] != token {
			return fmt.Errorf("tokens %q and %q have the same id %d: %w", v.tokens[id], token, id, weights.ErrFormat)
		}
		v.tokens[id], v.kinds[id], v.ids[token] = token, kind, id
		return nil
	}
	for token, id := range b.Vocab {
		kind := normal
		switch {
		case v.model == "llama" && isByte(token):
			kind = byteToken
		case b.Unknown != nil && token == *b.Unknown && v.model == "llama":
			kind = unknown
		}
		if err := put(token, id, kind); err != nil {
			return err
		}
	}
	for _, a := range f.Added {
		kind := userDefined
		if a.Special {
			kind = control
		}
		if v.model == "llama" && b.Unknown != nil && a.Content == *b.Unknown {
			kind = unknown
		}
		if err := put(a.Content, a.ID, kind); err != nil {
			return err
		}
	}
	for id, kind := range v.kinds {
		if kind == 0 {
			v.tokens[id], v.kinds[id] = fmt.Sprintf("[PAD%d]", id), unused
		}
	}
	return nil
}

func isByte(token string) bool {
	return len(token) == 6 && strings.HasPrefix(token, "<0x") && token[5] == '>' && isHex(token[3]) && isHex(token[4])
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' || 'a' <= c && c <= 'f' }

// mergeRules takes the merges, which are pairs or strings with a space between. A llama vocabulary has scores in their
// stead: the earlier a merge, the higher the score of what it makes.
func (v *vocabulary) mergeRules(b bpe) error {
	first := map[string]int{}
	for rank, m := range b.Merges {
		left, right, err := mergePair(m)
		if err != nil {
			return fmt.Errorf("merge %d: %w", rank, err)
		}
		if v.model == "gpt2" {
			if strings.Contains(left, " ") || strings.Contains(right, " ") {
				return fmt.Errorf("merge %d has a space in it, which GGUF cannot tell from the one between: %w", rank, ErrUnsupported)
			}
			v.merges = append(v.merges, left+" "+right)
			continue
		}
		if _, ok := first[left+right]; !ok {
			first[left+right] = rank
		}
	}
	if v.model == "gpt2" {
		return nil
	}
	v.scores = make([]float32, v.size)
	for id, token := range v.tokens {
		rank, made := first[token]
		switch {
		case made:
			v.scores[id] = -float32(rank)
		case v.kinds[id] == normal:
			v.scores[id] = -float32(len(b.Merges)) // single characters, which nothing merges into
		}
	}
	return nil
}

func mergePair(m jsontext.Value) (left, right string, err error) {
	if m.Kind() == '"' {
		var s string
		if err := json.Unmarshal(m, &s); err != nil {
			return "", "", fmt.Errorf("%w: %w", err, weights.ErrFormat)
		}
		left, right, ok := strings.Cut(s, " ")
		if !ok {
			return "", "", fmt.Errorf("%q has no space between two tokens: %w", s, weights.ErrFormat)
		}
		return left, right, nil
	}
	var pair []string
	if err := json.Unmarshal(m, &pair); err != nil || len(pair) != 2 {
		return "", "", fmt.Errorf("%s is not a pair of tokens: %w", m, weights.ErrFormat)
	}
	return pair[0], pair[1], nil
}

// around notes what the post-processor's template puts before and after a single text.
func (v *vocabulary) around(post []step) {
	for _, s := range post {
		if s.Type != "TemplateProcessing" {
			continue
		}
		v.ends = make([]string, 2)
		side := 0
		for _, item := range s.Single {
			if item.Sequence != nil {
				side = 1
			} else if item.SpecialToken != nil {
				v.ends[side] = item.SpecialToken.ID
			}
		}
	}
}

func (v *vocabulary) pairs() []weights.Pair {
	out := []weights.Pair{
		{Key: "tokenizer.ggml.model", Value: v.model}, {Key: "tokenizer.ggml.pre", Value: v.pre},
		{Key: "tokenizer.ggml.tokens", Value: v.tokens},
	}
	if v.model == "llama" {
		out = append(out, weights.Pair{Key: "tokenizer.ggml.scores", Value: v.scores})
	}
	out = append(out, weights.Pair{Key: "tokenizer.ggml.token_type", Value: v.kinds})
	if v.model == "gpt2" {
		out = append(out, weights.Pair{Key: "tokenizer.ggml.merges", Value: v.merges})
	}
	return out
}
