package policy

import (
	"slices"
	"testing"

	"nosa/dtype"
)

// Ties prune the lower channel.
func TestThickest(t *testing.T) {
	for _, tc := range []struct {
		scores []float64
		n      int
		want   []int
	}{
		{[]float64{5.9375, .1425, 5.5, .1225}, 2, []int{0, 2}},
		{[]float64{1, 1, 1, 1, 1}, 3, []int{2, 3, 4}},
		{[]float64{2, 1, 1, 3}, 3, []int{0, 2, 3}},
		{[]float64{1, 2}, 2, []int{0, 1}},
	} {
		if got := thickest(tc.scores, tc.n); !slices.Equal(got, tc.want) {
			t.Errorf("%d of %v: %v, want %v", tc.n, tc.scores, got, tc.want)
		}
	}
}

// A block of 64 tokens of 128 channels takes as many bytes as its numbers.
func TestChannelsBytes(t *testing.T) {
	for kept, want := range map[int]int{128: 32768, 77: 26240, 64: 24576, 52: 23040} {
		if got := (&channels{upTo(nil, 0, kept), 128, dtype.BF16}).Bytes(64); got != want {
			t.Errorf("%d channels: %d bytes, want %d", kept, got, want)
		}
	}
}
