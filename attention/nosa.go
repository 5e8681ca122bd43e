package attention

import "nosa/compute"

// nosa (arXiv 2510.13602) lets the query choose k_q blocks beside the forced
// ones and fills up to K by the importance score, which changes little from step
// to step, so that most of a selection stays where it is (spec nosa, sections 3
// and 4). The score enters the softmax as a bias.
type nosa struct{}

func (nosa) Name() string   { return "nosa" }
func (nosa) Keeps() Keeps   { return Keeps{Means: true, Scores: true} }
func (nosa) Foresees() bool { return false }

func (nosa) Params(c Constants) compute.SelectParams {
	return compute.SelectParams{Init: c.Init, Local: c.Local, Query: c.Query, K: c.K, DenseLen: c.DenseLen, ByQuery: true, ByScore: true}
}
