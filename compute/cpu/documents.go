package cpu

import (
	"math"

	"nosa/compute"
)

// documents is the task of attention over packed documents and of its gradient. What is
// shared is laid out first: keys, and for the gradient values, with the channels of a block
// one after the other, as queries are multiplied by them. Then the pieces are one KV head
// and a block: its rows as queries (documents_attend.go, and dq in documents_grad.go) or its
// rows as keys (dk, dv and ds).
//
// Bits do not depend on threads: a query takes blocks ascending, a key takes the rows that
// selected it ascending, in runs of gradQueries.
type documents struct {
	k     *kernels
	phase documentsPhase

	out, lse, q, key, value, score []float32 // score: nil without
	dq, dk, dv, ds, dout           []float32
	sel                            compute.Selection

	rows, heads, kvHeads, group, dim, block int
	scale                                   float32

	tiles  []documentTile
	keys   []float32 // [kvHeads, tiles, dim, block]: transposed
	values []float32 // the same
	means  []float32 // [rows, heads]: Σ dout·out
	users  []blockUsers
	taught received
}

// documentTile is a block: n rows from row on, of the document that begins with tile first.
type documentTile struct{ row, n, first, last int }

// blockUsers lists, for a KV head, the rows that selected each tile's block, ascending:
// those of tile i are rows[at[i]:at[i+1]].
type blockUsers struct {
	at   []int
	rows []int32
}

// documentsPhase is what the pieces are.
type documentsPhase byte

const (
	turningKeys documentsPhase = iota
	turningBoth
	attending
	meaning
	inverting
	queryGrads
	keyGrads
	receiving
	settling
)

// documentsWork is a worker's memory for documents.
type documentsWork struct {
	at      []int32      // queries at hand, row·heads + head
	state   [][2]float32 // of a piece's queries
	logits  []float32    // [queries, ld]: logits, then weights
	grads   []float32    // [queries, ld]: gradients of logits
	turnedP []float32    // [ld, gradQueries]: weights
	turnedG []float32    // [ld, gradQueries]: gradients
	q, dout []float32    // [gradQueries, dim]: those of the queries at hand
	bias    []float32    // of a block
	sums    []float32    // of a block: ds
	ones    []float32
	masks   []uint64
}

// AttendDocuments: see compute.AttendDocuments.
func (d *Device) AttendDocuments(out, lse, q, k, v, s compute.Tensor, sel compute.Selection, docs compute.Documents) {
	x := &d.documents
	x.begin(d, q, k, v, s, sel, docs)
	x.out, x.lse = out.F32()[:x.rows*x.heads*x.dim], lse.F32()[:x.rows*x.heads]
	x.do(d, turningKeys, x.kvHeads*len(x.tiles))
	x.do(d, attending, x.kvHeads*len(x.tiles))
	x.end()
}

// AttendDocumentsGrad: see compute.AttendDocumentsGrad.
func (d *Device) AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s compute.Tensor, sel compute.Selection, docs compute.Documents) {
	x := &d.documents
	x.begin(d, q, k, v, s, sel, docs)
	queries, keys := x.rows*x.heads, x.rows*x.kvHeads
	x.out, x.dout, x.lse = out.F32()[:queries*x.dim], dout.F32()[:queries*x.dim], lse.F32()[:queries]
	x.dq, x.dk, x.dv = dq.F32()[:queries*x.dim], dk.F32()[:keys*x.dim], dv.F32()[:keys*x.dim]
	if !ds.None() {
		x.ds = ds.F32()[:keys]
	}
	x.means = room(&x.means, queries)
	x.values = room(&x.values, len(x.keys))
	x.do(d, turningBoth, x.kvHeads*len(x.tiles))
	x.do(d, meaning, len(x.tiles))
	if !sel.None() {
		for len(x.users) < x.kvHeads {
			x.users = append(x.users, blockUsers{})
		}
		x.do(d, inverting, x.kvHeads)
	}
	x.do(d, queryGrads, x.kvHeads*len(x.tiles))
	x.do(d, keyGrads, x.kvHeads*len(x.tiles))
	x.end()
}

// begin takes what both ops read. A wrong shape panics here, on the caller's goroutine.
func (x *documents) begin(d *Device, q, k, v, s compute.Tensor, sel compute.Selection, docs compute.Documents) {
	x.k, x.sel = &d.kernels, sel
	x.rows, x.block, x.kvHeads = docs.Rows(), docs.Block, k.Dims[1]
	x.heads, x.dim = q.Dims[1], q.Dims[2]
	x.group, x.scale = x.heads/x.kvHeads, float32(1/math.Sqrt(float64(x.dim)))
	x.q = q.F32()[:x.rows*x.heads*x.dim]
	x.key, x.value = k.F32()[:x.rows*x.kvHeads*x.dim], v.F32()[:x.rows*x.kvHeads*x.dim]
	if !s.None() {
		x.score = s.F32()[:x.rows*x.kvHeads]
	}
	if !sel.None() {
		_, _ = sel.Count.I32()[:x.rows*x.kvHeads], sel.Blocks.I32()[:x.rows*x.kvHeads*sel.Blocks.Dims[2]]
	}
	x.tiles = x.tiles[:0]
	docs.Tiles(func(row, n, pos int) {
		x.tiles = append(x.tiles, documentTile{row: row, n: n, first: len(x.tiles) - pos/docs.Block})
	})
	for i := len(x.tiles) - 1; i >= 0; i-- {
		last := i
		if i+1 < len(x.tiles) && x.tiles[i+1].first == x.tiles[i].first {
			last = x.tiles[i+1].last
		}
		x.tiles[i].last = last
	}
	x.keys = room(&x.keys, x.kvHeads*len(x.tiles)*x.dim*x.block)
}

