package decode

import (
	"context"
	"math"
	"slices"

	"nosa/compute/cuda/step"
)

// Runner runs settings on a GPU.
type Runner interface {
	// Machine measures what the figures are held against.
	Machine(ctx context.Context) (*Machine, error)
	// Run measures a setting. An error that wraps ErrNoRoom says that it does not fit,
	// and leaves the Runner fit for others.
	Run(ctx context.Context, s Setting) (Measured, error)
	Close() error
}

// Machine is the GPU, and what it was seen to do.
type Machine struct {
	Kind   string  `json:"kind"` // decode_machine
	Device string  `json:"device"`
	Memory int64   `json:"memory"` // free, in bytes, before anything was loaded
	Copy   float64 `json:"copy"`   // bytes a second that a copy on the device reads and writes
	Bus    float64 `json:"bus"`    // that large copies bring from the host
}

// Measured is what a Runner saw.
type Measured struct {
	Milliseconds []float64 // of each step that counts
	Selected     []int64   // blocks, by layer, over these steps
	Missed       []int64   // of them: brought from the host
	Slots        int64     // of the pool
	Without      []float64 // milliseconds of steps like these whose blocks are all there; where blocks were missed
	CopyMS       float64   // that a step's copies take with nothing beside them; likewise
	Kernels      []Kernel  // where they were timed
	Different    float64   // share of the selected blocks that is left when each is counted once
}

// Kernel is a part of a step.
type Kernel struct {
	Name string  `json:"name"`
	MS   float64 `json:"ms"` // in a step
}

// Result is a setting's outcome.
type Result struct {
	Kind string `json:"kind"` // decode
	Setting
	Error string `json:"error,omitempty"` // why there is none

	MS        float64   `json:"ms"` // of a step, the median
	MinMS     float64   `json:"ms_min"`
	MaxMS     float64   `json:"ms_max"`
	Deviation float64   `json:"ms_deviation"`
	Samples   []float64 `json:"samples_ms,omitempty"` // in order
	Speed     float64   `json:"tokens_per_second"`    // of all sequences

	HitRate    float64 `json:"hit_rate"`
	WorstLayer float64 `json:"hit_rate_worst_layer"`
	SlotsEach  float64 `json:"slots_per_head"` // of a sequence's layer and KV head

	// What the copies of missed blocks cost, where there are some: a step's time without
	// them, theirs with nothing beside them, and the share of it that is hidden,
	// 1 − (ms − ms_without)/copy_ms.
	WithoutMS float64 `json:"ms_without,omitempty"`
	CopyMS    float64 `json:"copy_ms,omitempty"`
	Hidden    float64 `json:"hidden,omitempty"`

	Bytes      step.StepBytes `json:"bytes"` // that a step cannot do without
	RooflineMS float64        `json:"roofline_ms"`
	Fraction   float64        `json:"fraction"` // roofline_ms / ms
	Kernels    []Kernel       `json:"kernels,omitempty"`
	Different  float64        `json:"different,omitempty"` // of readers: share of the selected blocks, each counted once
}

// median is that of what is sorted.
func median(n []float64) float64 { return (n[(len(n)-1)/2] + n[len(n)/2]) / 2 }

// newResult holds what was measured against what the machine allows.
func newResult(s Setting, m Measured, on *Machine) (Result, error) {
	r := Result{Kind: "decode", Setting: s, Samples: m.Milliseconds, Kernels: m.Kernels, HitRate: 1, WorstLayer: 1}
	meaning, err := s.Meaning()
	if err != nil {
		return r, err
	}
	sorted := slices.Sorted(slices.Values(m.Milliseconds))
	n := len(sorted)
	r.MS, r.MinMS, r.MaxMS = median(sorted), sorted[0], sorted[n-1]
	if m.CopyMS > 0 {
		r.WithoutMS, r.CopyMS = median(slices.Sorted(slices.Values(m.Without))), m.CopyMS
		r.Hidden = 1 - (r.MS-r.WithoutMS)/r.CopyMS
	}
	mean := 0.0
	for _, v := range sorted {
		mean += v / float64(n)
	}
	for _, v := range sorted {
		r.Deviation += (v - mean) * (v - mean) / float64(n)
	}
	r.Deviation = math.Sqrt(r.Deviation)
	r.Speed = float64(s.Batch) / r.MS * 1e3
	selected, missed := int64(0), int64(0)
	for i := range m.Selected {
		selected, missed = selected+m.Selected[i], missed+m.Missed[i]
		if m.Selected[i] > 0 {
			r.WorstLayer = min(r.WorstLayer, 1-float64(m.Missed[i])/float64(m.Selected[i]))
		}
	}
	if selected > 0 {
		r.HitRate = 1 - float64(missed)/float64(selected)
	}
	r.SlotsEach = float64(m.Slots) / float64(s.Batch*meaning.Shape.Layers*meaning.Shape.KVHeads)
	// Every sequence is in the middle of what it is given.
	contexts := slices.Repeat([]int{s.Context + s.Warm + (s.Steps+1)/2}, s.Batch)
	r.Bytes = meaning.Roofline.Step(contexts, 1-r.HitRate)
	if meaning.Shared { // read once for all
		r.Bytes.Means /= float64(s.Batch)
		r.Bytes.Blocks *= m.Different
		r.Different = m.Different
	}
	r.RooflineMS = 1e3 * r.Bytes.Seconds(on.Copy, on.Bus, meaning.Series)
	r.Fraction = r.RooflineMS / r.MS
	return r, nil
}
