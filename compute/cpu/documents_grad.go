package cpu

import "unsafe"

// gradQueries is how many queries meet a block's keys before they are added to its
// gradients: their weights, the gradients of their logits and both turned fill half of the
// second cache's smallest.
const gradQueries = 48

// mean sets D = Σ dout·out of a tile's rows.
func (x *documents) mean(tile int) {
	t := x.tiles[tile]
	for at := t.row * x.heads; at < (t.row+t.n)*x.heads; at++ {
		var sum float64
		out := x.out[at*x.dim:][:x.dim]
		for c, v := range x.dout[at*x.dim:][:x.dim] {
			sum += float64(v) * float64(out[c])
		}
		x.means[at] = float32(sum)
	}
}

// invert lists the rows that selected each block, for a KV head.
func (x *documents) invert(head int) {
	u := &x.users[head]
	at := room(&u.at, len(x.tiles)+2)
	clear(at)
	x.eachUse(head, func(_, tile int) { at[tile+2]++ })
	for i := 2; i < len(at); i++ {
		at[i] += at[i-1]
	}
	rows := room(&u.rows, at[len(at)-1])
	x.eachUse(head, func(row, tile int) {
		rows[at[tile+1]] = int32(row)
		at[tile+1]++ // ends as where the next tile's begin
	})
	u.at, u.rows = at, rows
}

// eachUse calls f for each row, ascending, and each tile whose block it selected.
func (x *documents) eachUse(head int, f func(row, tile int)) {
	for i, t := range x.tiles {
		for row := t.row; row < t.row+t.n; row++ {
			list, listed := x.list(row, head)
			if !listed {
				for tile := t.first; tile <= i; tile++ {
					f(row, tile)
				}
			}
			for _, b := range list {
				f(row, t.first+int(b))
			}
		}
	}
}

// queryGrad sets dq of a tile's rows for one KV head.
func (x *documents) queryGrad(w *worker, head, tile int) {
	x.eachQuery(head, tile, func(_, at int) { clear(x.dq[at*x.dim:][:x.dim]) })
	x.walk(w, head, tile, x.queryGradBlock)
	x.eachQuery(head, tile, func(_, at int) { scaleBy(x.dq[at*x.dim:][:x.dim], x.scale) })
}

// queryGradBlock adds a block to dq of the queries at hand.
func (x *documents) queryGradBlock(w *worker, head, _, block int) {
	m, b := &w.documents, x.tiles[block]
	x.logitGrads(w, head, block)
	p := &w.attend.product
	p.b, p.stride = unsafe.Pointer(&x.key[(b.row*x.kvHeads+head)*x.dim]), 4*x.kvHeads*x.dim
	p.depth, p.cols, p.fresh = b.n, x.dim, 0
	for i := 0; i < len(m.at); i += x.k.productRows {
		n := min(x.k.productRows, len(m.at)-i)
		for j := range n {
			p.a[j], p.c[j] = &m.grads[(i+j)*x.ld()], &x.dq[int(m.at[i+j])*x.dim]
			p.decay[j] = 1
		}
		x.k.product(p, n)
	}
}

// logitGrads leaves the weights that the queries at hand give to the keys of a block in
// logits, and the gradients of their logits in grads.
func (x *documents) logitGrads(w *worker, head, block int) {
	m, b, ld := &w.documents, x.tiles[block], x.ld()
	logits, grads := room(&m.logits, gradQueries*ld), room(&m.grads, gradQueries*ld)
	x.products(w, logits, x.q, x.turned(x.keys, head, block), b.n)
	x.hide(m, logits, b)

	// A softmax that has seen lse leaves e^(logit − lse), which is the weight.
	s := &w.attend.soft
	s.ld, s.n, s.bias, s.scale = ld, b.n, x.biases(m, head, block), x.scale
	var state [softRowsMost][2]float32
	for i := 0; i < len(m.at); i += softRowsMost {
		n := min(softRowsMost, len(m.at)-i)
		s.p = &logits[i*ld]
		for j := range n {
			state[j] = [2]float32{x.lse[m.at[i+j]], 0}
			s.state[j] = &state[j]
		}
		x.k.softmax(s, n)
	}

	x.products(w, grads, x.dout, x.turned(x.values, head, block), b.n)
	for i, at := range m.at {
		x.k.softmaxGrad(grads[i*ld:][:b.n], logits[i*ld:][:b.n], x.means[at])
	}
}

