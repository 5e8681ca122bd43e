package tokenizer

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// GGUF is the vocabulary of a GGUF file: the keys tokenizer.ggml.*, as they are in the file. The slices are not kept.
type GGUF struct {
	Model, Pre string    // model, pre
	Tokens     []string  // tokens
	Types      []int32   // token_type; nil: all are normal
	Scores     []float32 // scores; only the model "llama" needs them
	Merges     []string  // merges; only the model "gpt2" needs them

	BOS, EOS, UNK, PAD int32   // bos_token_id, eos_token_id, unknown_token_id, padding_token_id; -1 none
	Stop               []int32 // other ids that end a turn: eot_token_id, eom_token_id

	AddBOS, AddEOS *bool // add_bos_token, add_eos_token; nil: as is usual for the model
	AddSpacePrefix *bool // add_space_prefix, for the model "llama"; nil: true
}

// The types of tokens in a GGUF file.
const (
	typeNormal  = 1
	typeUnknown = 2
	typeControl = 3
	typeUser    = 4
	typeUnused  = 5
	typeByte    = 6
)

// FromGGUF makes the tokenizer of a GGUF file. Control tokens become special added tokens, user-defined ones become
// added tokens. Errors wrap ErrFormat or ErrUnsupported.
func FromGGUF(g GGUF) (*Tokenizer, error) {
	t, err := fromGGUF(g)
	if err != nil {
		return nil, fmt.Errorf("gguf vocabulary: %w", err)
	}
	return t, nil
}

func fromGGUF(g GGUF) (*Tokenizer, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	p, pre, err := g.parts()
	if err != nil {
		return nil, err
	}
	t, err := assemble(p)
	if err != nil {
		return nil, err
	}
	t.size = max(t.size, len(g.Tokens))
	t.ends(g.BOS, g.EOS, g.Stop)
	if g.BOS >= 0 && (g.AddBOS == nil && pre.addBOS || g.AddBOS != nil && *g.AddBOS) {
		t.template.prefix = []int32{g.BOS}
	}
	if g.EOS >= 0 && g.AddEOS != nil && *g.AddEOS {
		t.template.suffix = []int32{g.EOS}
	}
	return t, nil
}

// check holds the counts and ids against each other.
func (g GGUF) check() error {
	n := len(g.Tokens)
	switch {
	case n == 0:
		return fmt.Errorf("%w: no tokens", ErrFormat)
	case n > maxTokens:
		return fmt.Errorf("%w: %d tokens, at most %d are allowed", ErrFormat, n, maxTokens)
	case g.Types != nil && len(g.Types) != n:
		return fmt.Errorf("%w: %d tokens and %d types", ErrFormat, n, len(g.Types))
	}
	ids := map[string]int32{"bos": g.BOS, "eos": g.EOS, "unknown": g.UNK, "padding": g.PAD}
	for name, id := range ids {
		if id < -1 || int(id) >= n {
			return fmt.Errorf("%w: %s_token_id is %d, there are %d tokens", ErrFormat, name, id, n)
		}
	}
	for _, id := range g.Stop {
		if id < 0 || int(id) >= n {
			return fmt.Errorf("%w: a token that ends a turn has id %d, there are %d tokens", ErrFormat, id, n)
		}
	}
	return nil
}

func (g GGUF) typeOf(id int) int32 {
	if g.Types == nil {
		return typeNormal
	}
	return g.Types[id]
}

// parts brings the vocabulary into the form of tokenizer.json.
func (g GGUF) parts() (parts, ggufPre, error) {
	size := 0
	for _, s := range g.Tokens {
		size += len(s)
	}
	p := parts{model: &bpe{unk: g.UNK, vocab: &vocab{strtab: newStrtab(len(g.Tokens), size)}}}
	for i, s := range g.Tokens {
		switch kind := g.typeOf(i); kind {
		case typeControl, typeUnknown, typeUser:
			if s != "" {
				p.added = append(p.added, addedToken{id: int32(i), content: s, special: kind != typeUser})
			}
			// Text must not be merged into control tokens, so the model does not know them.
			if kind != typeUser {
				continue
			}
		}
		if err := p.model.vocab.put(int32(i), s); err != nil {
			return p, ggufPre{}, err
		}
	}
	p.model.vocab.build()
	p.added = g.once(p.added)
	switch g.Model {
	case "gpt2":
		pre, err := g.byteLevel(&p)
		return p, pre, err
	case "llama":
		return p, ggufPre{addBOS: true}, g.sentencePiece(&p)
	}
	return p, ggufPre{}, fmt.Errorf("%w: tokenizer.ggml.model %q, gpt2 or llama expected", ErrUnsupported, shorten(g.Model))
}

