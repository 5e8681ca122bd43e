package eval

import (
	"slices"
	"strings"
)

// rougeL is LongBench's score of summaries, ROUGE-L as the PyPI package rouge 1.0 counts it: sentences end at full stops; of each
// sentence of the reference, the words of its longest common subsequences with each sentence of the text; those that are new, over
// the different words of both. A text or reference without anything between its full stops scores 0.
func rougeL(answer, text string) float64 {
	got, want := rougeSentences(text), rougeSentences(answer)
	if len(got) == 0 || len(want) == 0 {
		return 0
	}
	words := func(sentences [][]string) float64 {
		set := map[string]bool{}
		for _, s := range sentences {
			for _, w := range s {
				set[w] = true
			}
		}
		return float64(len(set))
	}
	common := map[string]bool{}
	for _, ref := range want {
		for _, s := range got {
			for _, w := range subsequence(ref, s) {
				common[w] = true
			}
		}
	}
	recall, precision := float64(len(common))/words(want), float64(len(common))/words(got)
	return 2 * ((precision * recall) / (precision + recall + 1e-8))
}

// rougeSentences are the words between full stops. Between two with blanks alone there is one empty word.
func rougeSentences(s string) (out [][]string) {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" {
			continue
		}
		words := strings.FieldsFunc(part, pythonSpace)
		if len(words) == 0 {
			words = []string{""}
		}
		out = append(out, words)
	}
	return out
}

// subsequence is one of the longest that both have. Of several it is the one that goes back in y while that costs nothing.
func subsequence(x, y []string) (out []string) {
	width := len(y) + 1
	length := make([]int32, (len(x)+1)*width)
	for i := range x {
		for j := range y {
			at := (i+1)*width + j + 1
			if x[i] == y[j] {
				length[at] = length[at-width-1] + 1
			} else {
				length[at] = max(length[at-width], length[at-1])
			}
		}
	}
	for i, j := len(x), len(y); i > 0 && j > 0; {
		switch {
		case x[i-1] == y[j-1]:
			out = append(out, x[i-1])
			i, j = i-1, j-1
		case length[(i-1)*width+j] > length[i*width+j-1]:
			i--
		default:
			j--
		}
	}
	slices.Reverse(out)
	return out
}
