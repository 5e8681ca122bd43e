package cpu

import (
	"unsafe"

	"nosa/compute"
	"nosa/dtype"
)

// How Linear is cut, in float32 elements. The numbers change the time alone: the
// order of a sum is the kernels' (panel.go).
const (
	stripElems  = 6 << 10  // expanded outputs that few rows share: 24 KiB, in the first cache
	pieceBytes  = 16 << 10 // weights that are worth a helper's waking
	piecesEach  = 4        // pieces a thread should find, so that a late one costs little
	groupRows   = 64       // rows that pass over one lane of a strip
	passRows    = 512      // rows that are packed together
	outputsUnit = 8        // outputs that the kernels like to take together
)

// linear is the task of Linear; a piece is a run of outputs, for all rows, or,
// while rows are packed for tiles, a run of rows.
type linear struct {
	k      *kernels
	out, x []float32
	weight compute.Tensor
	bias   []float32

	rows, n, width int
	step           int // outputs of a piece
	rowBytes       int // of a weight

	phase  phase
	packed []float32 // rows of this pass, for tiles
	top    int       // the first of them
	pass   int       // their number
	eights int       // eights of rows of a piece that packs
}

// phase is what the pieces of a Linear are.
type phase byte

const (
	streamingRows phase = iota // few rows, or a level without tiles
	packingRows
	inTiles
)

// Linear: see compute.Linear. Few rows read the weights as they lie; many rows
// have weights expanded and packed, strip by strip, so that they stay in the
// caches. Both give the same bits.
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
	if d.packable(weight.Type, l.width) {
		d.linearPacked(l.out, l.x, weight, l.bias)
		*l = linear{}
		return
	}

	many := d.kernels.many.lanes > 0 && l.rows >= d.kernels.many.least
	least := max(1, pieceBytes/max(1, l.rowBytes*l.rows))
	l.step = max(least, (l.n+d.threads*piecesEach-1)/(d.threads*piecesEach))
	l.step = (l.step + outputsUnit - 1) &^ (outputsUnit - 1)
	if many { // a strip is work enough, and pieces may be smaller
		strip := d.kernels.many.most * d.kernels.many.vector
		l.step = max(1, l.n/(4*piecesEach*d.threads)/strip) * strip
	}
	if d.threads == 1 {
		l.step = l.n
	}
	if many {
		d.tiles(l)
	} else {
		d.team.do(l, (l.n+l.step-1)/l.step)
	}
	*l = linear{}
}

func (l *linear) run(w *worker, piece int) {
	if l.phase == packingRows {
		for r := piece * l.eights; r < min((l.pass+7)/8, (piece+1)*l.eights); r++ {
			l.packRows(w, 8*r)
		}
		return
	}
	from := piece * l.step
	to := min(l.n, from+l.step)
	rows, top := l.rows, 0
	if l.phase == inTiles {
		rows, top = l.pass, l.top
		l.strips(w, from, to)
	} else {
		l.streamRows(w, from, to)
	}
	if l.bias == nil {
		return
	}
	for r := top; r < top+rows; r++ {
		row := l.out[r*l.n+from : r*l.n+to]
		for i, b := range l.bias[from:to] {
			row[i] += b
		}
	}
}

// streamRows multiplies all rows by outputs from to to−1, a strip at a time, so
// that rows beyond the first few find it in the caches.
func (l *linear) streamRows(w *worker, from, to int) {
	direct := l.k.few.streams(l.weight.Type, l.width)
	strip := to - from
	if !direct || l.rows > l.k.few.rows[0] {
		strip = max(outputsUnit, stripElems/l.width&^(outputsUnit-1))
	}
	for j := from; j < to; j += strip {
		n := min(strip, to-j)
		src := l.weight.Data[j*l.rowBytes : (j+n)*l.rowBytes]
		t, size := l.weight.Type, l.rowBytes
		if !direct {
			dst := room(&w.panel, n*l.width)
			l.k.expand(t, dst, src)
			t, size, src = dtype.F32, 4*l.width, bytesOf(dst)
		}
		l.k.few.stream(t, l.rows, l.out[j:], l.n, l.x, l.width, src, size, n, l.width)
	}
}

// bytesOf views float32s as bytes.
func bytesOf(v []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}
