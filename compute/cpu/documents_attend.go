package cpu

import (
	"math"
	"math/bits"
	"unsafe"
)

// attend sets the results of a tile's rows for one KV head, block by block: the running
// softmax of attend_block.go, with the results as the weighted values.
func (x *documents) attend(w *worker, head, tile int) {
	m, t := &w.documents, x.tiles[tile]
	state := room(&m.state, t.n*x.group)
	for i := range state {
		state[i] = [2]float32{negInf, 0}
	}
	x.eachQuery(head, tile, func(_, at int) { clear(x.out[at*x.dim:][:x.dim]) })
	x.walk(w, head, tile, x.attendBlock)
	x.eachQuery(head, tile, func(i, at int) {
		top, sum := state[i][0], state[i][1]
		scaleBy(x.out[at*x.dim:][:x.dim], 1/sum)
		x.lse[at] = float32(float64(top) + math.Log(float64(sum)))
	})
}

// eachQuery calls f for the queries of a tile's rows and a KV head, with a number and
// row·heads + head.
func (x *documents) eachQuery(head, tile int, f func(i, at int)) {
	t := x.tiles[tile]
	for r := range t.n {
		for g := range x.group {
			f(r*x.group+g, (t.row+r)*x.heads+head*x.group+g)
		}
	}
}

// walk calls f for each block that rows of a tile selected, ascending, and some of their
// queries at a time, which are at hand then.
func (x *documents) walk(w *worker, head, tile int, f func(w *worker, head, tile, block int)) {
	m, t := &w.documents, x.tiles[tile]
	masks, words := x.masks(w, head, tile)
	for b := range tile - t.first + 1 {
		m.at = m.at[:0]
		for i, mask := range masks[b*words : (b+1)*words] {
			for ; mask != 0; mask &= mask - 1 {
				r := 64*i + bits.TrailingZeros64(mask)
				for g := range x.group {
					m.at = append(m.at, int32((t.row+r)*x.heads+head*x.group+g))
					if len(m.at) == batchQueries {
						f(w, head, tile, t.first+b)
						m.at = m.at[:0]
					}
				}
			}
		}
		if len(m.at) > 0 {
			f(w, head, tile, t.first+b)
		}
	}
}

// query is the number of the i-th query at hand among those of a tile's rows.
func (x *documents) query(m *documentsWork, i, head, tile int) int {
	at := int(m.at[i])
	return (at/x.heads-x.tiles[tile].row)*x.group + at%x.heads - head*x.group
}

// attendBlock adds a block to the results of the queries at hand.
func (x *documents) attendBlock(w *worker, head, tile, block int) {
	m, b, ld := &w.documents, x.tiles[block], x.ld()
	logits := room(&m.logits, batchQueries*ld)
	x.products(w, logits, x.q, x.turned(x.keys, head, block), b.n)
	x.hide(m, logits, b)

	s := &w.attend.soft
	s.ld, s.n, s.bias, s.scale = ld, b.n, x.biases(m, head, block), x.scale
	p := &w.attend.product
	p.b, p.stride = unsafe.Pointer(&x.value[(b.row*x.kvHeads+head)*x.dim]), 4*x.kvHeads*x.dim
	p.depth, p.cols, p.fresh = b.n, x.dim, 0
	var decay [batchQueries]float32
	for i := 0; i < len(m.at); i += softRowsMost {
		n := min(softRowsMost, len(m.at)-i)
		s.p = &logits[i*ld]
		for j := range n {
			s.state[j] = &m.state[x.query(m, i+j, head, tile)]
		}
		x.k.softmax(s, n)
		copy(decay[i:], s.decay[:n])
	}
	for i := 0; i < len(m.at); i += x.k.productRows {
		n := min(x.k.productRows, len(m.at)-i)
		for j := range n {
			p.a[j], p.c[j] = &logits[(i+j)*ld], &x.out[int(m.at[i+j])*x.dim]
			p.decay[j] = decay[i+j]
		}
		x.k.product(p, n)
	}
}

// products sets the products of rows of src, those of the queries at hand, with the rows of
// a block that were turned.
func (x *documents) products(w *worker, dst, src, turned []float32, keys int) {
	p, at, ld := &w.attend.product, w.documents.at, x.ld()
	p.b, p.stride, p.depth, p.cols, p.fresh = unsafe.Pointer(&turned[0]), 4*x.block, x.dim, keys, 1
	for i := 0; i < len(at); i += x.k.productRows {
		n := min(x.k.productRows, len(at)-i)
		for j := range n {
			p.a[j], p.c[j] = &src[int(at[i+j])*x.dim], &dst[(i+j)*ld]
		}
		x.k.product(p, n)
	}
}

// hide sets the logits of the queries at hand with later keys of their own block to −∞.
func (x *documents) hide(m *documentsWork, logits []float32, b documentTile) {
	ld := x.ld()
	for i, at := range m.at {
		seen := int(at)/x.heads - b.row + 1
		for j := seen; j < b.n; j++ {
			logits[i*ld+j] = negInf
		}
	}
}

// biases are the scores of a block's keys, or nil.
func (x *documents) biases(m *documentsWork, head, tile int) *float32 {
	if x.score == nil {
		return nil
	}
	t := x.tiles[tile]
	b := room(&m.bias, x.block)
	for j := range t.n {
		b[j] = x.score[(t.row+j)*x.kvHeads+head]
	}
	return &b[0]
}

func scaleBy(v []float32, f float32) {
	for i := range v {
		v[i] *= f
	}
}
