package policy

import (
	"cmp"
	"slices"
)

// once is the Next of a state that compresses when the prompt has been read.
func once(prompt, tokens int) int {
	if tokens < prompt {
		return prompt
	}
	return Never
}

// always is that of one which goes on after each token.
func always(prompt, tokens int) int { return max(prompt, tokens+1) }

// upTo appends the numbers from a to b−1.
func upTo(list []int, a, b int) []int {
	for ; a < b; a++ {
		list = append(list, a)
	}
	return list
}

// top is the indices of the n largest scores, ascending. Ties go to the lower index.
func top[T cmp.Ordered](scores []T, n int) []int {
	list := upTo(make([]int, 0, len(scores)), 0, len(scores))
	if n >= len(list) {
		return list
	}
	slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	list = list[:max(n, 0)]
	slices.Sort(list)
	return list
}
