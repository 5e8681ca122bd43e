package engine

import (
	"errors"
	"math"
	"testing"
)

func TestPenalties(t *testing.T) {
	inf := float32(math.Inf(-1))
	h := newPast(Penalties{Repetition: 2, Frequency: 0.5, Presence: 0.25, Bias: map[int32]float32{0: 3, 5: inf}}, []int32{1, 1, 2})
	h.add(2)
	h.add(3)
	h.add(3)
	logits := []float32{1, 4, -4, 8, 7, 2}
	h.apply(logits)
	// 1 is in the prompt; 2 there and once in the answer; 3 twice in the answer.
	for i, want := range []float32{4, 2, -8 - 0.75, 4 - 1.25, 7, inf} {
		if logits[i] != want {
			t.Errorf("token %d: %v, want %v", i, logits[i], want)
		}
	}
	h = newPast(Penalties{Repetition: 1}, []int32{1})
	h.add(1)
	logits = []float32{1, 2}
	if h.apply(logits); logits[0] != 1 || logits[1] != 2 || h.generated != nil {
		t.Errorf("%v", logits)
	}
}

func TestPenaltiesValidate(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for name, p := range map[string]Penalties{
		"negative repetition": {Repetition: -1}, "no repetition": {Repetition: nan}, "no frequency": {Frequency: nan}, "endless presence": {Presence: inf},
		"bias of none": {Bias: map[int32]float32{-1: 0}}, "bias of the next model": {Bias: map[int32]float32{10: 0}}, "no bias": {Bias: map[int32]float32{1: nan}}, "endless bias": {Bias: map[int32]float32{1: inf}},
	} {
		if err := p.validate(10); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (Penalties{Repetition: 1.1, Frequency: -2, Presence: 2, Bias: map[int32]float32{9: -inf}}).validate(10); err != nil {
		t.Error(err)
	}
}
