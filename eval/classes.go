package eval

import (
	"regexp"
	"strings"
	"unicode"
)

// className is LongBench's score of classifications: 1 over the number of classes that the text names, if the right one is among
// them. A class whose name is a part of the right one's is not counted, but the one behind such a one in the list is not looked at.
func className(answer, text string, classes []string) float64 {
	var named []string
	for _, c := range classes {
		if strings.Contains(text, c) {
			named = append(named, c)
		}
	}
	for i := 0; i < len(named); i++ {
		if c := named[i]; strings.Contains(answer, c) && c != answer {
			named = removeFirst(named, c)
		}
	}
	right := false
	for _, c := range named {
		right = right || c == answer
	}
	if !right {
		return 0
	}
	return 1 / float64(len(named))
}

func removeFirst(list []string, s string) []string {
	for i, v := range list {
		if v == s {
			return append(list[:i:i], list[i+1:]...)
		}
	}
	return list
}

// numberShare is LongBench's score of counts: the share of the numbers in the text that are the right one.
func numberShare(answer, text string) float64 {
	runs := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsDigit(r) })
	if len(runs) == 0 {
		return 0
	}
	right := 0
	for _, n := range runs {
		if n == answer {
			right++
		}
	}
	return float64(right) / float64(len(runs))
}

var paragraph = regexp.MustCompile(`(?:Paragraph |段落)(\p{Nd}+)`)

// paragraphShare is numberShare of the number that "Paragraph 7" or "段落7" names.
func paragraphShare(answer, text string) float64 {
	m := paragraph.FindStringSubmatch(answer)
	if m == nil {
		return 0
	}
	return numberShare(m[1], text)
}

var choices = []*regexp.Regexp{regexp.MustCompile(`The correct answer is \(([A-D])\)`), regexp.MustCompile(`The correct answer is ([A-D])`)}

// choice is LongBench v2's: the letter that the answer names, or nothing.
func choice(text string) string {
	text = strings.ReplaceAll(strings.TrimFunc(text, pythonSpace), "*", "")
	for _, re := range choices {
		if m := re.FindStringSubmatch(text); m != nil {
			return m[1]
		}
	}
	return ""
}