// keyGrad sets dk, dv and ds of a tile's rows for one KV head.
func (x *documents) keyGrad(w *worker, head, tile int) {
	m, t := &w.documents, x.tiles[tile]
	sums := room(&m.sums, x.block)[:t.n]
	clear(sums)
	for j := range t.n {
		clear(x.dk[((t.row+j)*x.kvHeads+head)*x.dim:][:x.dim])
		clear(x.dv[((t.row+j)*x.kvHeads+head)*x.dim:][:x.dim])
	}
	x.eachSeeing(w, head, tile, tile, x.keyGradBlock)
	for j, sum := range sums {
		at := (t.row+j)*x.kvHeads + head
		scaleBy(x.dk[at*x.dim:][:x.dim], x.scale)
		if x.ds != nil {
			x.ds[at] = sum
		}
	}
}

// eachSeeing has the queries that see a tile, of rows of the tile from on, at hand, some at a time, and calls use for them.
func (x *documents) eachSeeing(w *worker, head, tile, from int, use func(w *worker, head, tile int)) {
	m, begin, last := &w.documents, x.tiles[from].row, x.tiles[x.tiles[tile].last]
	m.at = m.at[:0]
	take := func(row int) {
		for g := range x.group {
			m.at = append(m.at, int32(row*x.heads+head*x.group+g))
			if len(m.at) == gradQueries {
				use(w, head, tile)
				m.at = m.at[:0]
			}
		}
	}
	if x.sel.None() {
		for row := begin; row < last.row+last.n; row++ {
			take(row)
		}
	} else {
		u := &x.users[head]
		for _, row := range u.rows[u.at[tile]:u.at[tile+1]] {
			if int(row) >= begin {
				take(int(row))
			}
		}
	}
	if len(m.at) > 0 {
		use(w, head, tile)
	}
}

// keyGradBlock adds the queries at hand to the gradients of a block.
func (x *documents) keyGradBlock(w *worker, head, tile int) {
	m, t, ld, n := &w.documents, x.tiles[tile], x.ld(), len(w.documents.at)
	x.logitGrads(w, head, tile)
	q, dout := room(&m.q, gradQueries*x.dim), room(&m.dout, gradQueries*x.dim)
	for i, at := range m.at {
		copy(q[i*x.dim:][:x.dim], x.q[int(at)*x.dim:])
		copy(dout[i*x.dim:][:x.dim], x.dout[int(at)*x.dim:])
	}
	// Whole vectors are turned: there is room for them, and what lies there is not read.
	rows, cols := (n+15)&^15, (t.n+15)&^15
	weights, grads := room(&m.turnedP, ld*gradQueries), room(&m.turnedG, ld*gradQueries)
	x.k.transpose(weights, m.logits, ld, rows, cols, gradQueries)
	x.k.transpose(grads, m.grads, ld, rows, cols, gradQueries)
	x.sumRows(w, x.dv, weights, dout, head, t)
	x.sumRows(w, x.dk, grads, q, head, t)

	if x.ds != nil {
		x.sumColumns(w, m.grads, t.n)
	}
}

// sumColumns adds to a tile's sums what each of its tokens has in a matrix [queries at hand, block].
func (x *documents) sumColumns(w *worker, matrix []float32, tokens int) {
	m := &w.documents
	if m.ones == nil {
		m.ones = make([]float32, gradQueries)
		for i := range m.ones {
			m.ones[i] = 1
		}
	}
	p := &w.attend.product
	p.a[0], p.c[0], p.decay[0] = &m.ones[0], &m.sums[0], 1
	p.b, p.stride, p.depth, p.cols, p.fresh = unsafe.Pointer(&matrix[0]), 4*x.ld(), len(m.at), tokens, 0
	x.k.product(p, 1)
}

// sumRows adds to the rows of a tile in dst the rows of src, one for each query at hand,
// times turned [block, gradQueries].
func (x *documents) sumRows(w *worker, dst, turned, src []float32, head int, t documentTile) {
	p := &w.attend.product
	p.b, p.stride = unsafe.Pointer(&src[0]), 4*x.dim
	p.depth, p.cols, p.fresh = len(w.documents.at), x.dim, 0
	for i := 0; i < t.n; i += x.k.productRows {
		n := min(x.k.productRows, t.n-i)
		for j := range n {
			p.a[j] = &turned[(i+j)*gradQueries]
			p.c[j] = &dst[((t.row+i+j)*x.kvHeads+head)*x.dim]
			p.decay[j] = 1
		}
		x.k.product(p, n)
	}
}
