package eval

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Common and frequent words of RULER's.
const (
	cweTemplate = "Below is a numbered list of words. In these words, some appear more often than others. Memorize the ones that appear most often.\n" +
		"{context}\nQuestion: What are the 10 most common words in the above list?"
	cwePrefix = " Answer: The top 10 words that appear most often in the list are:"
	cweTokens = 120
	cweCommon = 10

	fweTemplate = "Read the following coded text and track the frequency of each coded word. Find the three most frequently appeared coded words. " +
		"{context}\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What are the three most frequently appeared words in the above coded text?"
	fwePrefix = " Answer: According to the coded text above, the three most frequently appeared words are:"
	fweTokens = 50
	fweWord   = 6   // letters
	fweAlpha  = 2.0 // of the Zipf distribution

	shortLength = 4096 // below it words are repeated less often
)

// wordList makes a list of so many words, of which ten appear more often.
func wordList(d Draws, words []string, n, common, uncommon int) (context string, answers []string) {
	chosen := picked(words, d.Sample(len(words), n))
	answers = chosen[:cweCommon]
	list := slices.Concat(slices.Repeat(answers, common), slices.Repeat(chosen[cweCommon:], uncommon))
	var b strings.Builder
	for i, p := range d.Shuffle(len(list)) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Itoa(i+1) + ". " + list[p])
	}
	return b.String(), answers
}

// commonWords is an example and the question.
func commonWords(d Draws, words, more []string, length, size int) (made, error) {
	size = max(size, cweCommon)
	list := words
	if size > len(words) {
		list = more
	}
	if size > len(list) {
		return made{}, fmt.Errorf("cwe: %d words are asked for, there are %d: ask for shorter texts: %w", size, len(list), ErrTask)
	}
	var example, context string
	var shown, answers []string
	if length < shortLength {
		example, shown = wordList(d, words, 20, 3, 1)
		context, answers = wordList(d, list, size, 6, 1)
	} else {
		example, shown = wordList(d, words, 40, 10, 3)
		context, answers = wordList(d, list, size, 30, 3)
	}
	text := strings.Replace(cweTemplate, "{context}", example, 1) + cwePrefix
	for i, w := range shown {
		text += " " + strconv.Itoa(i+1) + ". " + w
	}
	return made{text + "\n" + strings.Replace(cweTemplate, "{context}", context, 1), cwePrefix, answers, -1}, nil
}

// frequentWords makes a text of made-up words, the k-th of which has a share that falls with the square of k. The first is noise.
func frequentWords(d Draws, size, vocabulary int) made {
	vocabulary = max(vocabulary, 4)
	seen := make(map[string]bool, vocabulary)
	for len(seen) < vocabulary {
		seen[letters(d, 'a', fweWord)] = true
	}
	sorted := make([]string, 0, vocabulary)
	for w := range seen {
		sorted = append(sorted, w)
	}
	slices.Sort(sorted)
	words := picked(sorted, d.Shuffle(len(sorted)))
	words[0] = "..."
	var list []string
	for i, w := range words {
		count := int(float64(size) * math.Pow(float64(i+1), -fweAlpha) / (math.Pi * math.Pi / 6))
		list = append(list, slices.Repeat([]string{w}, count)...)
	}
	context := strings.Join(picked(list, d.Shuffle(len(list))), " ")
	return made{strings.Replace(fweTemplate, "{context}", context, 1), fwePrefix, words[1:4], -1}
}
