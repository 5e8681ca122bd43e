package eval

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// niah is RULER's needle in a haystack: sentences that say a value of a key, strewn into other text, and a question for values.
type niah struct {
	haystack              string // noise, essay (running text) or needle (sentences of the same kind)
	keyKind, valueKind    string // words, numbers, uuids
	keys, values, queries int    // of needles; values of each key
}

// Sentences and questions of RULER's.
const (
	noise        = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
	niahTemplate = "Some special magic {type} are hidden within the following text. Make sure to memorize it. I will quiz you about the {type} afterwards.\n" +
		"{context}\nWhat are all the special magic {type} for {query} mentioned in the provided text?"
	niahPrefix = " The special magic {type} for {query} mentioned in the provided text are"
	niahTokens = 128
)

// needleOf is the sentence that tells a value.
func needleOf(kind, key, value string) string {
	return "One of the special magic " + kind + " for " + key + " is: " + value + "."
}

// lexicon are the words of keys.
type lexicon struct{ adjectives, nouns []string }

// word draws a key such as quiet-harbour.
func (l lexicon) word(d Draws) string {
	n := d.Below(len(l.adjectives) * len(l.nouns))
	return l.adjectives[n/len(l.nouns)] + "-" + l.nouns[n%len(l.nouns)]
}

// sevenDigits draws the number of a needle.
func sevenDigits(d Draws) string { return strconv.Itoa(1_000_000 + d.Below(9_000_000)) }

func (l lexicon) draw(d Draws, kind string) string {
	switch kind {
	case "numbers":
		return sevenDigits(d)
	case "uuids":
		return uuid(d)
	}
	return l.word(d)
}

// text makes a haystack of so many words (of running text) or sentences. prose is the running text, by words.
func (n niah) text(d Draws, l lexicon, prose []string, size int) made {
	used := map[string]bool{}
	key := func() string {
		for {
			k := l.draw(d, n.keyKind)
			if !used[k] { // RULER's list is so long that it does without: the same key twice makes a question that has no answer
				used[k] = true
				return k
			}
		}
	}
	var keys, needles []string
	var values [][]string
	for range n.keys {
		keys = append(keys, key())
		var of []string
		for range n.values {
			of = append(of, l.draw(d, n.valueKind))
			needles = append(needles, needleOf(n.valueKind, keys[len(keys)-1], of[len(of)-1]))
		}
		values = append(values, of)
	}
	needles = picked(needles, d.Shuffle(len(needles)))
	var context string
	if n.haystack == "essay" {
		context = strew(d, cut(prose, size), needles)
	} else {
		lines := make([]string, max(size, len(needles)))
		for i := range lines {
			lines[i] = noise
			if n.haystack == "needle" {
				k := key()
				lines[i] = needleOf(n.valueKind, k, l.draw(d, n.valueKind))
			}
		}
		places := d.Sample(len(lines), len(needles))
		slices.SortFunc(places, func(a, b int) int { return b - a })
		for i, p := range places {
			lines = slices.Insert(lines, p, needles[i])
		}
		context = strings.Join(lines, "\n")
	}
	var asked, answers []string
	for _, i := range d.Sample(n.keys, n.queries) {
		asked = append(asked, keys[i])
		answers = append(answers, values[i]...)
	}
	query := asked[0]
	if last := len(asked) - 1; last > 0 {
		query = strings.Join(asked[:last], ", ") + ", and " + asked[last]
	}
	text, prefix := niahQuestion(n.valueKind, context, query, n.queries*n.values == 1)
	depth := -1.0
	if len(answers) == 1 {
		depth = float64(strings.Index(context, answers[0])) / float64(len(context))
	}
	return made{text, prefix, answers, depth}
}

// niahQuestion asks for one value, or for several.
func niahQuestion(kind, context, query string, one bool) (text, prefix string) {
	text, prefix = niahTemplate, niahPrefix
	if one {
		singular := strings.NewReplacer("Some", "A", "are all", "is", "are", "is")
		text, prefix, kind = singular.Replace(text), singular.Replace(prefix), strings.TrimSuffix(kind, "s")
	}
	fill := strings.NewReplacer("{type}", kind, "{context}", context, "{query}", query)
	return fill.Replace(text), fill.Replace(prefix)
}

// cut is the beginning of a text, which is repeated where it is too short.
func cut(words []string, n int) []string {
	if len(words) == 0 || n <= len(words) {
		return words[:min(n, len(words))]
	}
	return slices.Repeat(words, (n+len(words)-1)/len(words))[:n]
}

// strew puts sentences between those of a text, at 40 depths that are as far from each other.
func strew(d Draws, words, needles []string) string {
	sentences := splitSentences(strings.Join(words, " "))
	at := make([]int, len(needles))
	for i, step := range d.Sample(depthSteps, len(needles)) {
		at[i] = int(float64(len(sentences)) * (depthOf(step) / 100))
	}
	slices.Sort(at)
	var parts []string
	from := 0
	for i, to := range at {
		parts = append(parts, strings.Join(sentences[from:to], " "), needles[i])
		from = to
	}
	return strings.Join(append(parts, strings.Join(sentences[from:], " ")), " ")
}

const depthSteps = 40

// depthOf is one of the depths of needles, in whole per cent.
func depthOf(step int) float64 {
	return math.RoundToEven(float64(step) * 100 / (depthSteps - 1))
}

// splitSentences ends a sentence behind a full stop, question mark or exclamation mark, and the quotes and brackets that close
// there, where a blank follows and then no lower-case letter.
func splitSentences(text string) []string {
	var out []string
	text = strings.TrimSpace(text)
	from, ended := 0, false
	for i, r := range text {
		switch {
		case strings.ContainsRune(".?!", r):
			ended = true
		case ended && strings.ContainsRune(`"')]”’`, r):
		case ended && r == ' ' && !startsLower(text[i+1:]):
			out = append(out, text[from:i])
			from, ended = i+1, false
		default:
			ended = false
		}
	}
	if from < len(text) {
		out = append(out, text[from:])
	}
	return out
}

func startsLower(s string) bool { return s != "" && s[0] >= 'a' && s[0] <= 'z' }
