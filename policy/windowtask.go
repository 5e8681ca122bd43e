package policy

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// cues are words of a prompt that tell what it asks for.
var (
	aggregationCues = []string{
		"summar", "tl;dr", "overview", "key points", "main points", "translate", "rewrite", "classify",
		"following are some examples", "here are some examples", "how many unique", "how many different",
		"abstract is from", "meeting transcript", "list all", "complete the code", "next line of code", "refactor",
	}
	localizationCues = []string{
		"answer the question", "based on the", "according to", "passkey", "pass key", "magic number", "find the", "question:",
	}
)

const (
	cueTokens = 256           // that are read of a prompt's beginning and of its end
	codeSigns = "{}()[];=<>_" // of which code has many
)

// localizes reports whether a prompt looks a fact up; else it wants a text condensed. The first
// rule that fits decides; where none does, it is as of a prompt that is no question. A prompt of
// up to twice cueTokens is read as one piece, which is its end too. Markers are not read.
func localizes(r Request) bool {
	n := len(r.Prompt)
	tail := plainText(r, r.Prompt)
	z := tail
	if n > 2*cueTokens {
		tail = plainText(r, r.Prompt[n-cueTokens:])
		z = plainText(r, r.Prompt[:cueTokens]) + " " + tail
	}
	if hasAny(z, aggregationCues) || isCode(tail) {
		return false
	}
	return hasAny(z, localizationCues) || strings.Contains(lastRunes(tail, 200), "?")
}

// plainText is the text of some tokens in lower case, with a blank for each run of white space.
func plainText(r Request, ids []int32) string {
	var b strings.Builder
	for _, id := range ids {
		if !r.Special(id) {
			b.WriteString(r.Text(id))
		}
	}
	return strings.Join(strings.FieldsFunc(strings.ToLower(b.String()), unicode.IsSpace), " ")
}

func hasAny(s string, cues []string) bool {
	for _, c := range cues {
		if strings.Contains(s, c) {
			return true
		}
	}
	return false
}

// isCode reports whether at least 6 in 100 of the signs are such as code is made of.
func isCode(s string) bool {
	all, signs := 0, 0
	for _, c := range s {
		if unicode.IsSpace(c) {
			continue
		}
		all++
		if strings.ContainsRune(codeSigns, c) {
			signs++
		}
	}
	return all > 0 && 100*signs >= 6*all
}

func lastRunes(s string, n int) string {
	at := len(s)
	for ; n > 0 && at > 0; n-- {
		_, size := utf8.DecodeLastRuneInString(s[:at])
		at -= size
	}
	return s[at:]
}
