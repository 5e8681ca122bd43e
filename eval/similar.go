package eval

import (
	"math"
	"strings"
)

// codeSimilarity is LongBench's score of code: how alike the first line of the text that has no backquote, '#' or "//" is to the
// line that was due.
func codeSimilarity(answer, text string) float64 {
	line := ""
	for l := range strings.SplitSeq(strings.TrimLeft(text, "\n"), "\n") {
		if !strings.ContainsAny(l, "`#") && !strings.Contains(l, "//") {
			line = l
			break
		}
	}
	return ratio(line, answer) / 100
}

// ratio is that of PyPI's fuzzywuzzy, which counts by Python's difflib: twice the characters of matching blocks over all, in whole
// per cent.
func ratio(a, b string) float64 {
	switch {
	case a == b:
		return 100
	case a == "" || b == "":
		return 0
	}
	m := newMatcher([]rune(a), []rune(b))
	return math.RoundToEven(100 * (2 * float64(m.matched()) / float64(len(m.a)+len(m.b))))
}

// matcher finds the blocks that two texts have in common: the longest first, then those on its left and on its right.
type matcher struct {
	a, b  []rune
	where map[rune][]int // in b, without what is there too often
}

// popular is from which length on a character that makes up more than a hundredth of b begins no match.
const popular = 200

func newMatcher(a, b []rune) *matcher {
	m := &matcher{a, b, map[rune][]int{}}
	for j, r := range b {
		m.where[r] = append(m.where[r], j)
	}
	if n := len(b); n >= popular {
		for r, at := range m.where {
			if len(at) > n/100+1 {
				delete(m.where, r)
			}
		}
	}
	return m
}

// span is a part of both.
type span struct{ aLow, aHigh, bLow, bHigh int }

// matched is the number of characters in matching blocks.
func (m *matcher) matched() (n int) {
	for queue := []span{{0, len(m.a), 0, len(m.b)}}; len(queue) > 0; {
		s := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		i, j, k := m.longest(s)
		if k == 0 {
			continue
		}
		n += k
		if s.aLow < i && s.bLow < j {
			queue = append(queue, span{s.aLow, i, s.bLow, j})
		}
		if i+k < s.aHigh && j+k < s.bHigh {
			queue = append(queue, span{i + k, s.aHigh, j + k, s.bHigh})
		}
	}
	return n
}

// longest is the longest block of a span: the first in a, and of those the first in b. It is grown by popular characters.
func (m *matcher) longest(s span) (i, j, k int) {
	i, j = s.aLow, s.bLow
	ending := map[int]int{} // by a place in b: the length of the match that ends there and before a[x]
	for x := s.aLow; x < s.aHigh; x++ {
		next := map[int]int{}
		for _, y := range m.where[m.a[x]] {
			if y < s.bLow || y >= s.bHigh {
				continue
			}
			n := ending[y-1] + 1
			next[y] = n
			if n > k {
				i, j, k = x-n+1, y-n+1, n
			}
		}
		ending = next
	}
	for i > s.aLow && j > s.bLow && m.a[i-1] == m.b[j-1] {
		i, j, k = i-1, j-1, k+1
	}
	for i+k < s.aHigh && j+k < s.bHigh && m.a[i+k] == m.b[j+k] {
		k++
	}
	return i, j, k
}
