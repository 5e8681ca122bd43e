package tokenizer

import (
	"fmt"
	"sort"
	"strings"
)

// maxAdded bounds the length of an added token in bytes, and with it the work per byte of text.
const maxAdded = 512

// addedToken is a token that is cut out of the text before the model sees it.
type addedToken struct {
	id         int32
	content    string
	singleWord bool // not inside a word
	lstrip     bool // takes the white space on its left
	rstrip     bool // and on its right
	normalized bool // is looked for in the normalised text, in its own normalised form
	special    bool // is not text
}

// span is a piece of text: an added token, or text for the model (id -1).
type span struct {
	start, end int
	id         int32
}

// matcher finds added tokens in a text, the leftmost first and the longest of those. It keeps them sorted: those with a
// common beginning stand together, the shortest first.
type matcher struct {
	tokens []addedToken
	texts  []string      // what is looked for, sorted
	at     []int32       // texts[i] is of tokens[at[i]]
	first  [256][2]int32 // the range of texts that start with a byte
	only   int           // the one first byte that all texts have, or -1
}

// newMatcher sorts those tokens whose normalized is as given by their text, which is made of their content.
func newMatcher(tokens []addedToken, normalized bool, text func(content string) string) (*matcher, error) {
	count := 0
	for _, a := range tokens {
		if a.normalized == normalized {
			count++
		}
	}
	if count == 0 {
		return nil, nil
	}
	m := &matcher{tokens: tokens, texts: make([]string, 0, count), at: make([]int32, 0, count), only: -1}
	for i, a := range tokens {
		if a.normalized != normalized {
			continue
		}
		s := text(a.content)
		if len(s) > maxAdded {
			return nil, fmt.Errorf("%w: added token %d is %d bytes long, at most %d are allowed", ErrUnsupported, a.id,
				len(s), maxAdded)
		}
		if s != "" {
			m.texts, m.at = append(m.texts, s), append(m.at, int32(i))
		}
	}
	if len(m.texts) == 0 {
		return nil, nil
	}
	sort.Stable(m)
	for i, s := range m.texts {
		r := &m.first[s[0]]
		if r[1] == 0 {
			r[0] = int32(i)
		}
		r[1] = int32(i) + 1
	}
	if last := m.texts[len(m.texts)-1]; last[0] == m.texts[0][0] {
		m.only = int(last[0])
	}
	return m, nil
}

func (m *matcher) Len() int           { return len(m.texts) }
func (m *matcher) Less(i, j int) bool { return m.texts[i] < m.texts[j] }
func (m *matcher) Swap(i, j int) {
	m.texts[i], m.texts[j] = m.texts[j], m.texts[i]
	m.at[i], m.at[j] = m.at[j], m.at[i]
}

// next returns the first match at or after i: its start, end and token, or -1.
func (m *matcher) next(s string, i int) (start, end, token int) {
	for ; i < len(s); i++ {
		if m.only >= 0 {
			n := strings.IndexByte(s[i:], byte(m.only))
			if n < 0 {
				break
			}
			i += n
		}
		r := m.first[s[i]]
		if r[1] == 0 {
			continue
		}
		if token := m.longest(s[i:], int(r[0]), int(r[1])); token >= 0 {
			return i, i + len(m.texts[token]), token
		}
	}
	return -1, -1, -1
}

// longest returns the longest of texts[lo:hi] that s starts with, or -1. Their first byte is known to be equal.
func (m *matcher) longest(s string, lo, hi int) int {
	found := -1
	for n := 1; lo < hi; n++ { // texts[lo:hi] are those that start with s[:n]
		if hi-lo == 1 {
			if strings.HasPrefix(s, m.texts[lo]) {
				found = lo
			}
			break
		}
		for lo < hi && len(m.texts[lo]) == n {
			found = lo
			lo++
		}
		if n == len(s) {
			break
		}
		texts := m.texts[lo:hi]
		b := s[n]
		lo, hi = lo+sort.Search(len(texts), func(i int) bool { return texts[i][n] >= b }),
			lo+sort.Search(len(texts), func(i int) bool { return texts[i][n] > b })
	}
	return found
}

// split appends the spans of s, in order. Special tokens are cut out only if special is set.
func (m *matcher) split(t *classTable, spans []span, s string, special bool) []span {
	if m == nil {
		return append(spans, span{0, len(s), -1})
	}
	done, run := 0, 0
	for at := 0; ; {
		start, end, token := m.next(s, at)
		if token < 0 {
			break
		}
		at = end
		a := &m.tokens[m.at[token]]
		if a.special && !special {
			continue
		}
		if a.singleWord && insideWord(t, s, start, end) {
			continue
		}
		if a.lstrip {
			for start > done {
				c, n := t.before(s, start)
				if c&space == 0 {
					break
				}
				start -= n
			}
			start = max(start, done)
		}
		if a.rstrip {
			if end > run { // the spaces up to run have been seen
				run = t.run(s, end, space)
			}
			end = run
		}
		if done < start {
			spans = append(spans, span{done, start, -1})
		}
		spans = append(spans, span{start, end, a.id})
		done = end
	}
	if done < len(s) {
		spans = append(spans, span{done, len(s), -1})
	}
	return spans
}

// insideWord reports whether a word continues on either side of s[start:end].
func insideWord(t *classTable, s string, start, end int) bool {
	if start > 0 {
		if c, _ := t.before(s, start); c&word != 0 {
			return true
		}
	}
	if end < len(s) {
		if c, _ := t.at(s, end); c&word != 0 {
			return true
		}
	}
	return false
}
