package tokenizer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxFile bounds tokenizer.json; the largest published ones have 40 MB.
const maxFile = 1 << 30

// Parse reads a Hugging Face tokenizer.json and, if it is not nil, the tokenizer_config.json beside it, from which the
// names of the start and end tokens come. Neither slice is kept.
//
// It allocates at most four times the length of both and 64 MiB. Errors wrap ErrFormat or ErrUnsupported.
func Parse(tokenizerJSON, configJSON []byte) (*Tokenizer, error) {
	t, err := parse(tokenizerJSON)
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	if err := t.configure(configJSON); err != nil {
		return nil, fmt.Errorf("tokenizer_config.json: %w", err)
	}
	return t, nil
}

func parse(data []byte) (*Tokenizer, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrFormat, len(data), maxFile)
	}
	members, err := object(data)
	if err != nil {
		return nil, err
	}
	if len(members["model"]) == 0 {
		return nil, fmt.Errorf("%w: no model", ErrFormat)
	}
	if v := string(members["version"]); v != "" && v != `"1.0"` {
		return nil, fmt.Errorf("%w: version %s, \"1.0\" expected", ErrUnsupported, shorten(v))
	}
	var p parts
	for name, to := range map[string]*[]node{
		"normalizer": &p.normalizer, "pre_tokenizer": &p.preTokenizer,
		"post_processor": &p.postProcessor, "decoder": &p.decoder,
	} {
		if *to, err = readNode(name, members[name]); err != nil {
			return nil, err
		}
	}
	if p.model, err = readModel(members["model"]); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if p.added, err = readAdded(members["added_tokens"], p.model.vocab); err != nil {
		return nil, fmt.Errorf("added_tokens: %w", err)
	}
	return assemble(p)
}

// newJSON reads from data, which jsontext does not copy.
func newJSON(data []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowDuplicateNames(true))
}

// maxMembers bounds the members of an object whose members are collected; those with many are read as they come.
const maxMembers = 1 << 10

// object returns the members of the one JSON object in data, as parts of data. A name that is there twice is an error:
// two readers might take different ones.
func object(data []byte) (map[string]jsontext.Value, error) {
	dec := newJSON(data)
	if tok, err := dec.ReadToken(); err != nil {
		return nil, syntax(err)
	} else if tok.Kind() != '{' {
		return nil, fmt.Errorf("%w: an object expected, found %s", ErrFormat, tok.Kind())
	}
	out := map[string]jsontext.Value{}
	for n := 0; dec.PeekKind() != '}'; n++ {
		if n == maxMembers {
			return nil, fmt.Errorf("%w: an object of more than %d members", ErrFormat, maxMembers)
		}
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, syntax(err)
		}
		name := tok.String()
		value, err := readRaw(dec, data)
		if err != nil {
			return nil, syntax(err)
		}
		if _, ok := out[name]; ok {
			return nil, fmt.Errorf("%w: %q is there twice", ErrFormat, shorten(name))
		}
		out[name] = value
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, syntax(err)
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: more text behind the object", ErrFormat)
	}
	return out, nil
}

// readRaw reads a value and returns it as a part of data.
func readRaw(dec *jsontext.Decoder, data []byte) (jsontext.Value, error) {
	v, err := dec.ReadValue()
	if err != nil {
		return nil, err
	}
	end := dec.InputOffset()
	return data[end-int64(len(v)) : end], nil
}

func syntax(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %w", ErrFormat, err)
}

// readModel reads the model, which must be BPE.
func readModel(raw jsontext.Value) (*bpe, error) {
	members, err := object(raw)
	if err != nil {
		return nil, err
	}
	switch kind := text(members["type"]); kind {
	case "BPE", "": // older files do not say
	default:
		return nil, fmt.Errorf("%w: model %q, BPE expected", ErrUnsupported, shorten(kind))
	}
	for _, name := range []string{"continuing_subword_prefix", "end_of_word_suffix"} {
		if s := text(members[name]); s != "" {
			return nil, fmt.Errorf("%w: %s %q", ErrUnsupported, name, shorten(s))
		}
	}
	if d := members["dropout"]; len(d) > 0 && d.Kind() != 'n' && string(d) != "0" && string(d) != "0.0" {
		return nil, fmt.Errorf("%w: dropout %s", ErrUnsupported, shorten(string(d)))
	}
	m := &bpe{unk: -1}
	for name, to := range map[string]*bool{
		"fuse_unk": &m.fuseUnk, "byte_fallback": &m.fallback, "ignore_merges": &m.ignoreMerges,
	} {
		switch v := members[name]; {
		case len(v) == 0 || v.Kind() == 'n' || v.Kind() == 'f':
		case v.Kind() == 't':
			*to = true
		default:
			return nil, fmt.Errorf("%w: %s is %s, true or false expected", ErrFormat, name, shorten(string(v)))
		}
	}
	if m.vocab, err = readVocab(members["vocab"]); err != nil {
		return nil, fmt.Errorf("vocab: %w", err)
	}
	if m.merges, err = readMerges(members["merges"], m.vocab); err != nil {
		return nil, fmt.Errorf("merges: %w", err)
	}
	if unk := text(members["unk_token"]); unk != "" {
		id, ok := m.vocab.find(unk)
		if !ok {
			return nil, fmt.Errorf("%w: unk_token %q is not in the vocabulary", ErrFormat, shorten(unk))
		}
		m.unk = id
	}
	return m, nil
}

