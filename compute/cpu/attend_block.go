package cpu

import (
	"math"
	"unsafe"

	"nosa/compute"
)

// batchQueries is how many queries meet a block's keys before they meet its values:
// their logits and one half of the block share the first cache.
const batchQueries = 24

// attendWork is a worker's memory for blocks.
type attendWork struct {
	product product
	coded   [codedRows]codedRow
	soft    softRows
	logits  []float32
	q       [batchQueries]*float32  // of the queries at hand
	state   [batchQueries][]float32 // theirs
	masks   []uint64                // by block: rows of the piece that selected it
	keys    []float32               // of an expanded block
	vals    []float32
}

// matrix is a block's keys [Dim, Block] or values [Block, Dim], and what multiplies
// by them.
type matrix struct {
	data, pairs, ahead unsafe.Pointer
	stride             int
	product            func(p *product, m int) // nil: codes, which meet codes (coded.go)
	most               int                     // rows of product
}

// attended is a block as queries read it.
type attended struct {
	key, val matrix
	bias     *float32
}

// tail is the own block, which is as it was computed.
func (a *attend) tail(head int, b *attended) {
	n := a.cache.Block * a.dim
	tail := a.tile.Tail.F32()[head*2*n:][:2*n]
	a.plain(b, tail[:n], tail[n:])
	a.biased(b, head, a.own)
}

// plain is a block in float32.
func (a *attend) plain(b *attended, key, val []float32) {
	b.key = matrix{data: unsafe.Pointer(&key[0]), stride: 4 * a.cache.Block, product: a.k.product, most: a.k.productRows}
	b.val = matrix{data: unsafe.Pointer(&val[0]), stride: 4 * a.dim, product: a.k.product, most: a.k.productRows}
}

func (a *attend) biased(b *attended, head, number int) {
	b.bias = nil
	if a.cache.Scores {
		b.bias = &a.cache.Score.F32()[int(a.tile.Tables[head][number])*a.cache.Block:][:a.cache.Block][0]
	}
}

// expanded is a full block, expanded to float32 for many queries.
func (a *attend) expanded(w *worker, head, number int, slot int32, b *attended) {
	c := a.cache
	if a.codes() {
		a.coded(head, number, slot, -1, b)
		return
	}
	data := c.SlotData(slot)
	a.biased(b, head, number)
	if c.Type == compute.KVF32 {
		n := len(data) / 2
		a.plain(b, float32s(data[:n]), float32s(data[n:]))
		return
	}
	n := c.Block * c.Dim
	key, val := room(&w.attend.keys, n), room(&w.attend.vals, n)
	decodeBlock(w, a.k, &c.Layout, key, val, data)
	a.plain(b, key, val)
}

// direct is a full block as the cache keeps it, for few queries; next is the slot
// that will be read after it, or −1.
func (a *attend) direct(w *worker, head, number int, slot, next int32, b *attended) {
	c := a.cache
	if a.codes() {
		a.coded(head, number, slot, next, b)
		return
	}
	f := a.k.direct[c.Type]
	if f == nil || c.Block%a.k.directCols != 0 || c.Dim%a.k.directCols != 0 {
		a.expanded(w, head, number, slot, b)
		return
	}
	a.asKept(head, number, slot, next, b)
	b.key.product, b.val.product = f, f
	b.key.most, b.val.most = a.k.directRows, a.k.directRows
}

// codes reports whether blocks are multiplied as codes, by few and by many queries.
func (a *attend) codes() bool {
	c := a.cache
	return a.k.coded[c.Type] != nil && c.Block%codedStep == 0 && c.Dim%codedStep == 0 &&
		max(c.Block, c.Dim) <= codedMost
}

// coded is a full block of codes; next as for direct.
func (a *attend) coded(head, number int, slot, next int32, b *attended) {
	a.asKept(head, number, slot, next, b)
	b.key.product, b.val.product = nil, nil
	b.key.most, b.val.most = codedRows, codedRows
}

