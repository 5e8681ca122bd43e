package decode

import (
	"cmp"
	"fmt"
	"slices"
)

// Best is a system at the batch that suits it best, beside the others at theirs, with
// sequences of one length.
type Best struct {
	Kind    string  `json:"kind"` // decode_best
	Shape   string  `json:"shape"`
	System  string  `json:"system"`
	Weights string  `json:"weights"`
	KVType  string  `json:"kv_dtype"`
	Context int     `json:"context"`
	Memory  int64   `json:"memory"`
	Batch   int     `json:"batch"`
	Speed   float64 `json:"tokens_per_second"`
	HitRate float64 `json:"hit_rate"`
	Part    float64 `json:"fraction"`
	// Over is how many times as fast it is as the other systems, in each of their formats.
	// Only those with the same memory are compared.
	Over []Over `json:"over"`
}

// Over is a ratio to another system's best.
type Over struct {
	System  string  `json:"system"`
	Weights string  `json:"weights"`
	KVType  string  `json:"kv_dtype"`
	Ratio   float64 `json:"ratio"`
}

// String is the other system and the ratio.
func (o Over) String() string {
	name := o.System + " " + o.KVType
	if o.Weights != "bf16" {
		name += " with weights in " + o.Weights
	}
	return fmt.Sprintf("%s %.2fx", name, o.Ratio)
}

// Compare finds the best of each system, in the order in which they come, and its ratios
// to the others.
func Compare(results []*Result) []*Best {
	var all []*Best
	for _, r := range results {
		if r.Error != "" {
			continue
		}
		b := &Best{Kind: "decode_best", Shape: r.Shape, System: r.System, Weights: r.Weights, KVType: r.KVType, Context: r.Context, Memory: r.Memory,
			Batch: r.Batch, Speed: r.Speed, HitRate: r.HitRate, Part: r.Fraction}
		i := slices.IndexFunc(all, func(o *Best) bool {
			return o.rivals(b) && o.System == b.System && o.Weights == b.Weights && o.KVType == b.KVType
		})
		switch {
		case i < 0:
			all = append(all, b)
		case b.Speed > all[i].Speed:
			all[i] = b
		}
	}
	for _, b := range all {
		for _, o := range all {
			if b.rivals(o) && b.System != o.System {
				b.Over = append(b.Over, Over{o.System, o.Weights, o.KVType, b.Speed / o.Speed})
			}
		}
		slices.SortStableFunc(b.Over, func(x, y Over) int {
			return cmp.Compare(slices.Index(Systems, x.System), slices.Index(Systems, y.System))
		})
	}
	return all
}

// rivals tells whether two had the same task and the same memory.
func (b *Best) rivals(o *Best) bool {
	return b.Shape == o.Shape && b.Context == o.Context && b.Memory == o.Memory
}
