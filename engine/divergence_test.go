package engine

import (
	"errors"
	"math"
	"testing"
)

func TestDivergence(t *testing.T) {
	log := func(p ...float64) []float32 {
		out := make([]float32, len(p))
		for i, v := range p {
			out[i] = float32(math.Log(v)) + 3 // any constant is the same distribution
		}
		return out
	}
	var d Divergence
	if s := d.Summary(); s.Tokens != 0 || s.KL != 0 {
		t.Errorf("%+v of nothing", s)
	}
	for _, c := range [][2][]float32{
		{log(.5, .25, .25), log(.5, .25, .25)},
		{log(.5, .25, .25), log(.25, .5, .25)},
		{log(.75, .25, 0), log(.75, .125, .125)}, // what the reference excludes counts nothing
	} {
		if err := d.Add(c[0], c[1]); err != nil {
			t.Fatal(err)
		}
	}
	want := []float64{0, .25 * math.Ln2, .25 * math.Ln2}
	s := d.Summary()
	if s.Tokens != 3 || math.Abs(s.KL-(want[1]+want[2])/3) > 1e-6 || math.Abs(s.KLMax-want[1]) > 1e-6 || s.KL99 > s.KLMax || math.Abs(s.Agree-2.0/3) > 1e-12 {
		t.Errorf("%+v", s)
	}
	if err := d.Add(log(.5, .5), log(1)); !errors.Is(err, ErrOptions) {
		t.Errorf("%v for other vocabularies", err)
	}
}
