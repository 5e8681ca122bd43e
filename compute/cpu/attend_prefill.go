package cpu

import (
	"math/bits"

	"nosa/compute"
)

// pieceRows is the most rows of a piece: those of a mask.
const pieceRows = 64

// prefill cuts the rows so that each thread finds a few pieces, of eight rows at
// least: fewer would expand the blocks too often.
func (a *attend) prefill(d *Device) {
	cuts := (a.tile.N + pieceRows - 1) / pieceRows
	if d.threads > 1 {
		cuts = max(cuts, min((3*d.threads+a.cache.Heads-1)/a.cache.Heads, (a.tile.N+7)/8))
	}
	a.span = (a.tile.N + cuts - 1) / cuts
	cuts = (a.tile.N + a.span - 1) / a.span
	d.team.do(a, a.cache.Heads*cuts)
}

// runRows attends for rows from a first one on, for one KV head: a block is
// expanded once for all rows that selected it.
func (a *attend) runRows(w *worker, head, from int) {
	to := min(a.tile.N, from+a.span)
	masks, every := a.masks(w, head, from, to)
	var b attended
	for _, p := range a.parts {
		if p.Head != head {
			continue
		}
		for i, number := range p.Blocks {
			rows := every | masks[number]
			switch {
			case rows == 0:
			case int(number) == a.own:
				a.tail(head, &b)
				a.ownRows(w, &b, head, from, rows)
			default:
				a.expanded(w, head, int(number), p.Slots[i], &b)
				a.fullRows(w, &b, head, from, rows)
			}
		}
	}
}

// masks are, by block, the rows of a piece that selected it, a bit each, and those
// that see every block.
func (a *attend) masks(w *worker, head, from, to int) (masks []uint64, every uint64) {
	masks = room(&w.attend.masks, a.own+1)
	clear(masks)
	for r := from; r < to; r++ {
		bit := uint64(1) << (r - from)
		list, listed := a.selection(r, head)
		if !listed {
			every |= bit
		}
		for _, b := range list {
			masks[b] |= bit
		}
	}
	return masks, every
}

// ownRows adds the own block, of which each row sees another part.
func (a *attend) ownRows(w *worker, b *attended, head, from int, rows uint64) {
	first := a.tile.Pos + 1 - a.own*a.cache.Block // keys that row 0 sees
	for ; rows != 0; rows &= rows - 1 {
		r := from + bits.TrailingZeros64(rows)
		for g := 0; g < a.group; g += batchQueries {
			n := min(batchQueries, a.group-g)
			for j := range n {
				a.query(w, j, r, head*a.group+g+j)
			}
			a.add(w, b, n, first+r, false)
		}
	}
}

// fullRows adds a full block, which every row sees to its end.
func (a *attend) fullRows(w *worker, b *attended, head, from int, rows uint64) {
	n := 0
	for ; rows != 0; rows &= rows - 1 {
		r := from + bits.TrailingZeros64(rows)
		for g := range a.group {
			a.query(w, n, r, head*a.group+g)
			if n++; n == batchQueries {
				a.add(w, b, n, a.cache.Block, false)
				n = 0
			}
		}
	}
	if n > 0 {
		a.add(w, b, n, a.cache.Block, false)
	}
}

// query makes a row and query head the i-th query of w.
func (a *attend) query(w *worker, i, row, h int) {
	length := compute.StateLen(a.dim)
	w.attend.q[i] = &a.q[((a.tile.Row+row)*a.heads+h)*a.dim]
	w.attend.state[i] = a.state[(row*a.heads+h)*length:][:length]
}
