package attention

import "nosa/compute"

// infllmv2 (arXiv 2509.24663) takes the first blocks, the local window, and of
// the rest those with the highest pooled attention to the query: spec nosa,
// section 3, steps 1 to 5 with K in place of init + local + k_q, and no bias. It
// runs on any dense model, trained for it or not.
type infllmv2 struct{}

func (infllmv2) Name() string   { return "infllmv2" }
func (infllmv2) Keeps() Keeps   { return Keeps{Means: true} }
func (infllmv2) Foresees() bool { return false }

func (infllmv2) Params(c Constants) compute.SelectParams {
	return compute.SelectParams{Init: c.Init, Local: c.Local, K: c.K, DenseLen: c.DenseLen, ByQuery: true}
}
