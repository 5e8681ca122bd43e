package attention

import "nosa/compute"

// dma selects by the tokens' importance scores alone: the forced blocks, then
// the highest pooled scores, whatever the query; the score is also the bias
// (spec nosa, section 3, "Baselines": k_q = 0).
type dma struct{}

func (dma) Name() string   { return "dma" }
func (dma) Keeps() Keeps   { return Keeps{Scores: true} }
func (dma) Foresees() bool { return false }

func (dma) Params(c Constants) compute.SelectParams {
	return compute.SelectParams{Init: c.Init, Local: c.Local, K: c.K, DenseLen: c.DenseLen, ByScore: true}
}
