package tokenizer

import (
	"cmp"
	"runtime"
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

	size int
	bos  int32
	eos  []int32

	mu   sync.Mutex
	free []*scratch
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

// TryEncode is Encode that reports ErrPattern when a pattern of the tokenizer was stopped, which can happen only with a
// pattern that is none of the known ones. The ids are still the text's, cut in another way than the tokenizer asks.
func (t *Tokenizer) TryEncode(dst []int32, text string, opts EncodeOptions) ([]int32, error) {
	sc := t.take(len(text))
	defer t.give(sc)
	sc.out = dst
	if opts.AddSpecial {
		sc.out = append(sc.out, t.template.prefix...)
	}
	table := classes()
	sc.outer = t.raw.split(table, sc.outer[:0], text, opts.ParseSpecial)
	for _, sp := range sc.outer {
		if sp.id >= 0 {
			sc.out = append(sc.out, sp.id)
			continue
		}
		s := t.normalize.normalize(text[sp.start:sp.end], sc)
		sc.inner = t.normalized.split(table, sc.inner[:0], s, opts.ParseSpecial)
		for _, in := range sc.inner {
			if in.id >= 0 {
				sc.out = append(sc.out, in.id)
				continue
			}
			t.words.split(s[in.start:in.end], sp.start == 0 && in.start == 0, sc, sc.word)
		}
	}
	if opts.AddSpecial {
		sc.out = append(sc.out, t.template.suffix...)
	}
	return sc.out, sc.err
}

// take returns a scratch for one encoding of a text of n bytes; give takes it back. As many as there are processors are
// kept, with their caches.
func (t *Tokenizer) take(n int) *scratch {
	t.mu.Lock()
	var sc *scratch
	if last := len(t.free) - 1; last >= 0 {
		sc = t.free[last]
		t.free = t.free[:last]
	}
	t.mu.Unlock()
	if sc == nil {
		sc = new(scratch)
		sc.word = func(word string) { sc.out = t.model.encode(sc.out, word, sc) }
	}
	if sc.seen += n; sc.seen > cacheWorth && sc.words == nil {
		sc.words = newWordCache()
	}
	return sc
}

func (t *Tokenizer) give(sc *scratch) {
	sc.trim()
	t.mu.Lock()
	if len(t.free) < runtime.GOMAXPROCS(0) {
		t.free = append(t.free, sc)
	}
	t.mu.Unlock()
}

// cacheWorth is after how many bytes of text a scratch is given a cache of words, 1 MiB.
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
