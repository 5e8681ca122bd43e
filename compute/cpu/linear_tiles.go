package cpu

import "nosa/dtype"

// tiles is Linear for many rows: pass by pass, rows are packed, and then strips
// of outputs, each for all rows of the pass.
func (d *Device) tiles(l *linear) {
	for ; l.top < l.rows; l.top += l.pass {
		l.pass = min(passRows, l.rows-l.top)
		runs := (l.width + runLen - 1) / runLen
		l.packed = room(&d.team.workers[0].rowPack, runs*l.runSize())
		eights := (l.pass + 7) / 8
		l.phase, l.eights = packingRows, (eights+d.threads*piecesEach-1)/(d.threads*piecesEach)
		d.team.do(l, (eights+l.eights-1)/l.eights)
		l.phase = inTiles
		d.team.do(l, (l.n+l.step-1)/l.step)
	}
}

// runs calls f for every run of the sums: its first element, its length and its
// steps.
func (l *linear) runs(f func(from, k, steps int)) {
	for from := 0; from < l.width; from += runLen {
		k := min(runLen, l.width-from)
		f(from, k, (k+l.k.many.lanes-1)/l.k.many.lanes)
	}
}

// lanePad is left between the lanes of packed rows and weights: else those of a
// long run would lie a multiple of the first cache's ways apart.
const lanePad = 16

// runSize is the room that a run of the pass's rows takes at most.
func (l *linear) runSize() int {
	steps := (min(runLen, l.width) + l.k.many.lanes - 1) / l.k.many.lanes
	return (l.pass + groupRows - 1) / groupRows * l.k.many.lanes * (groupRows*steps + lanePad)
}

// group is where a run's rows lie that pass over a strip together, from row on,
// and how far apart their lanes are; rows are filled up to eight.
func (l *linear) group(row, from, steps int) (at []float32, lane int) {
	rows := min(groupRows, (l.pass-row+7)&^7)
	at = l.packed[from/runLen*l.runSize()+row/groupRows*l.k.many.lanes*(groupRows*steps+lanePad):]
	return at, rows*steps + lanePad
}

// packRows packs eight rows.
func (l *linear) packRows(w *worker, first int) {
	k := &l.k.many
	rows := min(8, l.pass-first)
	src := l.x[(l.top+first)*l.width:][:rows*l.width]
	if rows < 8 {
		full := room(&w.spare, 8*l.width)
		clear(full[copy(full, src):])
		src = full
	}
	begin := first / groupRows * groupRows
	l.runs(func(from, length, steps int) {
		at, lane := l.group(begin, from, steps)
		k.rows(at[(first-begin)*steps:], src[from:], l.width, length, lane)
	})
}

// strips multiplies the pass's rows by outputs from to to−1.
func (l *linear) strips(w *worker, from, to int) {
	k := &l.k.many
	for j := from; j < to; j += k.most * k.vector {
		n := min(k.most*k.vector, to-j)
		vectors := (n + k.vector - 1) / k.vector
		width := vectors * k.vector
		l.runs(func(e, length, steps int) {
			panel := room(&w.panel, k.lanes*(steps*width+lanePad))
			for i := 0; i < width; i += k.vector {
				src, ss := l.outputs(w, j+i, min(k.vector, n-i), e, length)
				k.weights(panel[i:], src, ss, length, steps*width+lanePad, width)
			}
			for row := 0; row < l.pass; row += groupRows {
				rows, lane := l.group(row, e, steps)
				l.multiply(w, rows, lane, panel, row, j, n, steps, e > 0)
			}
		})
	}
}

// outputs returns elements e to e+length−1 of n outputs from j on as float32, in
// rows that begin ss apart; those that are missing of a vector are 0.
func (l *linear) outputs(w *worker, j, n, e, length int) (rows []float32, ss int) {
	vector := l.k.many.vector
	if n == vector && l.weight.Type == dtype.F32 {
		return float32s(l.weight.Data[j*l.rowBytes:][:n*l.rowBytes])[e:], l.width
	}
	rows = room(&w.spare, vector*length)
	clear(rows[n*length:])
	if length == l.width && n > 0 {
		l.k.expand(l.weight.Type, rows[:n*length], l.weight.Data[j*l.rowBytes:][:n*l.rowBytes])
		return rows, length
	}
	for i := range n {
		at, err := l.weight.Type.Size(e)
		size, err2 := l.weight.Type.Size(length)
		if err != nil || err2 != nil {
			panic("cpu: a run of weights is not whole blocks")
		}
		l.k.expand(l.weight.Type, rows[i*length:][:length], l.weight.Data[(j+i)*l.rowBytes+at:][:size])
	}
	return rows, length
}

// multiply adds a group's products with a strip to the results, lane after lane;
// the first run's first lane sets them. Tiles that reach beyond the rows or the
// outputs go by way of a buffer.
func (l *linear) multiply(w *worker, rows []float32, lane int, panel []float32, row, j, n, steps int, add bool) {
	k := &l.k.many
	vectors := (n + k.vector - 1) / k.vector
	width := vectors * k.vector
	whole := min(groupRows, l.pass-row) / k.tile
	if n != width {
		whole = 0
	}
	out := l.out[(l.top+row)*l.n+j:]
	if whole > 0 {
		l.lanes(out, l.n, vectors, rows, panel, lane, steps, whole, add)
	}
	first := whole * k.tile
	left := min(groupRows, l.pass-row) - first
	if left == 0 {
		return
	}
	rest := (left + k.tile - 1) / k.tile
	buf := room(&w.edge, rest*k.tile*width)
	if add {
		for r := range left {
			copy(buf[r*width:], out[(first+r)*l.n:][:n])
		}
	}
	l.lanes(buf, width, vectors, rows[first*steps:], panel, lane, steps, rest, add)
	for r := range left {
		copy(out[(first+r)*l.n:][:n], buf[r*width:])
	}
}

// lanes takes a strip's lanes one after the other.
func (l *linear) lanes(c []float32, ldc, vectors int, rows, panel []float32, lane, steps, tiles int, add bool) {
	size := steps*vectors*l.k.many.vector + lanePad
	for i := range l.k.many.lanes {
		more := 1
		if i == 0 && !add {
			more = 0
		}
		l.k.many.panel(vectors, c, ldc, rows[i*lane:], panel[i*size:], steps, tiles, more)
	}
}
