package eval

import (
	"fmt"
	"math"
	"strings"
)

// newGrid is the NIAH grid: one needle at each of so many depths, from the beginning of the text to its end, in each length. The
// text is the book, or RULER's noise without one. Sample i lies at depth i mod depths, so that any number of samples that is
// a multiple of the depths fills the grid evenly.
func newGrid(m *Material) (Task, error) {
	depths := m.Depths
	if depths == 0 {
		depths = 10
	}
	if depths < 2 || depths > 1000 {
		return nil, fmt.Errorf("the NIAH grid has %d depths: want 2 to 1000: %w", depths, ErrTask)
	}
	prose := strings.Fields(m.Book)
	if len(prose) < leastProse {
		prose = strings.Fields(noise)
	}
	words := ownLexicon()
	return &sized{name: "niah", m: m, maxTokens: gridTokens, score: matchAll, step: steps(20, 100), make: func(d Draws, _, size, index int) (made, error) {
		key, value := words.word(d), sevenDigits(d)
		depth := float64(index%depths) / float64(depths-1)
		sentences := splitSentences(strings.Join(cut(prose, size), " "))
		at := int(math.Round(depth * float64(len(sentences))))
		parts := append(append(append([]string{}, sentences[:at]...), needleOf("numbers", key, value)), sentences[at:]...)
		text, prefix := niahQuestion("numbers", strings.Join(parts, " "), key, true)
		return made{text, prefix, []string{value}, depth}, nil
	}}, nil
}

// gridTokens are enough for a number of seven digits and some words before it.
const gridTokens = 24
