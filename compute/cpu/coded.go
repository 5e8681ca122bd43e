package cpu

import (
	"math"
	"unsafe"
)

// Blocks of codes of 8 and 4 bits are multiplied in integers: with a code c of row r
// standing for lo[r] + s[r]·c,
//
//	Σ a[r]·(lo[r] + s[r]·c[r, j]) = Σ a[r]·lo[r] + Σ (a[r]·s[r])·c[r, j]
//
// where the first sum is one number a row of a, and a·s becomes codes of 16 bits,
// to one part in 65,278 of its largest value: 128 times as fine as a block's finest.
// Turning every code into a float32 instead takes longer than reading it.

const (
	// codedTop is the largest code of a·s: a signed byte, 256 times, and another one.
	codedTop = 127*256 + 127
	// codedDepth is the most rows whose sum an int32 holds.
	codedDepth = math.MaxInt32 / (codedTop * 255)
	// codedLeast: a row whose values are all smaller has codes of 0 alone.
	codedLeast = 1e-30
	// codedStep is the multiple that a block's sides must be of, codedMost their most.
	codedStep = 64
	codedMost = codedDepth / codedStep * codedStep
	// codedRows is the rows of the tallest product of codes.
	codedRows = 3
)

// codedRow is a row of a product as codes: a code stands for scale times itself; base
// is Σ a·lo, and not a number if any a·s is infinite or not a number. With AVX-512 a
// code is 256·high + low. The assembly reads the fields by their names.
type codedRow struct {
	scaled    [codedMost]float32 // a·s, while it is made codes
	codes     [codedMost]int16
	high, low [codedMost]int8
	scale     float32
	base      float32
}

// codeRowsGo makes m rows of a of p codes.
func codeRowsGo(p *product, rows *[codedRows]codedRow, m int) {
	for i := range m {
		codeRow(p, i, &rows[i])
	}
}

// codeRow's sum runs in 16 lanes, as that of the assembly.
func codeRow(p *product, i int, r *codedRow) {
	a := unsafe.Slice(p.a[i], p.depth)
	pairs := unsafe.Slice((*float32)(p.pairs), 2*p.depth)
	var lanes [16]float32
	var top float32
	for k, v := range a {
		x := v * pairs[2*k+1]
		r.scaled[k] = x
		y := float32(v * pairs[2*k])
		lanes[k%16] += y + float32(x*0)
		top = max(top, float32(math.Abs(float64(x))))
	}
	for n := 8; n > 0; n /= 2 {
		for k := range n {
			lanes[k] += lanes[k+n]
		}
	}
	r.base = lanes[0]
	var inverse float32
	r.scale = 0
	if top >= codedLeast {
		inverse, r.scale = codedTop/top, top/codedTop
	}
	for k := range a {
		q := int32(math.RoundToEven(float64(float32(r.scaled[k] * inverse))))
		r.codes[k], r.high[k], r.low[k] = int16(q), int8((q+128)>>8), int8(q)
	}
}

// codedGo is c = c·decay + a·b for m rows of codes and a matrix of codes.
func codedGo(bits int, p *product, rows *[codedRows]codedRow, m int) {
	for i := range m {
		r, c := &rows[i], unsafe.Slice(p.c[i], p.cols)
		for j := range c {
			var sum int32
			for k := range p.depth {
				row := unsafe.Slice((*byte)(unsafe.Add(p.b, k*p.stride)), p.cols*bits/8)
				sum += int32(r.codes[k]) * int32(code(bits, row, j))
			}
			v := float32(float32(sum)*r.scale) + r.base
			if p.fresh == 0 {
				v += float32(c[j] * p.decay[i])
			}
			c[j] = v
		}
	}
}
