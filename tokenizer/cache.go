package tokenizer

import "hash/maphash"

// wordMax is the longest word, in bytes, that is remembered.
const wordMax = 30

// wordCache remembers what recent words became. It is of fixed size, 64 bytes a word, and a word displaces the one whose
// place it shares, so that no text makes it grow.
type wordCache struct {
	seed  maphash.Seed
	words [1 << 14]wordEntry
}

type wordEntry struct {
	length, count uint8
	word          [wordMax]byte
	ids           [8]int32
}

func newWordCache() *wordCache { return &wordCache{seed: maphash.MakeSeed()} }

func (c *wordCache) at(word string) *wordEntry {
	return &c.words[maphash.String(c.seed, word)%uint64(len(c.words))]
}
