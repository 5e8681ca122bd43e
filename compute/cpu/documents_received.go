package cpu

import (
	"math"

	"nosa/compute"
)

// received is what ReceivedLoss has beside documents: a block's tokens take what they get from
// the rows that are far from them, and the sums of each pair of blocks are kept; then each KV
// head's documents are settled.
type received struct {
	loss        []float32
	init, local int
	scale       float64

	sums   []float32 // [rows, kvHeads]: Σ of the weights that a token got
	pairs  []float32 // [kvHeads, …]: of each document [blocks of tokens, blocks of rows]
	at     []int     // where the pairs of a tile's rows lie for a head; at the end how many there are
	levels []float64 // [kvHeads, tiles]: log Z of a tile's rows
	shares []float64 // [kvHeads, tiles]: see settle
}

// ReceivedLoss: see compute.ReceivedLoss.
func (d *Device) ReceivedLoss(loss, ds, lse, q, k, s compute.Tensor, sel compute.Selection, docs compute.Documents, p compute.SelectParams, scale float32) {
	x := &d.documents
	x.begin(d, q, k, k, s, sel, docs) // values are not read
	r, tiles := &x.taught, len(x.tiles)
	x.lse, x.ds, r.loss = lse.F32()[:x.rows*x.heads], ds.F32()[:x.rows*x.kvHeads], loss.F32()[:2*x.rows*x.kvHeads]
	r.init, r.local, r.scale = p.Init, p.Local, float64(scale)
	r.at = room(&r.at, tiles+1)
	r.at[0] = 0
	for i, t := range x.tiles {
		r.at[i+1] = r.at[i] + t.last - t.first + 1
	}
	r.sums, r.pairs = room(&r.sums, len(x.ds)), room(&r.pairs, x.kvHeads*r.at[tiles])
	r.levels, r.shares = room(&r.levels, x.kvHeads*tiles), room(&r.shares, x.kvHeads*tiles)
	x.do(d, turningKeys, x.kvHeads*tiles)
	if !sel.None() {
		for len(x.users) < x.kvHeads {
			x.users = append(x.users, blockUsers{})
		}
		x.do(d, inverting, x.kvHeads)
	}
	x.do(d, receiving, x.kvHeads*tiles)
	x.do(d, settling, x.kvHeads)
	x.end()
}

// firstFar is the first tile whose rows are far from a tile's tokens, or one behind the
// document's last.
func (x *documents) firstFar(tile int) int {
	t := x.tiles[tile]
	if tile-t.first < x.taught.init {
		return t.last + 1
	}
	return min(tile+x.taught.local, t.last) + 1
}

// ofPairs are the sums of a tile's tokens with the rows of each block of their document.
func (x *documents) ofPairs(head, tile int) []float32 {
	r := &x.taught
	return r.pairs[head*r.at[len(x.tiles)]:][r.at[tile]:r.at[tile+1]]
}

// receive sets what a tile's tokens get from rows that are far from them, for one KV head.
func (x *documents) receive(w *worker, head, tile int) {
	m, t := &w.documents, x.tiles[tile]
	clear(x.ofPairs(head, tile))
	sums := room(&m.sums, x.block)[:t.n]
	clear(sums)
	if from := x.firstFar(tile); from <= t.last {
		x.eachSeeing(w, head, tile, from, x.receiveBlock)
	}
	for j, sum := range sums {
		x.taught.sums[(t.row+j)*x.kvHeads+head] = sum
	}
}

// receiveBlock adds the weights that the queries at hand give to a tile's tokens.
func (x *documents) receiveBlock(w *worker, head, tile int) {
	m, t, ld, n := &w.documents, x.tiles[tile], x.ld(), len(w.documents.at)
	weights := room(&m.logits, gradQueries*ld)
	x.products(w, weights, x.q, x.turned(x.keys, head, tile), t.n)

	// A softmax that has seen lse leaves e^(logit − lse), which is the weight, and their sum.
	s := &w.attend.soft
	s.ld, s.n, s.bias, s.scale = ld, t.n, x.biases(m, head, tile), x.scale
	var state [softRowsMost][2]float32
	pairs, first := x.ofPairs(head, tile), x.tiles[t.first].row
	for i := 0; i < n; i += softRowsMost {
		rows := min(softRowsMost, n-i)
		s.p = &weights[i*ld]
		for j := range rows {
			state[j] = [2]float32{x.lse[m.at[i+j]], 0}
			s.state[j] = &state[j]
		}
		x.k.softmax(s, rows)
		for j := range rows {
			pairs[(int(m.at[i+j])/x.heads-first)/x.block] += state[j][1]
		}
	}
	x.sumColumns(w, weights, t.n)
}

// settle turns what a head's tokens got into gradients and losses, document by document. With
// L_B = log Z_B, which never falls from a block to the next, the gradient of a token that is far
// from block B and those behind it is e^(s − L_B)·share_B − what it got, where
//
//	share_B = W_B + e^(L_B − L_(B+1))·share_(B+1)
//
// so that no exponent is above 0.
func (x *documents) settle(head int) {
	r, tiles := &x.taught, len(x.tiles)
	levels, shares := r.levels[head*tiles:][:tiles], r.shares[head*tiles:][:tiles]
	for tile := 0; tile < tiles; tile = x.tiles[tile].last + 1 {
		first, last := tile, x.tiles[tile].last
		begin := first + r.init + r.local + 1 // the first tile with rows that are far from a token
		if begin > last {
			continue
		}
		level := math.Inf(-1)
		for b := begin; b <= last; b++ {
			level = addLogs(level, x.logSum(head, b-r.local-1))
			levels[b] = level
		}
		var loss, weight float64
		for b := last; b >= begin; b-- {
			shares[b] = 0
			for tokens := first + r.init; tokens < b-r.local; tokens++ {
				shares[b] += float64(x.ofPairs(head, tokens)[b-first])
			}
			loss, weight = loss+shares[b]*levels[b], weight+shares[b]
			if b < last {
				shares[b] += math.Exp(levels[b]-levels[b+1]) * shares[b+1]
			}
			t := x.tiles[b-r.local-1] // full, as there are tiles behind it
			for row := t.row; row < t.row+t.n; row++ {
				at := row*x.kvHeads + head
				s, got := float64(x.score[at]), float64(r.sums[at])
				loss -= got * s
				x.ds[at] += float32(r.scale * (math.Exp(s-levels[b])*shares[b] - got))
			}
		}
		to := r.loss[2*(x.tiles[first].row*x.kvHeads+head):]
		to[0] += float32(loss)
		to[1] += float32(weight)
	}
}

// logSum is the logarithm of the sum of e^s over a tile's tokens.
func (x *documents) logSum(head, tile int) float64 {
	t, sum := x.tiles[tile], math.Inf(-1)
	for row := t.row; row < t.row+t.n; row++ {
		sum = max(sum, float64(x.score[row*x.kvHeads+head]))
	}
	top := sum
	sum = 0
	for row := t.row; row < t.row+t.n; row++ {
		sum += math.Exp(float64(x.score[row*x.kvHeads+head]) - top)
	}
	return top + math.Log(sum)
}

// addLogs is log(eᵃ + eᵇ), b finite.
func addLogs(a, b float64) float64 {
	return max(a, b) + math.Log1p(math.Exp(-math.Abs(a-b)))
}
