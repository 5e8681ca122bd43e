package tokenizer

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// bpe is the model: it turns a word into ids by merging neighbours, lowest rank first, leftmost among equals.
type bpe struct {
	vocab  *vocab
	merges *merges

	byteLevel    bool       // words are bytes, written by their characters in the vocabulary
	ignoreMerges bool       // a word that is a token is that token, whatever the merges say
	first        [256]int32 // id of each byte when byteLevel, of each ASCII character when not; -1 none
	unk          int32      // for what the vocabulary cannot write; -1: it is left out
	fuseUnk      bool       // several unknown characters in a row are one unk
	fallback     bool       // characters that are not in the vocabulary are written as byte tokens
	bytes        [256]int32 // the byte tokens <0x00> … <0xFF>; -1 none

	// A GGUF vocabulary may merge characters that are no tokens themselves. They have ids from extraBase on while
	// merging, and are written as bytes when they are left over.
	extra     map[string]int32
	extraText []string
	extraBase int32

	special *addedSet // no text becomes one of its special tokens

	// cutSpaces says that no merge joins anything with a ▁ to its right, so that a text may be merged in pieces that
	// start at ▁.
	cutSpaces bool
}

const metaspace = "▁"

// init fills the tables that follow from vocabulary and merges.
func (m *bpe) init() {
	var buf []byte
	for b := range m.first {
		m.first[b] = -1
		s := string(rune(b))
		if m.byteLevel {
			buf = toByteLevel(buf[:0], string([]byte{byte(b)}))
			s = string(buf)
		} else if b >= utf8.RuneSelf {
			continue
		}
		if id, ok := m.vocab.find(s); ok {
			m.first[b] = id
		}
	}
	const hex = "0123456789ABCDEF"
	for b := range m.bytes {
		m.bytes[b] = -1
		if id, ok := m.vocab.find("<0x" + string([]byte{hex[b>>4], hex[b&15]}) + ">"); ok {
			m.bytes[b] = id
		}
	}
	if m.extraBase == 0 {
		m.extraBase = maxTokens
	}
	m.cutSpaces = !m.byteLevel && !m.ignoreMerges && m.spacesLead()
}

// keepOut sees to it that no text becomes a special token by merging, as it must not by spelling it.
func (m *bpe) keepOut(added *addedSet) {
	m.special = added
	for i := range m.merges.slots {
		s := &m.merges.slots[i]
		if s.pair != noPair && added.isSpecial(s.to) {
			s.rank = noRank
		}
	}
}

// spacesLead reports whether ▁ is a token and stands in merged tokens only at their start or after another ▁.
func (m *bpe) spacesLead() bool {
	if _, ok := m.vocab.find(metaspace); !ok {
		return false
	}
	for i := range m.merges.slots {
		if m.merges.slots[i].pair == noPair {
			continue
		}
		rest := strings.TrimLeft(m.vocab.get(m.merges.slots[i].to), metaspace)
		if strings.Contains(rest, metaspace) {
			return false
		}
	}
	return true
}

// encode appends the ids of a word. A long word without known boundaries takes O(n log n).
func (m *bpe) encode(dst []int32, word string, sc *scratch) []int32 {
	if !m.cutSpaces {
		return m.cached(dst, word, sc)
	}
	for len(word) > 0 {
		n := nextSpace(word)
		dst = m.cached(dst, word[:n], sc)
		word = word[n:]
	}
	return dst
}

// nextSpace returns where the next piece of a text starts: at a ▁ that follows something else.
func nextSpace(s string) int {
	i := 0
	for strings.HasPrefix(s[i:], metaspace) {
		i += len(metaspace)
	}
	if n := strings.Index(s[i:], metaspace); n >= 0 {
		return i + n
	}
	return len(s)
}

// cached looks a word up among the recent ones before it is merged.
func (m *bpe) cached(dst []int32, word string, sc *scratch) []int32 {
	if len(word) == 1 && m.byteLevel && m.first[word[0]] >= 0 {
		return append(dst, m.first[word[0]])
	}
	if len(word) > wordMax || sc.words == nil {
		return m.merge(dst, word, sc)
	}
	e := sc.words.at(word)
	if int(e.length) == len(word) && string(e.word[:e.length]) == word {
		return append(dst, e.ids[:e.count]...)
	}
	start := len(dst)
	dst = m.merge(dst, word, sc)
	if ids := dst[start:]; len(ids) <= len(e.ids) {
		e.length = uint8(copy(e.word[:], word))
		e.count = uint8(copy(e.ids[:], ids))
	}
	return dst
}

// merge appends the ids of a word.
func (m *bpe) merge(dst []int32, word string, sc *scratch) []int32 {
	if m.ignoreMerges {
		text := word
		if m.byteLevel {
			sc.text = toByteLevel(sc.text[:0], word)
			text = string(sc.text)
		}
		if id, ok := m.vocab.find(text); ok && !m.special.isSpecial(id) {
			return append(dst, id)
		}
	}
	sc.ids = m.symbols(sc.ids[:0], word)
	ids := m.merges.apply(sc.ids, sc)
	if len(m.extra) == 0 {
		return append(dst, ids...)
	}
	for _, id := range ids {
		if id < m.extraBase {
			dst = append(dst, id)
			continue
		}
		for _, b := range []byte(m.extraText[id-m.extraBase]) {
			if t := m.orUnk(m.bytes[b]); t >= 0 {
				dst = append(dst, t)
			}
		}
	}
	return dst
}

func (m *bpe) orUnk(id int32) int32 {
	if id >= 0 {
		return id
	}
	return m.unk
}

// symbols appends what a word is before any merge: the ids of its bytes or of its characters.
func (m *bpe) symbols(ids []int32, word string) []int32 {
	ids = slices.Grow(ids, len(word))
	unk := false // an unk is due before the next id
	for i := 0; i < len(word); {
		n, id := 1, m.first[word[i]]
		if id < 0 && !m.byteLevel {
			_, n = utf8.DecodeRuneInString(word[i:])
			if found, ok := m.vocab.find(word[i : i+n]); ok {
				id = found
			} else if found, ok := m.extra[word[i:i+n]]; ok {
				id = found
			}
		}
		char := word[i : i+n]
		i += n
		switch {
		case id >= 0:
			if unk {
				ids = append(ids, m.unk)
				unk = false
			}
			ids = append(ids, id)
		case m.fallback && m.hasBytes(char):
			for j := range len(char) {
				ids = append(ids, m.bytes[char[j]])
			}
		case m.unk >= 0:
			if unk && !m.fuseUnk {
				ids = append(ids, m.unk)
			}
			unk = true
		}
	}
	if unk {
		ids = append(ids, m.unk)
	}
	return ids
}

func (m *bpe) hasBytes(s string) bool {
	for i := range len(s) {
		if m.bytes[s[i]] < 0 {
			return false
		}
	}
	return true
}
