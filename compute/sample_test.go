package compute

import (
	"errors"
	"math"
	"testing"
)

func TestSampleGreedy(t *testing.T) {
	inf := float32(math.Inf(-1))
	for name, tc := range map[string]struct {
		logits []float32
		want   int32
	}{
		"one":             {[]float32{-3}, 0},
		"the largest":     {[]float32{1, 3, 2}, 1},
		"ties: the lower": {[]float32{1, 3, 3, 3}, 1},
		"masked":          {[]float32{inf, inf, -9, inf}, 2},
		"all masked":      {[]float32{inf, inf}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			for _, s := range []Sampling{{}, {TopK: 3, TopP: 0.5, Seed: 7}, {Temperature: 0.7, TopK: 1}, {Temperature: 1, TopP: 1e-6}} {
				if name == "all masked" && s.Temperature > 0 {
					continue // nothing to draw from; see TestSampleEdges
				}
				if got := Sample(tc.logits, s, 5); got != tc.want {
					t.Errorf("%+v drew %d, want %d", s, got, tc.want)
				}
			}
		})
	}
}

// TestSampleFrequencies: over many positions ids come as often as they should,
// and none that the limits leave out. The draws are fixed by the seed.
func TestSampleFrequencies(t *testing.T) {
	logits := []float32{float32(math.Log(1)), float32(math.Log(2)), float32(math.Log(4)), float32(math.Log(1)), -50}
	for name, tc := range map[string]struct {
		s    Sampling
		want []float64
	}{
		"plain":            {Sampling{Temperature: 1}, []float64{1. / 8, 2. / 8, 4. / 8, 1. / 8, 0}},
		"hot":              {Sampling{Temperature: 2}, []float64{1 / 5.4142, math.Sqrt2 / 5.4142, 2 / 5.4142, 1 / 5.4142, 0}},
		"top 2":            {Sampling{Temperature: 1, TopK: 2}, []float64{0, 1. / 3, 2. / 3, 0, 0}},
		"top 3, tie":       {Sampling{Temperature: 1, TopK: 3}, []float64{1. / 7, 2. / 7, 4. / 7, 0, 0}},
		"nucleus of 0.5":   {Sampling{Temperature: 1, TopP: 0.49}, []float64{0, 0, 1, 0, 0}},
		"nucleus of 0.7":   {Sampling{Temperature: 1, TopP: 0.7}, []float64{0, 1. / 3, 2. / 3, 0, 0}},
		"limits beyond":    {Sampling{Temperature: 1, TopK: 99, TopP: 1}, []float64{1. / 8, 2. / 8, 4. / 8, 1. / 8, 0}},
		"nucleus of top 2": {Sampling{Temperature: 1, TopK: 2, TopP: 0.6}, []float64{0, 0, 1, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			const draws = 20000
			for _, seed := range []uint64{0, 1, 1 << 63} {
				tc.s.Seed = seed
				count := make([]int, len(logits))
				for pos := range draws {
					count[Sample(logits, tc.s, pos)]++
				}
				for id, want := range tc.want {
					// Four standard deviations of a share.
					if got := float64(count[id]) / draws; math.Abs(got-want) > 4*math.Sqrt(want*(1-want)/draws)+1e-9 {
						t.Errorf("seed %d: id %d came in %.4f of the draws, want %.4f", seed, id, got, want)
					}
				}
			}
		})
	}
}

// TestSampleRepeats: seed and position fix the draw, and each of them matters.
func TestSampleRepeats(t *testing.T) {
	logits := make([]float32, 1000)
	s := Sampling{Temperature: 1, Seed: 42}
	first := make([]int32, 50)
	for pos := range first {
		first[pos] = Sample(logits, s, pos)
	}
	moved, reseeded := 0, 0
	for pos, id := range first {
		if Sample(logits, s, pos) != id {
			t.Fatalf("position %d: another draw", pos)
		}
		if Sample(logits, s, pos+1) != id {
			moved++
		}
		s2 := s
		s2.Seed++
		if Sample(logits, s2, pos) != id {
			reseeded++
		}
	}
	if moved < 45 || reseeded < 45 {
		t.Errorf("of 50 draws %d changed with the position and %d with the seed", moved, reseeded)
	}
}

// TestSampleEdges: logits that are masked or not numbers never give an id outside.
func TestSampleEdges(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, logits := range [][]float32{{-inf, -inf}, {nan, nan}, {nan, 1}, {inf, 0}, {inf, inf}, {3e38, -3e38}} {
		for _, s := range []Sampling{{}, {Temperature: 1}, {Temperature: 1e-30}, {Temperature: 1, TopK: 1}, {Temperature: 5, TopP: 0.5}} {
			for pos := range 10 {
				if id := Sample(logits, s, pos); id < 0 || int(id) >= len(logits) {
					t.Fatalf("%v %+v: id %d", logits, s, id)
				}
			}
		}
	}
	// One that is not a number loses to those that are; an infinite one wins.
	for _, s := range []Sampling{{}, {Temperature: 1}, {Temperature: 1e-45}, {Temperature: 3e38, TopK: 1}, {Temperature: 1, TopP: 1e-6}, {Temperature: nan}} {
		for pos := range 20 {
			if id := Sample([]float32{nan, 1, nan, -inf}, s, pos); id != 1 {
				t.Errorf("%+v: drew %d, want the one number", s, id)
			}
			if id := Sample([]float32{0, nan, inf, 9}, s, pos); id != 2 {
				t.Errorf("%+v: drew %d, want the infinite one", s, id)
			}
		}
	}
}

func TestSamplingValidate(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, s := range []Sampling{{}, {Temperature: 1e-45}, {Temperature: 3e38, TopK: 1 << 40, TopP: 1}} {
		if err := s.Validate(); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
	for _, s := range []Sampling{{Temperature: -1}, {Temperature: nan}, {Temperature: inf}, {TopP: -0.1}, {TopP: 1.1}, {TopP: nan}, {TopK: -1}} {
		if err := s.Validate(); !errors.Is(err, ErrSampling) {
			t.Errorf("%+v: error %v, want %v", s, err, ErrSampling)
		}
	}
}
