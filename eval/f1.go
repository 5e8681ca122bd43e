package eval

import (
	"strings"
	"unicode"
)

// qaF1 is LongBench's and InfiniteBench's score of free answers in English: F1 of the words that both have, as often as both have
// them, without case, punctuation and articles.
func qaF1(answer, text string) float64 {
	return f1(strings.FieldsFunc(normalise(text), pythonSpace), strings.FieldsFunc(normalise(answer), pythonSpace))
}

// f1 of two bags.
func f1(got, want []string) float64 {
	left := map[string]int{}
	for _, w := range want {
		left[w]++
	}
	same := 0
	for _, w := range got {
		if left[w] > 0 {
			left[w]--
			same++
		}
	}
	if same == 0 {
		return 0
	}
	precision, recall := float64(same)/float64(len(got)), float64(same)/float64(len(want))
	return (2 * precision * recall) / (precision + recall)
}

// normalise leaves lower-case words without ASCII punctuation; articles become blanks.
func normalise(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsPunct(r) || unicode.IsSymbol(r)) {
			return -1
		}
		return r
	}, strings.ToLower(s))
	var b strings.Builder
	for s != "" {
		end := strings.IndexFunc(s, func(r rune) bool { return !wordRune(r) })
		if end < 0 {
			end = len(s)
		}
		switch word := s[:end]; word {
		case "a", "an", "the":
			b.WriteByte(' ')
		default:
			b.WriteString(word)
		}
		s = s[end:]
		next := strings.IndexFunc(s, wordRune)
		if next < 0 {
			next = len(s)
		}
		b.WriteString(s[:next])
		s = s[next:]
	}
	return b.String()
}

// wordRune is \w of Python's regular expressions; the underscore is punctuation and gone before.
func wordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }
