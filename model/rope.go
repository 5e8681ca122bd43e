package model

import (
	"fmt"
	"math"

	"nosa/compute"
)

// RopeConfig says how positions turn queries and keys.
type RopeConfig struct {
	Type        string // default, linear, dynamic, llama3, yarn, longrope
	Theta       float64
	Dims        int // rotated channels of a head
	Factor      float64
	Original    int     // context of the unscaled model
	LowFreq     float64 // llama3
	HighFreq    float64
	BetaFast    float64 // yarn
	BetaSlow    float64
	Truncate    bool
	Attention   float64 // factor on cos and sin; 0: what the type implies
	Short, Long []float64
	Divisors    []float64 // frequencies divided by these, ready made (GGUF's rope_freqs)
	Interleaved bool
	maxPos      int
}

// ropeRaw is rope_scaling, or rope_parameters as transformers 5 writes it.
type ropeRaw struct {
	Type        string    `json:"rope_type"`
	OldType     string    `json:"type"`
	Theta       *float64  `json:"rope_theta"`
	Partial     *float64  `json:"partial_rotary_factor"`
	Factor      *float64  `json:"factor"`
	Original    *float64  `json:"original_max_position_embeddings"`
	LowFreq     *float64  `json:"low_freq_factor"`
	HighFreq    *float64  `json:"high_freq_factor"`
	BetaFast    *float64  `json:"beta_fast"`
	BetaSlow    *float64  `json:"beta_slow"`
	Truncate    *bool     `json:"truncate"`
	MScale      *float64  `json:"mscale"`
	MScaleAll   *float64  `json:"mscale_all_dim"`
	Attention   *float64  `json:"attention_factor"`
	ShortFactor []float64 `json:"short_factor"`
	LongFactor  []float64 `json:"long_factor"`
	Divisors    []float64 `json:"rope_freq_factors"`
}

func ropeConfig(r *raw, c *Config) (RopeConfig, error) {
	in := r.RopeParameters
	if in == nil {
		in = r.RopeScaling
	}
	if in == nil {
		in = &ropeRaw{}
	}
	or := func(v *float64, otherwise float64) float64 {
		if v == nil {
			return otherwise
		}
		return *v
	}
	kind := in.Type
	if kind == "" {
		kind = in.OldType
	}
	switch kind {
	case "":
		kind = "default"
	case "su": // longrope's first name
		kind = "longrope"
	}
	x := RopeConfig{
		Type: kind, Theta: or(in.Theta, or(r.RopeTheta, 10000)), Factor: or(in.Factor, 0),
		Original: int(min(max(or(in.Original, 0), 0), maxPositions)), LowFreq: or(in.LowFreq, 1), HighFreq: or(in.HighFreq, 4),
		BetaFast: or(in.BetaFast, 32), BetaSlow: or(in.BetaSlow, 1), Truncate: in.Truncate == nil || *in.Truncate,
		Attention: or(in.Attention, 0), Short: in.ShortFactor, Long: in.LongFactor, Divisors: in.Divisors,
		Interleaved: r.Interleaved, maxPos: c.MaxPositions,
	}
	if x.Original == 0 && r.OriginalMax != nil {
		x.Original = min(*r.OriginalMax, maxPositions)
	}
	if x.Original <= 0 {
		x.Original = c.MaxPositions
	}
	partial := or(in.Partial, or(r.PartialRotary, 1))
	x.Dims = int(float64(c.HeadDim) * partial)
	if !(partial > 0 && partial <= 1) || x.Dims%2 != 0 || x.Dims < 2 {
		return x, fmt.Errorf("%w: partial_rotary_factor %v of %d channels", ErrConfig, partial, c.HeadDim)
	}
	if !(x.Theta > 0) || math.IsInf(x.Theta, 0) {
		return x, fmt.Errorf("%w: rope_theta is %v", ErrConfig, x.Theta)
	}
	if x.Type == "yarn" && x.Attention == 0 && or(in.MScale, 0) != 0 && or(in.MScaleAll, 0) != 0 {
		x.Attention = yarnScale(x.Factor, *in.MScale) / yarnScale(x.Factor, *in.MScaleAll)
	}
	return x, x.check()
}

func (x *RopeConfig) check() error {
	if x.Factor == 0 && (x.Type == "yarn" || x.Type == "longrope") {
		x.Factor = float64(x.maxPos) / float64(x.Original)
	}
	half := x.Dims / 2
	switch {
	case x.Type == "default":
	case x.Type == "linear" || x.Type == "dynamic" || x.Type == "llama3" || x.Type == "yarn" || x.Type == "longrope":
		if !(x.Factor > 0) || math.IsInf(x.Factor, 0) {
			return fmt.Errorf("%w: rope type %s with factor %v", ErrConfig, x.Type, x.Factor)
		}
	default:
		return fmt.Errorf("%w: rope type %q is unknown: default, linear, dynamic, llama3, yarn and longrope are", ErrConfig, x.Type)
	}
	if x.Type == "longrope" && (len(x.Short) != half || len(x.Long) != half) {
		return fmt.Errorf("%w: longrope has %d short and %d long factors, want %d of each", ErrConfig, len(x.Short), len(x.Long), half)
	}
	if len(x.Divisors) > 0 && len(x.Divisors) != half {
		return fmt.Errorf("%w: %d ready-made frequency factors, want %d", ErrConfig, len(x.Divisors), half)
	}
	if x.Type == "llama3" && len(x.Divisors) == 0 && !(x.LowFreq > 0 && x.HighFreq > x.LowFreq) {
		return fmt.Errorf("%w: llama3 rope with low_freq_factor %v and high_freq_factor %v", ErrConfig, x.LowFreq, x.HighFreq)
	}
	// What the numbers come to, in the shortest context and in the longest.
	for _, context := range []int{1, maxPositions} {
		r := x.Build(context)
		for i, v := range append(r.Inv, r.Factor) {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) || v < 0 {
				return fmt.Errorf("%w: rope type %s turns pair %d of %d by %v per token: its factors, theta %v or context %d are out of range", ErrConfig, x.Type, i, half, v, x.Theta, x.Original)
			}
		}
	}
	return nil
}