// once drops added tokens whose text another one with a smaller id has.
func (g GGUF) once(added []addedToken) []addedToken {
	seen := make(map[string]bool, len(added))
	return slices.DeleteFunc(added, func(a addedToken) bool {
		again := seen[a.content]
		seen[a.content] = true
		return again
	})
}

// byteLevel reads the merges and finds the pre-tokeniser by its name.
func (g GGUF) byteLevel(p *parts) (ggufPre, error) {
	pre, ok := ggufPres[g.Pre]
	if !ok {
		return pre, fmt.Errorf("%w: tokenizer.ggml.pre %q is not known here; the model's tokenizer.json may be used instead",
			ErrUnsupported, shorten(g.Pre))
	}
	p.model.ignoreMerges = pre.ignoreMerges
	p.preTokenizer = pre.steps
	if pre.nfc {
		p.normalizer = []node{{Type: "NFC"}}
	}
	p.decoder = []node{{Type: "ByteLevel"}}
	p.model.merges = newMerges(min(len(g.Merges), 2*p.model.vocab.count))
	var joined []byte
	for i, s := range g.Merges {
		left, right, err := splitMerge(s)
		if err == nil {
			joined = append(append(joined[:0], left...), right...)
			err = p.model.merges.add(p.model.vocab, left, right, joined, uint32(i))
		}
		if err != nil {
			return pre, fmt.Errorf("merge %d: %w", i, err)
		}
	}
	return pre, nil
}

// maxPiece bounds the tokens that characters may be merged into, in bytes, and with it the work of finding their parts.
const maxPiece = 256

// sentencePiece makes merges of scores: any two neighbours may become the token that both spell together, the highest
// score first.
func (g GGUF) sentencePiece(p *parts) error {
	if len(g.Scores) != len(g.Tokens) {
		return fmt.Errorf("%w: %d tokens and %d scores", ErrFormat, len(g.Tokens), len(g.Scores))
	}
	m, v := p.model, p.model.vocab
	m.fallback, m.fuseUnk = true, false
	m.extra, m.extraBase = map[string]int32{}, int32(len(g.Tokens))
	var ids []int32
	for i, s := range g.Tokens {
		if score := float64(g.Scores[i]); math.IsNaN(score) {
			return fmt.Errorf("%w: the score of token %d is not a number", ErrFormat, i)
		}
		if kind := g.typeOf(i); kind != typeNormal && kind != typeUser && kind != typeUnused || utf8.RuneCountInString(s) < 2 {
			continue
		}
		if len(s) > maxPiece {
			return fmt.Errorf("%w: token %d has %d bytes, at most %d are allowed", ErrUnsupported, i, len(s), maxPiece)
		}
		ids = append(ids, int32(i))
	}
	slices.SortStableFunc(ids, func(a, b int32) int { return cmp.Compare(g.Scores[b], g.Scores[a]) })
	m.merges = newMerges(len(ids))
	rank := uint32(0)
	for i, id := range ids {
		if i > 0 && g.Scores[id] != g.Scores[ids[i-1]] {
			rank++ // equal scores: the leftmost goes first
		}
		s := g.Tokens[id]
		if to, _ := v.find(s); to != id {
			continue // another token with the same text counts
		}
		for j := range s {
			if j == 0 {
				continue
			}
			left, okL := m.part(s[:j], g)
			right, okR := m.part(s[j:], g)
			if okL && okR {
				m.merges.put(left, right, id, rank)
			}
		}
	}
	prefix := g.AddSpacePrefix == nil || *g.AddSpacePrefix
	if prefix {
		p.normalizer = append(p.normalizer, node{Type: "Prepend", Prepend: " "})
	}
	space, mark := " ", metaspace
	p.normalizer = append(p.normalizer, node{Type: "Replace", Pattern: &patternNode{String: &space}, Content: mark})
	p.decoder = []node{
		{Type: "Replace", Pattern: &patternNode{String: &mark}, Content: space}, {Type: "ByteFallback"}, {Type: "Fuse"},
	}
	if prefix {
		p.decoder = append(p.decoder, node{Type: "Strip", Content: space, Start: 1})
	}
	return nil
}

