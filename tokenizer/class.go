package tokenizer

import (
	"sync"
	"unicode/utf8"
)

// class is a set of properties of a code point. The properties are PyPI tokenizers' (gen_unicode.go), which differ from
// Go's unicode package by about five thousand code points.
type class uint16

const (
	letter class = 1 << iota // \p{L} of a Split pattern
	number                   // \p{N} of a Split pattern
	space                    // \s everywhere
	mark                     // \p{M}
	upper                    // \p{Lu}, \p{Lt}
	lower                    // \p{Ll}
	digit                    // what Digits sets apart: \p{N} of a newer table
	word                     // \w around added tokens and in Whitespace
	punct                    // what Punctuation sets apart
	accent                   // what StripAccents drops
)

const (
	classBits = 10
	pageBits  = 8
)

// classTable is a two-stage table: a page number for the high bits of a code point, a class for the low ones.
type classTable struct {
	ascii [utf8.RuneSelf]class
	pages [(utf8.MaxRune + 1) >> pageBits]uint8
	data  [][1 << pageBits]class
}

// classes is built on first use, from about three thousand changes in 1 ms.
var classes = sync.OnceValue(func() *classTable {
	t := new(classTable)
	known := map[[1 << pageBits]class]uint8{}
	next, now := 0, class(0)
	for p := range t.pages {
		var page [1 << pageBits]class
		for i := range page {
			c := uint32(p<<pageBits | i)
			for next < len(classChanges) && classChanges[next]>>classBits <= c {
				now = class(classChanges[next] & (1<<classBits - 1))
				next++
			}
			page[i] = now
		}
		n, ok := known[page]
		if !ok {
			n = uint8(len(t.data))
			known[page] = n
			t.data = append(t.data, page)
		}
		t.pages[p] = n
	}
	copy(t.ascii[:], t.data[t.pages[0]][:])
	return t
})

// of returns the class of a code point.
func (t *classTable) of(r rune) class {
	return t.data[t.pages[r>>pageBits]][r&(1<<pageBits-1)]
}

// at returns the class and the length in bytes of the character of s that starts at i. A byte that starts no character
// has the class of U+FFFD and length 1.
func (t *classTable) at(s string, i int) (class, int) {
	if b := s[i]; b < utf8.RuneSelf {
		return t.ascii[b], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	return t.of(r), n
}

// before returns the class and the length of the character of s that ends at i > 0.
func (t *classTable) before(s string, i int) (class, int) {
	r, n := utf8.DecodeLastRuneInString(s[:i])
	return t.of(r), n
}
