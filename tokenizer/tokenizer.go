package tokenizer

import (
	"cmp"
	"slices"
	"sync"
)

// Tokenizer turns text into ids and back. It does not change once it is made.
type Tokenizer struct {
	model     *bpe
	normalize normalizers
	words     *preTokenizer
	template  template
	decoder   *decoder

	added      *addedSet
	raw        *matcher // added tokens that are looked for in the text as it is
	normalized *matcher // added tokens that are looked for in the normalised text

	size    int
	bos     int32
	eos     []int32
	scratch sync.Pool
}

// EncodeOptions say how text that is not plain text is treated.
type EncodeOptions struct {
	AddSpecial   bool // put around the ids what the tokenizer wants around a text, such as its start token
	ParseSpecial bool // text that spells a special token becomes that token; only for text from a trusted template
}

// Encode appends the ids of text to dst. Added tokens that are not special are found in the text always. Where a
// pattern of the tokenizer takes too long, the rest of the piece is one word; TryEncode tells.
func (t *Tokenizer) Encode(dst []int32, text string, opts EncodeOptions) []int32 {
	dst, _ = t.TryEncode(dst, text, opts)
	return dst
}

// TryEncode is Encode that reports ErrPattern when a pattern of the tokenizer took too long, which can happen only with
// a pattern that is none of the known ones. The ids are still the text's, cut in another way than the tokenizer asks.
func (t *Tokenizer) TryEncode(dst []int32, text string, opts EncodeOptions) ([]int32, error) {
	sc := t.scratch.Get().(*scratch)
	if sc.words == nil && len(text) > cacheWorth {
		sc.words = newWordCache()
	}
	if opts.AddSpecial {
		dst = append(dst, t.template.prefix...)
	}
	table := classes()
	sc.spans = t.raw.split(table, sc.spans[:0], text, opts.ParseSpecial)
	spans := sc.spans
	sc.spans = nil
	var inner []span
	for _, sp := range spans {
		if sp.id >= 0 {
			dst = append(dst, sp.id)
			continue
		}
		s := t.normalize.normalize(text[sp.start:sp.end], sc)
		inner = t.normalized.split(table, inner[:0], s, opts.ParseSpecial)
		for _, sp2 := range inner {
			if sp2.id >= 0 {
				dst = append(dst, sp2.id)
				continue
			}
			start := sp.start == 0 && sp2.start == 0
			t.words.split(s[sp2.start:sp2.end], start, sc, func(word string) { dst = t.model.encode(dst, word, sc) })
		}
	}
	if opts.AddSpecial {
		dst = append(dst, t.template.suffix...)
	}
	sc.spans = spans
	err := sc.err
	sc.trim()
	t.scratch.Put(sc)
	return dst, err
}

// cacheWorth is the length of text in bytes from which a cache of words, 1 MiB, is set up.
const cacheWorth = 1 << 10

// Size returns one more than the largest id.
func (t *Tokenizer) Size() int { return t.size }

// Token returns the text of an id as the vocabulary writes it: for a byte-level vocabulary with each byte as its
// character.
func (t *Tokenizer) Token(id int32) (string, bool) { return tokenText(t.model.vocab, t.added, id) }

// ID returns the id of a token in the vocabulary's writing.
func (t *Tokenizer) ID(token string) (int32, bool) {
	if id, ok := t.added.find(token); ok {
		return id, true
	}
	return t.model.vocab.find(token)
}

// BOS returns the id that starts a text, if the tokenizer has one. Whether a text gets it is the template's affair
// (EncodeOptions.AddSpecial).
func (t *Tokenizer) BOS() (int32, bool) { return t.bos, t.bos >= 0 }

// EOS returns the ids at which a text or a turn ends, the main one first.
func (t *Tokenizer) EOS() []int32 { return slices.Clone(t.eos) }

// IsSpecial reports whether an id is a special token, which is not part of the text.
func (t *Tokenizer) IsSpecial(id int32) bool { return t.added.isSpecial(id) }

// parts is what both formats come down to.
type parts struct {
	model         *bpe
	added         []addedToken
	normalizer    []node
	preTokenizer  []node
	postProcessor []node
	decoder       []node
}

// assemble makes a Tokenizer of its parts. The model's init is called here.
func assemble(p parts) (*Tokenizer, error) {
	t := &Tokenizer{model: p.model, bos: -1}
	t.scratch.New = func() any { return new(scratch) }
	var err error
	if t.added, err = newAddedSet(p.added, p.model.vocab); err != nil {
		return nil, err
	}
	t.size = max(len(p.model.vocab.start), t.added.size())
	var mapped, bytes bool
	if t.normalize, mapped, err = newNormalizer(p.normalizer); err != nil {
		return nil, err
	}
	if t.words, bytes, err = newPreTokenizer(p.preTokenizer, mapped); err != nil {
		return nil, err
	}
	p.model.byteLevel = bytes
	p.model.init()
	p.model.keepOut(t.added)
	var sc scratch
	t.raw, t.normalized, err = t.added.matchers(func(s string) string { return t.normalize.normalize(s, &sc) })
	if err = cmp.Or(err, sc.err); err != nil {
		return nil, err
	}
	if t.template, err = newTemplate(p.postProcessor, t.size); err != nil {
		return nil, err
	}
	if t.decoder, err = newDecoder(p.decoder, p.model.vocab, t.added, t.size); err != nil {
		return nil, err
	}
	return t, nil
}
