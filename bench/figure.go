package bench

import (
	"math"
	"slices"
)

// Setting says what a figure was measured with. Names that llama-bench has too
// mean the same there.
type Setting struct {
	Kind      string `json:"kind"` // figure or ratio
	Test      string `json:"test"`
	Model     string `json:"model"`
	Attention string `json:"attention"`
	Device    string `json:"device"`
	KVType    string `json:"kv_dtype"`
	Numerics  string `json:"numerics"` // of products with quantised weights; on a GPU of attention
	Threads   int    `json:"n_threads"`
	Prompt    int    `json:"n_prompt"`
	Gen       int    `json:"n_gen"`
	Depth     int    `json:"n_depth"`
	Batch     int    `json:"batch"`
}

// Figure is a test's outcome: tokens per second, over all sequences of a batch.
type Figure struct {
	Setting
	AvgTS    float64   `json:"avg_ts"`
	StddevTS float64   `json:"stddev_ts"`
	MedianTS float64   `json:"median_ts"`
	MinTS    float64   `json:"min_ts"`
	MaxTS    float64   `json:"max_ts"`
	Samples  []float64 `json:"samples_ts"` // in the order of the runs

	BytesPerToken float64 `json:"bytes_per_token"`
	Bytes         Bytes   `json:"bytes"` // of which
	FLOPsPerToken float64 `json:"flops_per_token"`
	RooflineTS    float64 `json:"roofline_ts"` // 0: the machine was not measured
	Fraction      float64 `json:"fraction"`    // median_ts / roofline_ts
	Bound         string  `json:"bound"`       // what the roofline is: memory or arithmetic
	Bandwidth     float64 `json:"bandwidth"`   // bytes per second that it was computed with

	Tiers  Tiers   `json:"tiers"`
	Others float64 `json:"others"` // part of the machine's processor time that other programs took during the runs
}

// Bytes are the parts of bytes_per_token.
type Bytes struct {
	Weights float64 `json:"weights"` // read, shared by the tokens of a pass
	KV      float64 `json:"kv"`      // selected blocks and the open one, read
	Pooled  float64 `json:"pooled"`  // pooled keys and scores, read in order to select
	Written float64 `json:"written"` // of keys, values, their means, and blocks as they fill
}

func (b Bytes) total() float64 { return b.Weights + b.KV + b.Pooled + b.Written }

// Tiers say where a test's blocks were, over all of its runs.
type Tiers struct {
	HitRate     float64 `json:"hit_rate"`
	HostHits    int64   `json:"host_hits"`
	DiskHits    int64   `json:"disk_hits"`
	BytesUp     int64   `json:"bytes_up"`
	WaitSeconds float64 `json:"wait_seconds"`
}

// Ratio is a test's outcome beside the peer's on the same file, in the setting of
// the peer that was the faster one.
type Ratio struct {
	Setting
	Peer     string    `json:"peer"`
	Flash    int       `json:"flash_attn"`
	OursTS   float64   `json:"ours_ts"` // medians
	PeerTS   float64   `json:"peer_ts"`
	Ratio    float64   `json:"ratio"`     // of the medians
	RatioMin float64   `json:"ratio_min"` // over the runs, each with its neighbour
	RatioMax float64   `json:"ratio_max"`
	Ours     []float64 `json:"ours_samples_ts"`
	Others   float64   `json:"others"` // part of the processor time that went to others while the peer ran
	// Of each setting that was run, by the value of flash_attn.
	PeerSamples map[int][]float64 `json:"peer_samples_ts"`
}

// summarise fills in what follows from the samples.
func (f *Figure) summarise() {
	f.AvgTS, f.StddevTS = meanAndDeviation(f.Samples)
	f.MedianTS, f.MinTS, f.MaxTS = median(f.Samples), slices.Min(f.Samples), slices.Max(f.Samples)
	if f.RooflineTS > 0 {
		f.Fraction = f.MedianTS / f.RooflineTS
	}
}

// newRatio compares samples with the peer's faster setting; ok is false if the
// peer has no setting with as many samples.
func newRatio(s Setting, ours []float64, peer map[int][]float64) (r Ratio, ok bool) {
	s.Kind = "ratio"
	r = Ratio{Setting: s, OursTS: median(ours), Ours: ours, PeerSamples: peer, Flash: -1}
	for _, flash := range []int{0, 1} { // a tie is the plain setting's
		if theirs := peer[flash]; len(theirs) == len(ours) && median(theirs) > r.PeerTS {
			r.Flash, r.PeerTS = flash, median(theirs)
		}
	}
	if r.Flash < 0 {
		return r, false
	}
	r.Ratio = r.OursTS / r.PeerTS
	r.RatioMin = math.Inf(1)
	for i, theirs := range peer[r.Flash] {
		r.RatioMin, r.RatioMax = min(r.RatioMin, ours[i]/theirs), max(r.RatioMax, ours[i]/theirs)
	}
	return r, true
}

// median is the middle sample, or the mean of the two in the middle; 0 of none.
func median(samples []float64) float64 {
	s := slices.Sorted(slices.Values(samples))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// meanAndDeviation are the mean and the deviation of a sample, 0 of one alone.
func meanAndDeviation(samples []float64) (mean, deviation float64) {
	for _, x := range samples {
		mean += x / float64(len(samples))
	}
	if len(samples) < 2 {
		return mean, 0
	}
	for _, x := range samples {
		deviation += (x - mean) * (x - mean) / float64(len(samples)-1)
	}
	return mean, math.Sqrt(deviation)
}
