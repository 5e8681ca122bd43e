package policy

import (
	"fmt"
	"math"
	"slices"
)

// KV-Latent: fewer channels in every head.
//
// Paper: Shi, Li, Zhang, Liu, Qi, Zhao, "KV-Latent: Dimensional-level KV Cache Reduction with
// Frequency-aware Rotary Positional Embedding", arXiv 2507.11273.
//
// A model is converted once, and then trained a little: each head keeps some channels of its
// queries and keys, and some of its values and outputs. Nothing is chosen or dropped while it
// runs, so it is no Method: the model and its cache have other shapes. Latent says what a
// conversion keeps of a head, and how fast it turns; the rest is a slice of four matrices, and a
// table of frequencies in the model's file.
//
// The variant of the authors ("f") keeps every so many channels and gives them frequencies of
// its own: none of the fast ones, and of the slow ones twice as many; training heals what turns
// slower than before. "u" leaves the frequencies as plain rotation of that width has them. "m" keeps
// the pairs that turn at the new frequencies already: it needs no training to begin with.
//
// Holds QK + VO numbers of a token in each KV head, of 2·Dim. Costs nothing but the training.
type Latent struct {
	Dim, QK, VO int    // channels of a head, and those that queries and keys, and values keep
	Variant     string // f, u or m
	Interleaved bool   // pairs are neighbours (2i, 2i+1), as in GGUF files; else halves (i, i+Dim/2)
}

// Check refuses widths that heads cannot be thinned to.
func (l Latent) Check() error {
	switch {
	case l.Dim < 4 || l.QK < 4 || l.QK%4 != 0 || l.Dim%l.QK != 0 || l.Dim%2 != 0:
		return fmt.Errorf("%w: kvlatent: queries and keys of %d channels to %d: want a multiple of 4 that divides them", ErrPolicy, l.Dim, l.QK)
	case l.VO < 1 || l.Dim%l.VO != 0:
		return fmt.Errorf("%w: kvlatent: values of %d channels to %d: want a number that divides them", ErrPolicy, l.Dim, l.VO)
	case !slices.Contains([]string{"f", "u", "m"}, l.Variant):
		return fmt.Errorf("%w: kvlatent: variant %q: use f, u or m", ErrPolicy, l.Variant)
	case l.Variant == "m" && l.Dim/l.QK%2 != 0:
		return fmt.Errorf("%w: kvlatent: variant m of %d channels to %d: no pairs turn as it wants: want an even ratio", ErrPolicy, l.Dim, l.QK)
	}
	return nil
}

// Exponents are those of the frequencies base^−e, [QK/2] by pair.
func (l Latent) Exponents() []float64 {
	e := make([]float64, l.QK/2)
	for j := range e {
		switch d := float64(l.QK); {
		case l.Variant == "u":
			e[j] = float64(2*j) / d
		case j < l.QK/4:
			e[j] = (d/4 + float64(2*j)) / d
		default:
			e[j] = (d/2 + float64(j)) / d
		}
	}
	return e
}

// Keys lists the channels of a head that queries and keys keep, in the order in which the new head
// has them: its pairs lie as those of the old one.
func (l Latent) Keys() []int {
	n := l.QK / 2
	list := make([]int, l.QK)
	for j, e := range l.Exponents() {
		pair := j * (l.Dim / l.QK)
		if l.Variant == "m" {
			pair = int(math.Round(e * float64(l.Dim) / 2))
		}
		if l.Interleaved {
			list[2*j], list[2*j+1] = 2*pair, 2*pair+1
		} else {
			list[j], list[n+j] = pair, pair+l.Dim/2
		}
	}
	return list
}

// Values lists the channels that values and outputs keep. They are not rotated, and so lie alike
// in all files.
func (l Latent) Values() []int {
	list := make([]int, l.VO)
	for i := range list {
		list[i] = i * (l.Dim / l.VO)
	}
	return list
}

// Gain is what queries are multiplied by where nothing is trained, so that logits of fewer
// channels are as large as before.
func (l Latent) Gain() float64 { return math.Sqrt(float64(l.Dim) / float64(l.QK)) }
