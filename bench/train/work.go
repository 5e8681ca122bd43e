package train

import "nosa/attention"

// Work is what a model's step cannot do without, in FLOP: a multiplication and an addition are two.
type Work struct {
	Products  float64 `json:"products"`  // 6 · weights · tokens: forward, and the gradients of inputs and of weights
	Attention float64 `json:"attention"` // 12 · layers · heads · dim · pairs: two products forward, and twice that backward
}

// Sum is all of it.
func (w Work) Sum() float64 { return w.Products + w.Attention }

// Weights are those that products read: all but norms and importance scores. The table of
// tokens counts once, as the output's.
func (s Setting) Weights() (float64, error) {
	h, err := shapeByName(s.Shape)
	if err != nil {
		return 0, err
	}
	q, kv := h.heads*h.dim, h.kvHeads*h.dim
	layer := h.hidden*(q+2*kv) + q*h.hidden + 3*h.hidden*h.intermediate
	return float64(h.layers)*float64(layer) + float64(h.vocab)*float64(h.hidden), nil
}

// Pairs are the tokens that queries of a pass see, themselves included, added up: all before them
// in their document, or those of the blocks that they select.
func (s Setting) Pairs() (float64, error) {
	h, err := shapeByName(s.Shape)
	if err != nil {
		return 0, err
	}
	m, err := attention.ByName(s.Method)
	if err != nil {
		return 0, err
	}
	c := h.sparse
	p := m.Params(attention.Constants{Block: c.BlockSize, Kernel: c.KernelSize, Stride: c.KernelStride, Init: c.InitBlocks,
		Local: c.LocalBlocks(), K: c.TopK, Query: c.TopKQ, DenseLen: c.DenseLen})
	seen := 0
	for pos := range s.Context {
		n := pos + 1
		if (p.ByQuery || p.ByScore) && pos >= p.DenseLen && pos/c.BlockSize+1 > p.K {
			n = (p.K-1)*c.BlockSize + pos%c.BlockSize + 1 // its own block is one of them
		}
		seen += n
	}
	return float64(seen) * float64(s.Rows/s.Context), nil
}

// Work of a step.
func (s Setting) Work() (w Work, err error) {
	weights, err := s.Weights()
	if err != nil {
		return w, err
	}
	pairs, err := s.Pairs()
	if err != nil {
		return w, err
	}
	h, err := shapeByName(s.Shape)
	if err != nil {
		return w, err
	}
	w.Products = 6 * weights * float64(s.Tokens())
	w.Attention = 12 * float64(h.layers*h.heads*h.dim) * pairs * float64(s.Passes)
	return w, nil
}
