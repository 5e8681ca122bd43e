package eval

import (
	"slices"
	"strings"
	"unicode"
)

// matchAll is RULER's score of most tasks: the share of the answers that the text has, whatever the case.
func matchAll(answers []string, text string) float64 {
	text = strings.ToLower(rulerText(text))
	found := 0
	for _, a := range answers {
		if strings.Contains(text, strings.ToLower(a)) {
			found++
		}
	}
	return float64(found) / float64(len(answers))
}

// matchBest is RULER's score of questions over documents: whether the text has one of the answers.
func matchBest(answers []string, text string) float64 {
	text = strings.ToLower(rulerText(text))
	return truth(slices.ContainsFunc(answers, func(a string) bool { return strings.Contains(text, strings.ToLower(a)) }))
}

// rulerText makes line ends of control characters, as RULER does before it scores.
func rulerText(s string) string {
	return strings.TrimFunc(strings.Map(func(r rune) rune {
		if r < ' ' {
			return '\n'
		}
		return r
	}, strings.TrimFunc(s, pythonSpace)), pythonSpace)
}

// firstInteger is InfiniteBench's score of the passkey: whether the first run of digits is the key.
func firstInteger(answers []string, text string) float64 {
	runs := strings.FieldsFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	return truth(len(runs) > 0 && runs[0] == answers[0] || len(runs) == 0 && answers[0] == "")
}

// wordOf is InfiniteBench's score of key-value retrieval: whether the value is one of the words.
func wordOf(answers []string, text string) float64 {
	words := strings.FieldsFunc(text, func(r rune) bool { return pythonSpace(r) || strings.ContainsRune(":\"'.,?!{}", r) })
	return truth(slices.Contains(words, answers[0]))
}

// pythonSpace is what Python's str.split and str.strip take for a blank.
func pythonSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
