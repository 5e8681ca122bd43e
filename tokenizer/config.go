package tokenizer

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// readAdded reads the added tokens: [{"id": 0, "content": "<s>", "special": true, …}, …].
func readAdded(raw jsontext.Value, v *vocab) ([]addedToken, error) {
	if raw == nil || raw.Kind() == 'n' {
		return nil, nil
	}
	if raw.Kind() != '[' {
		return nil, fmt.Errorf("%w: an array expected", ErrFormat)
	}
	// Every added token may have an id of its own, and ids may leave as many gaps.
	count := countObjects(raw)
	limit := int64(min(2*(v.count+count)+1<<10, maxTokens))
	dec := newJSON(raw)
	_, _ = dec.ReadToken()
	out := make([]addedToken, 0, count)
	for dec.PeekKind() != ']' {
		a, err := readAddedToken(dec, limit)
		if err != nil {
			return nil, fmt.Errorf("token %d: %w", len(out), err)
		}
		if a.content == "" {
			continue
		}
		if id, ok := v.find(a.content); ok {
			a.id = id // the model's own id counts
		}
		out = append(out, a)
	}
	return out, nil
}

func readAddedToken(dec *jsontext.Decoder, limit int64) (addedToken, error) {
	a := addedToken{id: -1, normalized: true}
	if tok, err := dec.ReadToken(); err != nil {
		return a, syntax(err)
	} else if tok.Kind() != '{' {
		return a, fmt.Errorf("%w: an object expected, found %s", ErrFormat, tok.Kind())
	}
	hasContent := false
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return a, syntax(err)
		}
		key := name.String()
		if kind := dec.PeekKind(); kind == '{' || kind == '[' {
			return a, fmt.Errorf("%w: %s of an added token is neither text, number nor truth", ErrFormat, shorten(key))
		}
		tok, err := dec.ReadToken()
		if err != nil {
			return a, syntax(err)
		}
		switch to := a.flag(key); {
		case to != nil && (tok.Kind() == 't' || tok.Kind() == 'f'):
			*to = tok.Bool()
		case key == "content" && tok.Kind() == '"' && !hasContent:
			a.content, hasContent = tok.String(), true
		case key == "id" && a.id < 0:
			if a.id, err = tokenID(tok, limit); err != nil {
				return a, err
			}
		case to != nil || key == "content" || key == "id":
			return a, fmt.Errorf("%w: %s of an added token is %s, or is there twice", ErrFormat, key, tok.Kind())
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return a, syntax(err)
	}
	if a.id < 0 || !hasContent {
		return a, fmt.Errorf("%w: an added token without content or id", ErrFormat)
	}
	return a, nil
}

// flag returns where a member that is true or false goes, or nil.
func (a *addedToken) flag(name string) *bool {
	switch name {
	case "single_word":
		return &a.singleWord
	case "lstrip":
		return &a.lstrip
	case "rstrip":
		return &a.rstrip
	case "normalized":
		return &a.normalized
	case "special":
		return &a.special
	}
	return nil
}

// turnEnds are the tokens with which published models end a turn or a text, where they have them as special tokens.
var turnEnds = []string{
	"</s>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>",
	"<eos>", "<|return|>", "<|call|>", "<｜end▁of▁sentence｜>", "[EOS]", "[EOT]", "<EOT>",
}

// turnStarts are the tokens with which published models start a text, for a file that does not say.
var turnStarts = []string{"<s>", "<|begin_of_text|>", "<|startoftext|>", "<bos>", "<｜begin▁of▁sentence｜>", "[BOS]"}

// configure takes start and end tokens from tokenizer_config.json, and guesses by their names those that it does not
// give. A nil config gives none.
func (t *Tokenizer) configure(config []byte) error {
	var m map[string]jsontext.Value
	if config != nil {
		if len(config) > maxFile {
			return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrFormat, len(config), maxFile)
		}
		var err error
		if m, err = object(config); err != nil {
			return err
		}
	}
	bos, err := t.named(m, "bos_token")
	if err != nil {
		return err
	}
	eos, err := t.named(m, "eos_token")
	if err != nil {
		return err
	}
	t.ends(bos, eos, nil)
	if bos < 0 && m["bos_token"] == nil {
		t.bos = t.firstSpecial(turnStarts)
	}
	// A file whose post-processor adds nothing may leave that to these two.
	if len(t.template.prefix) == 0 && len(t.template.suffix) == 0 {
		if string(m["add_bos_token"]) == "true" && t.bos >= 0 {
			t.template.prefix = []int32{t.bos}
		}
		if string(m["add_eos_token"]) == "true" && eos >= 0 {
			t.template.suffix = []int32{eos}
		}
	}
	return nil
}

// named returns the id of a token that the config names as "<s>" or {"content": "<s>", …}, or -1 if it names none.
func (t *Tokenizer) named(m map[string]jsontext.Value, name string) (int32, error) {
	raw := m[name]
	if raw == nil || raw.Kind() == 'n' {
		return -1, nil
	}
	if raw.Kind() == '{' {
		inner, err := object(raw)
		if err != nil {
			return -1, fmt.Errorf("%s: %w", name, err)
		}
		raw = inner["content"]
	}
	if raw == nil || raw.Kind() != '"' {
		return -1, fmt.Errorf("%w: %s is neither a text nor an added token", ErrFormat, name)
	}
	id, ok := t.ID(text(raw))
	if !ok {
		return -1, fmt.Errorf("%w: %s %q is not in the vocabulary", ErrFormat, name, shorten(text(raw)))
	}
	return id, nil
}

// ends sets the start token and the end tokens: eos, more, and the special tokens that are known to end a turn.
func (t *Tokenizer) ends(bos, eos int32, more []int32) {
	t.bos = bos
	t.eos = nil
	add := func(id int32) {
		if id >= 0 && !slices.Contains(t.eos, id) {
			t.eos = append(t.eos, id)
		}
	}
	add(eos)
	for _, id := range more {
		add(id)
	}
	for _, name := range turnEnds {
		if id, ok := t.added.find(name); ok && t.IsSpecial(id) {
			add(id)
		}
	}
}

// firstSpecial returns the id of the first name that is a special token, or -1.
func (t *Tokenizer) firstSpecial(names []string) int32 {
	for _, name := range names {
		if id, ok := t.added.find(name); ok && t.IsSpecial(id) {
			return id
		}
	}
	return -1
}
