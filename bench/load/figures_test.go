package load

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
)

// TestFigures holds the figures to numpy's: percentiles to the bit, sums within what the
// order of adding makes. The file comes from scripts/oracles/percentiles.py.
func TestFigures(t *testing.T) {
	data, err := os.ReadFile("testdata/percentiles.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Percentiles []float64
		Cases       []struct {
			Values, Percentiles []float64
			Mean, Std, Median   float64
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Cases) < 5 {
		t.Fatalf("%d cases", len(golden.Cases))
	}
	near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-13*math.Abs(b) }
	for i, c := range golden.Cases {
		f := figuresOf(slices.Clone(c.Values))
		if f.Count != len(c.Values) || !near(f.Mean, c.Mean) || !near(f.Deviation, c.Std) || f.Median() != c.Median {
			t.Errorf("case %d: %d, %v, %v, %v: want %d, %v, %v, %v", i, f.Count, f.Mean, f.Deviation, f.Median(), len(c.Values), c.Mean, c.Std, c.Median)
		}
		for j, p := range golden.Percentiles {
			if got := f.Percentile(p); got != c.Percentiles[j] {
				t.Errorf("case %d: percentile %g is %v, numpy has %v", i, p, got, c.Percentiles[j])
			}
		}
	}
	if f := figuresOf(nil); f.Mean != 0 || f.Deviation != 0 || f.Percentile(99) != 0 {
		t.Errorf("of nothing: %+v", f)
	}
}