// asKept points b at a block's memory in the cache.
func (a *attend) asKept(head, number int, slot, next int32, b *attended) {
	c := a.cache
	a.biased(b, head, number)
	data := c.SlotData(slot)
	ahead := data
	if next >= 0 {
		ahead = c.SlotData(next)
	}
	half := len(data) / 2
	size := elementBits(c.Type)
	b.key = matrix{data: unsafe.Pointer(&data[0]), ahead: unsafe.Pointer(&ahead[0])}
	b.val = b.key
	switch c.Type {
	case compute.KVQ8, compute.KVQ4:
		half = c.Block * c.Dim * size / 8
		pairs := len(data) - 8*(c.Dim+c.Block)
		b.key.pairs = unsafe.Pointer(&data[pairs])
		b.val.pairs = unsafe.Pointer(&data[pairs+8*c.Dim])
	}
	b.key.stride, b.val.stride = c.Block*size/8, c.Dim*size/8
	b.val.data, b.val.ahead = unsafe.Pointer(&data[half]), unsafe.Pointer(&ahead[half])
}

// elementBits is the bits of an element.
func elementBits(t compute.KVType) int {
	switch t {
	case compute.KVQ4:
		return 4
	case compute.KVQ8:
		return 8
	case compute.KVF32:
		return 32
	}
	return 16
}

// add adds the first seen keys of a block to the states of n queries of w.
func (a *attend) add(w *worker, b *attended, n, seen int, spare bool) {
	m, block := &w.attend, a.cache.Block
	ld := (block + 63) &^ 63
	logits := room(&m.logits, batchQueries*ld)
	p, s := &m.product, &m.soft

	// Logits. A block is computed whole unless few of its keys count: what lies
	// beyond them is memory of the tail that nobody reads on.
	p.b, p.pairs, p.ahead, p.stride = b.key.data, b.key.pairs, b.key.ahead, b.key.stride
	p.depth, p.cols, p.fresh = a.dim, block, 1
	if seen <= 16 {
		p.cols = min(block, 16)
	}
	for i := 0; i < n; i += b.key.most {
		rows := min(b.key.most, n-i)
		for j := range rows {
			p.a[j], p.c[j] = m.q[i+j], &logits[(i+j)*ld]
		}
		a.multiply(m, &b.key, rows)
	}

	p.b, p.pairs, p.ahead, p.stride = b.val.data, b.val.pairs, b.val.ahead, b.val.stride
	p.depth, p.cols, p.fresh = seen, a.dim, 0
	s.ld, s.n, s.bias, s.scale = ld, seen, b.bias, a.scale
	var decay [batchQueries]float32
	for i := 0; i < n; i += softRowsMost {
		rows := min(softRowsMost, n-i)
		s.p = &logits[i*ld]
		for j := range rows {
			s.state[j] = (*[2]float32)(m.state[i+j][1:3])
		}
		a.k.softmax(s, rows)
		copy(decay[i:n], s.decay[:rows])
	}
	for i := 0; i < n; i += b.val.most {
		rows := min(b.val.most, n-i)
		for j := range rows {
			p.a[j], p.c[j] = &logits[(i+j)*ld], &m.state[i+j][3]
			p.decay[j] = decay[i+j]
		}
		a.multiply(m, &b.val, rows)
	}
	for _, state := range m.state[:n] {
		if state[0]++; state[0] == compute.Split && !spare {
			a.k.fold(p, state, a.dim)
		}
	}
}

// multiply runs the product at hand of m by a matrix.
func (a *attend) multiply(m *attendWork, b *matrix, rows int) {
	p := &m.product
	if b.product != nil {
		b.product(p, rows)
		return
	}
	a.k.codeRows(p, &m.coded, rows)
	a.k.coded[a.cache.Type](p, &m.coded, rows)
}

// fold merges the running split of s into the total and starts the next one, as
// compute does at each split's end.
func (k *kernels) fold(p *product, s []float32, dim int) {
	cur, tot := s[1:3+dim], s[3+dim:]
	top := max(cur[0], tot[0])
	p.decay[0], s[0] = shrunk(tot[0], top), shrunk(cur[0], top) // the count has served
	p.a[0], p.c[0], p.b = &s[0], &tot[1], unsafe.Pointer(&cur[1])
	p.depth, p.cols, p.stride, p.fresh = 1, 1+dim, 0, 0
	k.product(p, 1)
	tot[0] = top
	clear(s[:3+dim])
	s[1] = negInf
}

// shrunk is the factor of what was summed below a maximum when there is a new one.
func shrunk(from, top float32) float32 {
	switch top {
	case negInf:
		return 0
	case from:
		return 1
	}
	return float32(math.Exp(float64(from) - float64(top)))
}