// end lets go of the caller's memory.
func (x *documents) end() {
	x.out, x.lse, x.q, x.key, x.value, x.score = nil, nil, nil, nil, nil, nil
	x.dq, x.dk, x.dv, x.ds, x.dout, x.taught.loss, x.sel = nil, nil, nil, nil, nil, nil, compute.Selection{}
}

func (x *documents) do(d *Device, phase documentsPhase, pieces int) {
	x.phase = phase
	d.team.do(x, pieces)
}

func (x *documents) run(w *worker, piece int) {
	head, tile := piece%x.kvHeads, piece/x.kvHeads
	switch x.phase {
	case turningKeys:
		x.turn(x.keys, x.key, head, tile)
	case turningBoth:
		x.turn(x.keys, x.key, head, tile)
		x.turn(x.values, x.value, head, tile)
	case attending: // the last rows of a document have most to do
		x.attend(w, head, len(x.tiles)-1-tile)
	case meaning:
		x.mean(piece)
	case inverting:
		x.invert(piece)
	case queryGrads:
		x.queryGrad(w, head, len(x.tiles)-1-tile)
	case keyGrads:
		x.keyGrad(w, head, tile)
	case receiving:
		x.receive(w, head, tile)
	case settling:
		x.settle(piece)
	}
}

// turned is where a block's transposed keys or values are.
func (x *documents) turned(all []float32, head, tile int) []float32 {
	size := x.dim * x.block
	return all[(head*len(x.tiles)+tile)*size:][:size]
}

// turn sets the transposed rows [dim, block] of a block.
func (x *documents) turn(dst, src []float32, head, tile int) {
	t := x.tiles[tile]
	x.k.transpose(x.turned(dst, head, tile), src[(t.row*x.kvHeads+head)*x.dim:], x.kvHeads*x.dim, t.n, x.dim, x.block)
}

// transpose sets dst[c·ld + r] to src[r·ss + c] for n rows of cols elements. It may write
// the columns that follow, up to a multiple of a sum's lanes, where dst has room for them.
func (k *kernels) transpose(dst, src []float32, ss, n, cols, ld int) {
	r := 0
	// Packing with the lanes in their order is this.
	if p := &k.many; p.lanes > 0 && cols%p.lanes == 0 {
		for ; r+p.vector <= n; r += p.vector {
			p.weights(dst[r:], src[r*ss:], ss, cols, ld, p.lanes*ld)
		}
	}
	for ; r < n; r++ {
		for c, v := range src[r*ss:][:cols] {
			dst[c*ld+r] = v
		}
	}
}

// masks are, by block of the document of a tile, the rows of the tile that selected it, a
// bit each, in words of 64 rows.
func (x *documents) masks(w *worker, head, tile int) (masks []uint64, words int) {
	t := x.tiles[tile]
	words = (t.n + 63) / 64
	masks = room(&w.documents.masks, (tile-t.first+1)*words)
	clear(masks)
	for r := range t.n {
		bit := uint64(1) << (r % 64)
		list, listed := x.list(t.row+r, head)
		if !listed {
			for b := range tile - t.first + 1 {
				masks[b*words+r/64] |= bit
			}
		}
		for _, b := range list {
			masks[int(b)*words+r/64] |= bit
		}
	}
	return masks, words
}

// list is what a row selected for a KV head, or false if it sees every block.
func (x *documents) list(row, head int) ([]int32, bool) {
	if x.sel.None() {
		return nil, false
	}
	at := row*x.kvHeads + head
	n := int(x.sel.Count.I32()[at])
	if n < 0 {
		return nil, false
	}
	return x.sel.Blocks.I32()[at*x.sel.Blocks.Dims[2]:][:n], true
}

// ld is the distance between the logits of two queries.
func (x *documents) ld() int { return (x.block + 63) &^ 63 }

// ChooseBlocks: see compute.ChooseBlocks.
func (d *Device) ChooseBlocks(sel compute.Selection, q, k, s compute.Tensor, docs compute.Documents, p compute.SelectParams) {
	compute.ChooseBlocksBy(d, sel, q, k, s, docs, p)
}
