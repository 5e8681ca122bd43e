package eval

import (
	"math"

	"nosa/compute"
)

// massEvery is how many tokens it is to the next one whose weights are computed.
const massEvery = 4

// mass computes full attention's weights from its queries and keys, by block, and adds up those of the blocks that another engine
// selects for the same tokens.
type mass struct {
	from, block int
	keys        [][]float32         // by layer: [tokens, kvHeads, dim]
	weights     map[place][]float64 // by layer, KV head and position: of each block, the mean over the query heads that share it
	layers      []tally             // what was selected
}

// newMass is for tokens from position from on.
func newMass(from, block, layers int) *mass {
	return &mass{from: from, block: block, keys: make([][]float32, layers), weights: map[place][]float64{}, layers: make([]tally, layers)}
}

// wants tells whether a position's weights are computed.
func (m *mass) wants(pos int) bool { return pos >= m.from && (pos-m.from)%massEvery == 0 }

// attend takes the queries and keys of full attention's rows.
func (m *mass) attend(layer, pos int, q, k compute.Tensor) {
	if k.Data == nil {
		return // they are a GPU's
	}
	m.keys[layer] = append(m.keys[layer], k.F32()[:k.Len()]...)
	for row := range q.Dims[0] {
		if m.wants(pos + row) {
			heads, kvHeads, dim := q.Dims[1], k.Dims[1], q.Dims[2]
			for h := range kvHeads {
				m.weights[place{layer, h, int32(pos + row)}] = m.byBlock(q.F32()[row*heads*dim:][:heads*dim], m.keys[layer], pos+row, h, kvHeads, dim)
			}
		}
	}
}

// byBlock is the softmax of q·k/√dim over the tokens up to pos, summed by block; the mean over the query heads of KV head h.
func (m *mass) byBlock(q, keys []float32, pos, h, kvHeads, dim int) []float64 {
	group := len(q) / dim / kvHeads
	out := make([]float64, pos/m.block+1)
	logits := make([]float64, pos+1)
	for g := range group {
		head := q[(h*group+g)*dim:][:dim]
		most := math.Inf(-1)
		for t := range logits {
			sum := 0.0
			for i, v := range keys[(t*kvHeads+h)*dim:][:dim] {
				sum += float64(head[i]) * float64(v)
			}
			logits[t] = sum / math.Sqrt(float64(dim))
			most = max(most, logits[t])
		}
		all := 0.0
		for t := range logits {
			logits[t] = math.Exp(logits[t] - most)
			all += logits[t]
		}
		for t, w := range logits {
			out[t/m.block] += w / all / float64(group)
		}
	}
	return out
}

// selected takes what another engine selects.
func (m *mass) selected(layer int, t compute.Tile, sel compute.Selection) {
	for row := range t.N {
		if !m.wants(t.Pos + row) {
			continue
		}
		for h := range t.Tables {
			weights, ok := m.weights[place{layer, h, int32(t.Pos + row)}]
			if !ok {
				return
			}
			sum := 0.0
			for _, b := range sel.List(row, h, t.Own(m.block)) {
				sum += weights[b]
			}
			m.layers[layer].add(sum)
		}
	}
}

// share is the mean over everything, and by layer; nothing where nothing was seen.
func (m *mass) share() (all *float64, layers []float64) {
	var total tally
	for _, l := range m.layers {
		if l.n == 0 {
			return nil, nil
		}
		total.sum, total.n = total.sum+l.sum, total.n+l.n
		layers = append(layers, l.sum/float64(l.n))
	}
	v := total.sum / float64(total.n)
	return &v, layers
}
