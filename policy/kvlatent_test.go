package policy_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/policy"
)

// thinned is what a head's query or key becomes at a position.
func thinned(l policy.Latent, base float64, x []float32, pos int) []float32 {
	rope := &compute.Rope{Factor: 1, Interleaved: l.Interleaved}
	for _, e := range l.Exponents() {
		rope.Inv = append(rope.Inv, float32(math.Pow(base, -e)))
	}
	var y []float32
	for _, c := range l.Keys() {
		y = append(y, x[c])
	}
	angles := make([]float32, l.QK)
	compute.Angles(angles, []int32{int32(pos)}, rope)
	compute.Rotate(y, angles, 1, l.QK, rope)
	return y
}

func TestKVLatent(t *testing.T) {
	q, k := []float32{1, .5, -1, 2, .5, 1, 2, -.5}, []float32{2, -1, .5, 1, 1, .5, 1, -1}
	for _, tc := range []struct {
		latent policy.Latent
		logit  float32
	}{
		{policy.Latent{Dim: 8, QK: 8, VO: 4, Variant: "u"}, .64673}, // the head as it was
		{policy.Latent{Dim: 8, QK: 4, VO: 4, Variant: "u"}, -.51782},
		{policy.Latent{Dim: 8, QK: 4, VO: 4, Variant: "f"}, 1.94117},
		{policy.Latent{Dim: 8, QK: 4, VO: 4, Variant: "m"}, 1.43244},
	} {
		logit := func(l policy.Latent, q, k []float32) float32 {
			var sum float64
			a, b := thinned(l, 10000, q, 5), thinned(l, 10000, k, 2)
			for i := range a {
				sum += float64(a[i]) * float64(b[i])
			}
			return float32(sum / math.Sqrt(float64(l.QK)))
		}
		if err := tc.latent.Check(); err != nil {
			t.Fatal(err)
		}
		got := logit(tc.latent, q, k)
		near(t, "logit of "+tc.latent.Variant, []float32{got}, tc.logit)
		// The same head with its pairs side by side.
		beside := func(x []float32) []float32 {
			var y []float32
			for i := range 4 {
				y = append(y, x[i], x[i+4])
			}
			return y
		}
		tc.latent.Interleaved = true
		near(t, "logit of "+tc.latent.Variant+", interleaved", []float32{logit(tc.latent, beside(q), beside(k))}, got)
		if tc.latent.Variant == "m" {
			near(t, "logit with gain", []float32{got * float32(tc.latent.Gain())}, 2.02578)
		}
	}
	f := policy.Latent{Dim: 8, QK: 4, VO: 2, Variant: "f"}
	near(t, "query", thinned(f, 10000, q, 5), .63787, -1.00999, .91822, 1.99498)
	near(t, "key", thinned(f, 10000, k, 2), 1.76146, .49800, 1.37741, 1.00100)
	if got := f.Keys(); !slices.Equal(got, []int{0, 2, 4, 6}) {
		t.Errorf("f keeps channels %v", got)
	}
	if got := f.Values(); !slices.Equal(got, []int{0, 4}) {
		t.Errorf("values keep channels %v", got)
	}
	f.Variant = "m"
	if got := f.Keys(); !slices.Equal(got, []int{1, 3, 5, 7}) {
		t.Errorf("m keeps channels %v", got)
	}
	var e []float64
	for i := 16; i < 48; i += 2 {
		e = append(e, float64(i)/64)
	}
	for i := 48; i < 64; i++ {
		e = append(e, float64(i)/64)
	}
	if got := (policy.Latent{Dim: 128, QK: 64, VO: 64, Variant: "f"}).Exponents(); !slices.Equal(got, e) {
		t.Errorf("exponents %v, want %v", got, e)
	}
}

// How alike a vector of ones is to itself at distances from 1 to 4096: the lowest, and the share
// below 0, with the frequencies of plain rotation and with the new ones.
func TestKVLatentSmooth(t *testing.T) {
	for _, tc := range []struct {
		d                int
		base             float64
		variant          string
		lowest, negative float32
	}{
		{64, 1e4, "u", -.244, .179}, {64, 1e4, "f", -.146, .053}, {32, 1e4, "u", -.386, .254}, {32, 1e4, "f", -.200, .082},
		{16, 1e4, "u", -.656, .390}, {16, 1e4, "f", -.396, .208}, {16, 5e5, "u", -.252, .042}, {16, 5e5, "f", .245, 0},
	} {
		lowest, negative := math.Inf(1), 0
		exponents := policy.Latent{Dim: 128, QK: tc.d, VO: tc.d, Variant: tc.variant}.Exponents()
		for x := 1; x <= 4096; x++ {
			var g float64
			for _, e := range exponents {
				g += math.Cos(float64(x)*math.Pow(tc.base, -e)) / float64(len(exponents))
			}
			if lowest = min(lowest, g); g < 0 {
				negative++
			}
		}
		if share := float64(negative) / 4096; math.Abs(lowest-float64(tc.lowest)) > 6e-4 || math.Abs(share-float64(tc.negative)) > 6e-4 {
			t.Errorf("%d channels, base %v, %s: lowest %.3f, %.3f below 0, want %v and %v", tc.d, tc.base, tc.variant, lowest, share, tc.lowest, tc.negative)
		}
	}
}

func TestKVLatentRefused(t *testing.T) {
	for _, l := range []policy.Latent{
		{Dim: 8, QK: 2, VO: 4, Variant: "f"}, {Dim: 8, QK: 0, VO: 4, Variant: "f"}, {Dim: 8, QK: 16, VO: 4, Variant: "f"}, {Dim: 12, QK: 8, VO: 4, Variant: "f"},
		{Dim: 8, QK: 4, VO: 3, Variant: "f"}, {Dim: 8, QK: 4, VO: 0, Variant: "f"}, {Dim: 8, QK: 4, VO: 4}, {Dim: 12, QK: 4, VO: 4, Variant: "m"}, {},
	} {
		if err := l.Check(); !errors.Is(err, policy.ErrPolicy) {
			t.Errorf("%+v: %v", l, err)
		}
	}
}