// Build reduces the configuration to frequencies for sequences of up to context
// tokens. longrope and dynamic depend on the length; it is the configured one for
// every position, not the length so far, so that a position's angle never changes
// and a cached block stays valid.
func (x RopeConfig) Build(context int) *compute.Rope {
	n := x.Dims / 2
	theta := x.Theta
	if x.Type == "dynamic" && context > x.maxPos {
		grow := x.Factor*float64(context)/float64(x.maxPos) - (x.Factor - 1)
		theta *= math.Pow(grow, float64(x.Dims)/float64(x.Dims-2))
	}
	inv := make([]float64, n)
	for i := range inv {
		inv[i] = 1 / math.Pow(theta, float64(2*i)/float64(x.Dims))
	}
	factor := 1.0
	switch {
	case len(x.Divisors) > 0:
		for i := range inv {
			inv[i] /= x.Divisors[i]
		}
	case x.Type == "linear":
		for i := range inv {
			inv[i] /= x.Factor
		}
	case x.Type == "llama3":
		x.llama3(inv)
	case x.Type == "yarn":
		factor = yarnScale(x.Factor, 1)
		x.yarn(inv)
	case x.Type == "longrope":
		if x.Factor > 1 {
			factor = math.Sqrt(1 + math.Log(x.Factor)/math.Log(float64(x.Original)))
		}
		by := x.Short
		if context > x.Original {
			by = x.Long
		}
		for i := range inv {
			inv[i] /= by[i]
		}
	}
	if x.Attention != 0 {
		factor = x.Attention
	}
	r := &compute.Rope{Inv: make([]float32, n), Factor: float32(factor), Interleaved: x.Interleaved}
	for i, v := range inv {
		r.Inv[i] = float32(v)
	}
	return r
}

// llama3 slows the frequencies whose waves are long against the original
// context, keeps those that are short, and blends between the two.
func (x RopeConfig) llama3(inv []float64) {
	for i, f := range inv {
		turns := float64(x.Original) * f / (2 * math.Pi) // waves within the original context
		switch {
		case turns < x.LowFreq:
			inv[i] = f / x.Factor
		case turns <= x.HighFreq:
			keep := (turns - x.LowFreq) / (x.HighFreq - x.LowFreq)
			inv[i] = (1-keep)*f/x.Factor + keep*f
		}
	}
}

// yarn (Peng et al., 2023) interpolates slow pairs and keeps fast ones, with a
// ramp between the pairs that turn BetaSlow and BetaFast times in the original
// context.
func (x RopeConfig) yarn(inv []float64) {
	pairAt := func(turns float64) float64 {
		return float64(x.Dims) * math.Log(float64(x.Original)/(turns*2*math.Pi)) / (2 * math.Log(x.Theta))
	}
	low, high := pairAt(x.BetaFast), pairAt(x.BetaSlow)
	if x.Truncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, float64(x.Dims-1))
	if low == high {
		high += 0.001
	}
	for i, f := range inv {
		slow := min(max((float64(i)-low)/(high-low), 0), 1)
		inv[i] = slow*f/x.Factor + (1-slow)*f
	}
}

// yarnScale is yarn's correction of the attention's temperature.
func yarnScale(factor, weight float64) float64 {
	if factor <= 1 {
		return 1
	}
	return 0.1*weight*math.Log(factor) + 1
}

// ScaleRope replaces the scaling of the rotation, as --rope-scaling asks:
// default, linear, dynamic or yarn by a factor over the model's own context. A
// scaling that the model has goes, and the factor counts from the context that it
// began with, where the file names one.
func (c *Config) ScaleRope(kind string, factor float64) error {
	switch kind {
	case "default", "linear", "dynamic", "yarn":
	default:
		return fmt.Errorf("%w: --rope-scaling %s: use linear, dynamic or yarn with a factor", ErrConfig, kind)
	}
	if !(factor >= 1) || factor > 1<<20 {
		return fmt.Errorf("%w: --rope-scaling %s:%v: want a factor from 1 to %d", ErrConfig, kind, factor, 1<<20)
	}
	r, from := c.Rope, c.MaxPositions
	if r.Type != "default" {
		from = r.Original
	}
	r = RopeConfig{
		Type: kind, Theta: r.Theta, Dims: r.Dims, Factor: factor, Original: from,
		BetaFast: 32, BetaSlow: 1, Truncate: true, Interleaved: r.Interleaved, maxPos: from,
	}
	if err := r.check(); err != nil {
		return err
	}
	c.Rope, c.MaxPositions = r, int(min(float64(from)*factor, maxPositions))
	return nil
}