// part returns the id of one half of a token: a token that may be merged, or a single character, which gets an id for
// merging only.
func (m *bpe) part(s string, g GGUF) (int32, bool) {
	if id, ok := m.vocab.find(s); ok && g.typeOf(int(id)) != typeByte {
		return id, true
	}
	if _, n := utf8.DecodeRuneInString(s); n != len(s) {
		return 0, false
	}
	id, ok := m.extra[s]
	if !ok {
		id = m.extraBase + int32(len(m.extraText))
		m.extra[s] = id
		m.extraText = append(m.extraText, s)
	}
	return id, true
}

// ggufPre is what the name of a pre-tokeniser stands for.
type ggufPre struct {
	steps        []node
	nfc          bool // the models' own tokenizers compose characters first
	ignoreMerges bool
	addBOS       bool // unless the file says otherwise
}

var ggufPres = func() map[string]ggufPre {
	var (
		no    = false
		words = node{Type: "ByteLevel", AddPrefixSpace: &no}
		raw   = node{Type: "ByteLevel", AddPrefixSpace: &no, UseRegex: &no}
	)
	split := func(patterns ...string) []node {
		var out []node
		for _, p := range patterns {
			out = append(out, node{Type: "Split", Pattern: &patternNode{Regex: &p}, Behavior: "Isolated"})
		}
		return append(out, raw)
	}
	gpt2 := []node{words}
	digits := []node{{Type: "Digits", IndividualDigits: true}, words}
	llama3 := split(patternLlama3)
	qwen2 := split(patternQwen2)
	deepseek3 := split(`\p{N}{1,3}`, "[一-龥぀-ゟ゠-ヿ]+", patternDeepSeek3)
	pres := map[string]ggufPre{
		"qwen35":   {steps: split(patternQwen35), nfc: true},
		"tekken":   {steps: split(patternTekken), ignoreMerges: true, addBOS: true},
		"minicpm5": {steps: split(`\p{N}{1,3}`, patternMiniCPM5), ignoreMerges: true},
		"default":  {steps: split(`[\p{P}\$\+<=>\^~\|]+`, patternGPT2, `\p{N}+`, `[0-9][0-9][0-9]`)},
	}
	pres[""] = pres["default"]
	for set, names := range map[*ggufPre][]string{
		{steps: gpt2}:   {"gpt-2", "phi-2", "mpt", "olmo", "jais", "exaone4", "mellum", "a.x-4.0", "gigachat", "modern-bert"},
		{steps: digits}: {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"},
		{steps: llama3, ignoreMerges: true, addBOS: true}: {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1",
			"pixtral", "midm-2.0", "lfm2"},
		{steps: llama3}:                     {"dbrx", "smaug-bpe", "chatglm-bpe"},
		{steps: llama3, ignoreMerges: true}: {"glm4", "glm5"},
		{steps: qwen2, nfc: true}:           {"qwen2", "deepseek-r1-qwen", "megrez"},
		{steps: qwen2}:                      {"stablelm2", "hunyuan", "solar-open", "kormo", "grok-2"},
		{steps: split(patternO200K)}:        {"gpt-4o", "llama4", "kanana2", "minimax-m2"},
		{steps: deepseek3}:                  {"deepseek-v3", "hunyuan-dense", "joyai-llm"},
	} {
		for _, name := range names {
			pres[name] = *set
		}
	}
	return pres
}()
