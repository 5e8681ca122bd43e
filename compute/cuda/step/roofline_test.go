package step

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"
)

// golden is what scripts/oracles/roofline_golden.py writes.
type golden struct {
	Weights, Memory, Bus, Host float64
	Layers, Heads, Dim, K      int
	Miss                       []struct{ Slots, Miss float64 }
	Cases                      []struct {
		Device, Number float64
		Context        int
		Mode           string
		Speed          float64 `json:"tokens_per_second"`
		Batch, Slots   int
		Compute        float64 `json:"compute_ms"`
		Copy           float64 `json:"copy_ms"`
	}
}

// TestRoofline searches for the best batch of every case of the golden file, with this
// package's figures.
func TestRoofline(t *testing.T) {
	data, err := os.ReadFile("testdata/roofline.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(math.Abs(b), 1e-9) }
	for _, p := range g.Miss {
		if got := MissRate(p.Slots); !near(got, p.Miss) {
			t.Errorf("at %g slots a selected block %g missed, want %g", p.Slots, got, p.Miss)
		}
	}
	for _, c := range g.Cases {
		t.Run(fmt.Sprintf("%s %g GB %dK %g", c.Mode, c.Device/1e9, c.Context/1024, c.Number), func(t *testing.T) {
			r := Roofline{Layers: g.Layers, Heads: g.Heads, Block: 64, Stride: 16, Weights: g.Weights,
				BlockBytes: 2 * 64 * float64(g.Dim) * c.Number, SegmentBytes: 2 * float64(g.Dim), K: g.K}
			if c.Mode == "full" {
				r.K = 0
			}
			free, all := c.Device-g.Weights-2e9, c.Context/64
			type best struct {
				speed         float64
				batch, slots  int
				compute, copy float64
			}
			var got best
			for batch := 1; ; batch++ {
				slots, missed := all, 0.0
				if c.Mode == "full" || c.Mode == "infllmv2" {
					if float64(batch)*r.Sequence(c.Context, all) > free {
						break
					}
				} else {
					if float64(batch*all)*r.column() > g.Host {
						break
					}
					if slots = r.Slots(c.Context, batch, free); slots < g.K+1 {
						break
					}
					if c.Mode == "nosi" {
						slots, missed = g.K+1, 0.1
					} else if slots < all {
						missed = MissRate(float64(slots) / float64(g.K))
					}
				}
				b := r.Step(slices.Repeat([]int{c.Context}, batch), missed)
				if speed := float64(batch) / b.Seconds(g.Memory, g.Bus, c.Mode == "nosi"); speed > got.speed {
					got = best{speed, batch, slots, b.Device() / g.Memory * 1e3, b.Bus / g.Bus * 1e3}
				}
			}
			want := best{c.Speed, c.Batch, c.Slots, c.Compute, c.Copy}
			if !near(got.speed, want.speed) || got.batch != want.batch || got.slots != want.slots || !near(got.compute, want.compute) || !near(got.copy, want.copy) {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// TestRooflineOdd: lengths that are no whole number of blocks, and batches of several.
func TestRooflineOdd(t *testing.T) {
	r := Roofline{Layers: 3, Heads: 2, Block: 64, Stride: 16, Weights: 1000, BlockBytes: 10, SegmentBytes: 1, K: 4}
	for _, tc := range []struct {
		contexts []int
		missed   float64
		want     StepBytes
	}{
		{nil, 0.5, StepBytes{Weights: 1000}},
		{[]int{1}, 0, StepBytes{1000, 60, 0, 0}},
		{[]int{65, 1000}, 0.5, StepBytes{1000, 120 + 240, 6*4 + 6*62, 180}},
	} {
		if got := r.Step(tc.contexts, tc.missed); got != tc.want {
			t.Errorf("%v: %+v, want %+v", tc.contexts, got, tc.want)
		}
	}
	b := StepBytes{Weights: 100, Blocks: 50, Means: 50, Bus: 30}
	for _, tc := range []struct {
		memory, bus float64
		series      bool
		want        float64
	}{{100, 30, false, 2}, {100, 10, false, 3}, {100, 30, true, 3}} {
		if got := b.Seconds(tc.memory, tc.bus, tc.series); got != tc.want {
			t.Errorf("%+v: %g s, want %g", tc, got, tc.want)
		}
	}
	if got := (StepBytes{Weights: 100}).Seconds(100, 0, true); got != 1 {
		t.Errorf("nothing over a bus that was not measured: %g s", got)
	}
}