// text returns a JSON string's text, and "" for anything else.
func text(raw jsontext.Value) string {
	if raw == nil || raw.Kind() != '"' {
		return ""
	}
	s, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return ""
	}
	return string(s)
}

// readVocab reads the object of tokens and ids. Ids may leave gaps, but no more of them than there are tokens.
func readVocab(raw jsontext.Value) (*vocab, error) {
	if raw == nil || raw.Kind() != '{' {
		return nil, fmt.Errorf("%w: an object expected", ErrFormat)
	}
	n := countMembers(raw)
	limit := int64(min(2*n+1<<10, maxTokens))
	v := &vocab{strtab: newStrtab(n, max(len(raw)-4*n, 0))}
	dec := newJSON(raw)
	_, _ = dec.ReadToken() // the brace; the syntax has been checked
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, syntax(err)
		}
		s := name.String()
		number, err := dec.ReadToken()
		if err != nil {
			return nil, syntax(err)
		}
		id, err := tokenID(number, limit)
		if err != nil {
			return nil, fmt.Errorf("token %q: %w", shorten(s), err)
		}
		if v.has(id) {
			return nil, fmt.Errorf("%w: id %d is both %q and %q", ErrFormat, id, shorten(v.get(id)), shorten(s))
		}
		if err := v.put(id, s); err != nil {
			return nil, err
		}
	}
	v.build()
	for id := range int32(len(v.start)) {
		if v.has(id) {
			if other, _ := v.find(v.get(id)); other != id {
				return nil, fmt.Errorf("%w: token %q has both id %d and %d", ErrFormat, shorten(v.get(id)), other, id)
			}
		}
	}
	return v, nil
}

// tokenID reads an id that must be below limit.
func tokenID(tok jsontext.Token, limit int64) (int32, error) {
	if tok.Kind() != '0' {
		return 0, fmt.Errorf("%w: an id expected, found %s", ErrFormat, tok.Kind())
	}
	id, err := strconv.ParseInt(tok.String(), 10, 64)
	if err != nil || id < 0 || id >= limit {
		return 0, fmt.Errorf("%w: id %s, a whole number below %d expected", ErrFormat, shorten(tok.String()), limit)
	}
	return int32(id), nil
}

// countMembers counts the members of a JSON object whose values hold no objects, or the strings of an array.
func countMembers(raw []byte) int {
	colons, strings, _ := count(raw)
	if raw[0] == '{' {
		return colons
	}
	return strings
}

// countObjects counts the objects in a JSON array.
func countObjects(raw []byte) int {
	_, _, braces := count(raw)
	return braces
}

// count counts colons and opening braces outside of strings, and strings.
func count(raw []byte) (colons, strings, braces int) {
	inside := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			inside = !inside
			if inside {
				strings++
			}
		case inside && c == '\\':
			i++
		case !inside && c == ':':
			colons++
		case !inside && c == '{':
			braces++
		}
	}
	return colons, strings, braces
}

// readMerges reads the list of merges, "a b" or ["a","b"], the most urgent first.
func readMerges(raw jsontext.Value, v *vocab) (*merges, error) {
	if raw == nil || raw.Kind() != '[' {
		return nil, fmt.Errorf("%w: an array expected", ErrFormat)
	}
	m := newMerges(min(countMembers(raw), 2*v.count))
	dec := newJSON(raw)
	_, _ = dec.ReadToken()
	var joined []byte
	rank := uint32(0)
	for ; dec.PeekKind() != ']'; rank++ {
		left, right, err := readMerge(dec)
		if errors.Is(err, errVersion) {
			rank--
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("merge %d: %w", rank, err)
		}
		joined = append(append(joined[:0], left...), right...)
		if err := m.add(v, left, right, joined, rank); err != nil {
			return nil, fmt.Errorf("merge %d: %w", rank, err)
		}
	}
	return m, nil
}

// errVersion says that a line of the older merges.txt found its way into the list.
var errVersion = errors.New("the version line of merges.txt")

// readMerge reads one merge.
func readMerge(dec *jsontext.Decoder) (left, right string, err error) {
	tok, err := dec.ReadToken()
	if err != nil {
		return "", "", syntax(err)
	}
	switch tok.Kind() {
	case '"':
		s := tok.String()
		if strings.HasPrefix(s, "#version") {
			return "", "", errVersion
		}
		return splitMerge(s)
	case '[':
		var pair [2]string
		for i := range pair {
			tok, err := dec.ReadToken()
			if err != nil {
				return "", "", syntax(err)
			}
			if tok.Kind() != '"' {
				return "", "", fmt.Errorf("%w: two tokens expected", ErrFormat)
			}
			pair[i] = tok.String()
		}
		if tok, err := dec.ReadToken(); err != nil || tok.Kind() != ']' {
			return "", "", fmt.Errorf("%w: two tokens expected, found more", ErrFormat)
		}
		return pair[0], pair[1], nil
	}
	return "", "", fmt.Errorf("%w: two tokens expected, found %s", ErrFormat, tok.Kind())
}
