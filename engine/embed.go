package engine

import (
	"fmt"
	"math"
)

// Pooling is how the hidden states of a text's tokens become one vector.
type Pooling string

// Ways of pooling. The hidden states are those after the last norm, and the vector is
// made one of length 1.
const (
	PoolMean Pooling = "mean" // of all tokens
	PoolLast Pooling = "last" // that of the last token, which has seen all others
)

// Pooling is what the model was trained for, if its file says so, and PoolMean else.
func (s *Source) Pooling() (Pooling, error) {
	m := s.Checkpoint.Metadata()
	if m == nil {
		return PoolMean, nil
	}
	arch, _ := m.String("general.architecture")
	kind, ok := m.Int(arch + ".pooling_type")
	switch { // the numbers are llama.cpp's
	case !ok, kind == 0, kind == 1:
		return PoolMean, nil
	case kind == 3:
		return PoolLast, nil
	}
	return "", fmt.Errorf("%w: the model's pooling type is %d: want 1, for mean, or 3, for last", ErrOptions, kind)
}

// check refuses an order for a vector that asks for text as well.
func (p Pooling) check(o *Order) error {
	switch {
	case p == "":
		return nil
	case p != PoolMean && p != PoolLast:
		return fmt.Errorf("%w: pooling %q: want mean or last", ErrOptions, p)
	case o.MaxTokens != 0 || o.Choices != 1 || o.PromptLogProbs:
		return fmt.Errorf("%w: a request for a vector generates nothing", ErrOptions)
	}
	return nil
}

// wants is how many of the last tokens of a piece have a hidden state that is pooled.
func (p Pooling) wants(tokens int, last bool) int {
	switch {
	case p == PoolMean:
		return tokens
	case last:
		return 1
	}
	return 0
}

// pool adds hidden states up, one after the other, so that the sum's bits do not depend
// on how the text was cut.
type pool struct{ sum []float64 }

func (p *pool) add(hidden []float32) {
	if p.sum == nil {
		p.sum = make([]float64, len(hidden))
	}
	for i, v := range hidden {
		p.sum[i] += float64(v)
	}
}

// vector is the sum at length 1; how many were added does not matter then.
func (p *pool) vector() ([]float32, error) {
	var squares float64
	for _, v := range p.sum {
		squares += v * v
	}
	length := math.Sqrt(squares)
	if !(length > 0) || math.IsInf(length, 0) {
		return nil, fmt.Errorf("%w: its hidden states have the length %v", ErrLogits, length)
	}
	out := make([]float32, len(p.sum))
	for i, v := range p.sum {
		out[i] = float32(v / length)
	}
	return out, nil
}
