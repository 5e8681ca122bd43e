package bench

import (
	"math"
	"testing"
)

func TestStatistics(t *testing.T) {
	for name, tc := range map[string]struct {
		samples                 []float64
		median, mean, deviation float64
	}{
		"none": {nil, 0, 0, 0},
		"one":  {[]float64{5}, 5, 5, 0},
		"even": {[]float64{4, 1, 3, 2}, 2.5, 2.5, math.Sqrt(5.0 / 3)},
		"odd":  {[]float64{9, 1, 2}, 2, 4, math.Sqrt(19)},
	} {
		mean, deviation := meanAndDeviation(tc.samples)
		if got := median(tc.samples); got != tc.median || math.Abs(mean-tc.mean) > 1e-12 || math.Abs(deviation-tc.deviation) > 1e-12 {
			t.Errorf("%s: median %g, mean %g, deviation %g; want %g, %g, %g", name, got, mean, deviation, tc.median, tc.mean, tc.deviation)
		}
	}
}

func TestRatio(t *testing.T) {
	ours := []float64{10, 12, 14}
	for name, tc := range map[string]struct {
		peer             map[int][]float64
		flash            int
		ratio, low, high float64
	}{
		"without is faster": {map[int][]float64{0: {5, 4, 7}, 1: {3, 3, 3}}, 0, 12.0 / 5, 2, 3},
		"with is faster":    {map[int][]float64{0: {5, 4, 7}, 1: {20, 20, 7}}, 1, 0.6, 0.5, 2},
		"a tie":             {map[int][]float64{0: {6, 6, 6}, 1: {6, 6, 6}}, 0, 2, 10.0 / 6, 14.0 / 6},
		"one of two ended":  {map[int][]float64{0: {9, 9}, 1: {6, 6, 6}}, 1, 2, 10.0 / 6, 14.0 / 6},
	} {
		r, ok := newRatio(Setting{Test: "pp1"}, ours, tc.peer)
		if !ok || r.Flash != tc.flash || math.Abs(r.Ratio-tc.ratio) > 1e-12 || math.Abs(r.RatioMin-tc.low) > 1e-12 || math.Abs(r.RatioMax-tc.high) > 1e-12 {
			t.Errorf("%s: %+v, want -fa %d, %g (%g to %g)", name, r, tc.flash, tc.ratio, tc.low, tc.high)
		}
		if r.Kind != "ratio" || r.Test != "pp1" || r.OursTS != 12 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r, ok := newRatio(Setting{}, ours, map[int][]float64{0: {1}}); ok {
		t.Errorf("a ratio with a peer that did not finish: %+v", r)
	}
}
