package cpu

import (
	"nosa/compute"
)

// How products of many rows are cut. The numbers change the time alone.
const (
	blockBytes  = 640 << 10 // codes of rows that pass over one panel: they stay in L2
	quantisePer = 4 << 10   // activations that are worth a helper's waking
	fewRows     = 32        // up to here opening a panel takes longer than reading it so often
)

// packedLinear is the task of Linear for quantised weights; a piece is a run of
// panels, for all rows, or, while the activations are made codes, a run of rows.
type packedLinear struct {
	k      *kernels
	layout *packing
	q      quantiser
	out, x []float32
	bias   []float32
	weight compute.Tensor
	panels []byte // nil: the weight was not loaded, and is packed on its way
	codes  []byte // all rows

	rows, n, groups int
	rowBytes        int // of a weight in its file
	step            int // of a piece
	quantising      bool
	wide            bool // rows stand in tiles of 16
}

// linearPacked is Linear for a quantised weight: see compute.LinearInt.
func (d *Device) linearPacked(out, x []float32, weight compute.Tensor, bias []float32) {
	l := &d.packedLinear
	layout := packings[weight.Type]
	*l = packedLinear{k: &d.kernels, layout: layout, out: out, x: x, bias: bias, weight: weight, n: weight.Dims[0]}
	k := weight.Stride()
	l.rows, l.groups, l.rowBytes = len(x)/k, k/groupLen, len(weight.Data)/l.n
	_ = out[:l.rows*l.n] // a wrong shape panics here, on the caller's goroutine
	l.q = quantiser{numerics: d.numerics, format: weight.Type, form: d.kernels.form(d.numerics, weight.Type), kind: layout.kind, zero: layout.zero}
	if p := d.packed.find(weight); p != nil {
		l.panels = p.data
	}
	l.wide = l.takesWide()
	l.codes = room(&d.codes, l.rowCodes())

	l.quantising, l.step = true, wideRows*max(1, quantisePer/wideRows/k)
	d.team.do(l, (l.rows+l.step-1)/l.step)

	panels := (l.n + panelOutputs - 1) / panelOutputs
	least := max(1, pieceBytes/max(1, layout.panel(l.groups)*l.rows))
	l.quantising, l.step = false, max(least, (panels+d.threads*piecesEach-1)/(d.threads*piecesEach))
	if d.threads == 1 {
		l.step = panels
	}
	d.team.do(l, (panels+l.step-1)/l.step)
	*l = packedLinear{}
}

func (l *packedLinear) run(w *worker, piece int) {
	from := piece * l.step
	if to := min(l.rows, from+l.step); l.quantising && l.wide {
		l.quantiseWide(from, to)
		return
	} else if l.quantising {
		l.quantise(from, to)
		return
	}
	to := min((l.n+panelOutputs-1)/panelOutputs, from+l.step)
	switch {
	case l.rows == 1:
		l.one(w, from, to)
	case l.wide:
		l.wideTiles(w, from, to)
	case l.rows <= fewRows && l.k.unopened != nil:
		l.few(w, from, to)
	default:
		l.many(w, from, to)
	}
	if l.bias == nil {
		return
	}
	first, last := from*panelOutputs, min(l.n, to*panelOutputs)
	for r := range l.rows {
		row := l.out[r*l.n+first : r*l.n+last]
		for i, b := range l.bias[first:last] {
			row[i] += b
		}
	}
}

// quantise makes rows from … to−1 codes; from is the first of a tile.
func (l *packedLinear) quantise(from, to int) {
	k, size := l.groups*groupLen, l.q.form.row(l.groups)
	for top := from; top < to; {
		tile := tileRows(l.rows - top)
		dst := l.codes[top*size : (top+tile)*size]
		for r := range tile {
			l.k.quantise(dst, l.x[(top+r)*k:(top+r+1)*k], &l.q, r, tile)
		}
		top += tile
	}
}

// panel is the packed bytes of a panel.
func (l *packedLinear) panel(w *worker, p int) []byte {
	size := l.layout.panel(l.groups)
	if l.panels != nil {
		return l.panels[p*size : (p+1)*size]
	}
	first := p * panelOutputs
	n := min(panelOutputs, l.n-first)
	dst := room(&w.packed, size)
	l.layout.pack(dst, l.weight.Data[first*l.rowBytes:(first+n)*l.rowBytes], l.rowBytes, n, l.groups)
	return dst
}

// one multiplies a single row: every byte of the weight is read once.
func (l *packedLinear) one(w *worker, from, to int) {
	whole := min(to, l.n/panelOutputs)
	if l.panels != nil && from < whole {
		size := l.layout.panel(l.groups)
		l.k.row(l.layout, &l.q, l.out[from*panelOutputs:whole*panelOutputs], l.panels[from*size:whole*size], l.codes, l.groups)
		from = whole
	}
	for p := from; p < to; p++ {
		l.k.row(l.layout, &l.q, w.outputs[:panelOutputs], l.panel(w, p), l.codes, l.groups)
		copy(l.out[p*panelOutputs:l.n], w.outputs[:panelOutputs])
	}
}

// few multiplies some rows by packed panels: opening them would take as long.
func (l *packedLinear) few(w *worker, from, to int) {
	scratch := room(&w.opened, fewScratch)
	size := l.q.form.row(l.groups)
	for p := from; p < to; p++ {
		panel, at := l.panel(w, p), p*panelOutputs
		n := min(panelOutputs, l.n-at)
		for r := 0; r < l.rows; {
			tile := tileRows(l.rows - r)
			codes := l.codes[r*size : (r+tile)*size]
			out, os := l.out[r*l.n+at:], l.n
			if n < panelOutputs {
				out, os = w.outputs[:], panelOutputs
			}
			if tile == 1 {
				l.k.row(l.layout, &l.q, out[:panelOutputs], panel, codes, l.groups)
			} else {
				l.k.unopened(l.layout, &l.q, tile, out, os, panel, codes, scratch, l.groups)
			}
			if n < panelOutputs {
				for i := range tile {
					copy(l.out[(r+i)*l.n+at:(r+i+1)*l.n], w.outputs[i*panelOutputs:])
				}
			}
			r += tile
		}
	}
}

// many multiplies all rows, in blocks that stay in a cache, by one panel after the
// other.
func (l *packedLinear) many(w *worker, from, to int) {
	size := l.q.form.row(l.groups)
	opened := room(&w.opened, l.groups*l.layout.kind.opened())
	block := max(8, blockBytes/size&^7)
	for top := 0; top < l.rows; top += block {
		end := min(l.rows, top+block)
		for p := from; p < to; p++ {
			l.k.open(l.layout, opened, l.panel(w, p), l.groups)
			at := p * panelOutputs
			n := min(panelOutputs, l.n-at)
			for r := top; r < end; {
				tile := tileRows(l.rows - r)
				codes := l.codes[r*size : (r+tile)*size]
				if n == panelOutputs {
					l.k.tile(&l.q, tile, l.out[r*l.n+at:], l.n, opened, codes, l.groups)
				} else {
					l.k.tile(&l.q, tile, w.outputs[:], panelOutputs, opened, codes, l.groups)
					for i := range tile {
						copy(l.out[(r+i)*l.n+at:(r+i+1)*l.n], w.outputs[i*panelOutputs:])
					}
				}
				r += tile
			}
		}
	}
}
