package load

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"unicode/utf8"
)

// prompter makes what is asked. Prompts are alike in their first Config.Shared tokens
// and in nothing else: a cache of prefixes finds no more than that.
type prompter struct {
	c      *Config
	ids    []int32 // what all prompts begin with
	text   string
	bytes  float64 // of a token of text
	around float64 // tokens besides: the head that makes it unlike others, and a chat template
}

// Streams of random numbers: one a question, which is the number of the question, and
// these, which no question has.
const (
	streamShared   = 1 << 62
	streamArrivals = 1<<62 + 1
	streamProbe    = 1<<62 + 2
	streamWarmup   = 1 << 61 // and above
)

func (c *Config) random(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(c.Seed, stream)) }

// byIDs tells whether prompts are token ids.
func (c *Config) byIDs() bool { return c.Text == "" && !c.Words && !c.chat() }

// begin draws what all prompts share. For text, bytes and around must be known.
func (p *prompter) begin() {
	switch r := p.c.random(streamShared); {
	case p.c.Shared == 0:
	case p.c.byIDs():
		p.ids = p.drawIDs(nil, p.c.Shared, r)
	default:
		p.text = p.drawText(int(float64(p.c.Shared)*p.bytes), r)
	}
}

// prompt makes one of so many tokens, without those that are shared: a text, or ids.
func (p *prompter) prompt(tokens int, r *rand.Rand) any {
	if p.c.byIDs() {
		return p.drawIDs(append(make([]int32, 0, len(p.ids)+tokens), p.ids...), tokens, r)
	}
	return p.text + head(r) + p.drawText(max(int((float64(tokens)-p.around)*p.bytes), 0), r)
}

// head is what no two texts have in common.
func head(r *rand.Rand) string { return fmt.Sprintf("(%016x) ", r.Uint64()) }

func (p *prompter) drawIDs(ids []int32, n int, r *rand.Rand) []int32 {
	for range n {
		ids = append(ids, int32(p.c.LowID+r.IntN(p.c.HighID-p.c.LowID)))
	}
	return ids
}

// drawText is a text of about so many bytes: words, or a part of the Config's text.
func (p *prompter) drawText(size int, r *rand.Rand) string {
	if p.c.Text == "" {
		return words(size, r)
	}
	text := p.c.Text
	size = min(size, len(text))
	at := r.IntN(len(text) - size + 1)
	for at > 0 && !utf8.RuneStart(text[at]) {
		at--
	}
	end := at + size
	for end < len(text) && !utf8.RuneStart(text[end]) {
		end++
	}
	return text[at:end]
}

// words are made up, of two or three syllables, so that any tokenizer takes them.
func words(size int, r *rand.Rand) string {
	const consonants, vowels = "bdfgklmnprstvz", "aeiou"
	var b strings.Builder
	b.Grow(size + 8)
	for b.Len() < size {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		for range 2 + r.IntN(2) {
			b.WriteByte(consonants[r.IntN(len(consonants))])
			b.WriteByte(vowels[r.IntN(len(vowels))])
		}
	}
	return b.String()
}
