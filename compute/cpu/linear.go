package cpu

import (
	"unsafe"

	"nosa/compute"
	"nosa/dtype"
)

// How Linear is cut, in float32 elements. The numbers change the time alone: a
// product of a row and an output is one call of one kernel whatever is around it.
const (
	panelElems  = 64 << 10 // expanded outputs that many rows share: 256 KiB, in L2
	stripElems  = 6 << 10  // outputs taken together by the kernel: 24 KiB, in L1
	rowsElems   = 96 << 10 // rows that pass over one panel: 384 KiB, in L2
	pieceBytes  = 16 << 10 // weights that are worth a helper's waking
	piecesEach  = 4        // pieces a thread should find, so that a late one costs little
	manyRows    = 3        // from here on the tile kernel works
	outputsUnit = 8        // outputs that the kernels like to take together
)

// linear is the task of Linear; a piece is a run of outputs, for all rows.
type linear struct {
	k      *kernels
	out, x []float32
	weight compute.Tensor
	bias   []float32

	rows, n, width int
	step           int // outputs of a piece
	rowBytes       int // of a weight
}

// Linear: see compute.Linear. Weights are expanded to float32 in panels that stay
// in the caches; the sum of each element is that of kernels.dot1.
func (d *Device) Linear(out, x, weight, bias compute.Tensor) {
	l := &d.linear
	*l = linear{k: &d.kernels, out: out.F32(), x: x.F32(), weight: weight, n: weight.Dims[0], width: weight.Stride()}
	if !bias.None() {
		l.bias = bias.F32()[:l.n]
	}
	if l.n == 0 || l.width == 0 || len(l.x) == 0 {
		compute.Linear(l.out, l.x, weight, l.bias)
		return
	}
	l.rows = len(l.x) / l.width
	l.rowBytes = len(weight.Data) / l.n
	_ = l.out[:l.rows*l.n] // a wrong shape panics here, on the caller's goroutine

	least := max(1, pieceBytes/max(1, l.rowBytes*l.rows))
	l.step = max(least, (l.n+d.threads*piecesEach-1)/(d.threads*piecesEach))
	if d.threads == 1 {
		l.step = l.n
	}
	l.step = (l.step + outputsUnit - 1) &^ (outputsUnit - 1)
	d.team.do(l, (l.n+l.step-1)/l.step)
	*l = linear{}
}

func (l *linear) run(w *worker, piece int) {
	from := piece * l.step
	to := min(l.n, from+l.step)
	elems := panelElems
	if l.rows < manyRows {
		elems = stripElems
	}
	panel := elems / l.width &^ (outputsUnit - 1)
	if panel == 0 {
		panel = outputsUnit / 2
	}
	for j := from; j < to; j += panel {
		n := min(panel, to-j)
		l.product(l.expand(w, j, n), j, n)
	}
	if l.bias == nil {
		return
	}
	for r := range l.rows {
		row := l.out[r*l.n+from : r*l.n+to]
		for i, b := range l.bias[from:to] {
			row[i] += b
		}
	}
}

// expand returns n outputs from j as float32.
func (l *linear) expand(w *worker, j, n int) []float32 {
	src := l.weight.Data[j*l.rowBytes : (j+n)*l.rowBytes]
	if l.weight.Type == dtype.F32 {
		return unsafe.Slice((*float32)(unsafe.Pointer(&src[0])), n*l.width)
	}
	dst := room(&w.panel, n*l.width)
	l.k.expand(l.weight.Type, dst, src)
	return dst
}

// product multiplies all rows by n expanded outputs, which begin at j.
func (l *linear) product(w []float32, j, n int) {
	k := l.width
	strip := max(4, stripElems/k&^3)
	block := max(manyRows, rowsElems/k/manyRows*manyRows)
	for top := 0; top < l.rows; top += block {
		end := min(l.rows, top+block)
		for i := 0; i < n; i += strip {
			m := min(strip, n-i)
			part := w[i*k : (i+m)*k]
			r := top
			for ; r+manyRows <= end; r += manyRows {
				x := l.x[r*k : (r+3)*k]
				l.k.dot3(l.out[r*l.n+j+i:], l.n, x[:k], x[k:2*k], x[2*k:], part, k, m)
			}
			for ; r < end; r++ {
				l.k.dot1(l.out[r*l.n+j+i:], l.x[r*k:(r+1)*k], part, k, m)
			}
		}
	}
}
