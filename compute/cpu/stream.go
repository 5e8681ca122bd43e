package cpu

import (
	"unsafe"

	"nosa/dtype"
)

// Products of few rows read each weight once, in the format that it is kept in,
// and expand it in registers: a decode step is bound by that reading. The order of
// summation stands in panel.go.

// streamFunc sets out[r·os + i] = x[r·xs:] · w[i·ws:] for its number of rows and
// for n outputs; rows of weights begin ws bytes apart and have k elements.
type streamFunc func(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

// streamKernels are a level's kernels for weights as they lie, by format; rows says
// for how many rows each of them is, from the most down to one.
type streamKernels struct {
	least   int // elements of a sum, of any format but F32
	rows    []int
	formats map[dtype.Type][]streamFunc
}

// streams reports whether weights of a format are read as they lie.
func (s *streamKernels) streams(t dtype.Type, k int) bool {
	return s.formats[t] != nil && (t == dtype.F32 || k >= s.least)
}

// stream multiplies any number of rows: see streamFunc.
func (s *streamKernels) stream(t dtype.Type, rows int, out []float32, os int, x []float32, xs int, w []byte, ws, n, k int) {
	size, err := t.Size(k)
	if err != nil || n == 0 {
		return
	}
	// What the kernels take for granted.
	_, _, _ = out[(rows-1)*os+n-1], x[(rows-1)*xs+k-1], w[(n-1)*ws+size-1]
	r := 0
	for i, f := range s.formats[t] {
		for m := s.rows[i]; rows-r >= m; r += m {
			f(out[r*os:], os, x[r*xs:], xs, w, ws, n, k)
		}
	}
}

// streamsGo are the portable kernels. They keep one lane: with four outputs at a
// time there are sums enough to fill a processor, and none is left to be added
// across lanes.
var streamsGo = streamKernels{least: 1, rows: []int{1}, formats: map[dtype.Type][]streamFunc{dtype.F32: {streamGo}}}

// float32s views weights of format F32.
func float32s(w []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(w))), len(w)/4)
}

func streamGo(out []float32, _ int, x []float32, _ int, w []byte, ws, n, k int) {
	i := 0
	for ; i+4 <= n; i += 4 {
		var t0, t1, t2, t3 float32
		for from := 0; from < k; from += runLen {
			to := min(k, from+runLen)
			s0, s1, s2, s3 := dot4Go(x[from:to], float32s(w[i*ws+4*from:]), float32s(w[(i+1)*ws+4*from:]),
				float32s(w[(i+2)*ws+4*from:]), float32s(w[(i+3)*ws+4*from:]))
			t0, t1, t2, t3 = t0+s0, t1+s1, t2+s2, t3+s3
		}
		out[i], out[i+1], out[i+2], out[i+3] = t0, t1, t2, t3
	}
	for ; i < n; i++ {
		var t float32
		for from := 0; from < k; from += runLen {
			v := float32s(w[i*ws+4*from:])
			s, _, _, _ := dot4Go(x[from:min(k, from+runLen)], v, v, v, v)
			t += s
		}
		out[i] = t
	}
}

// dot4Go is a function of its own so that its sums have registers. The conversions
// forbid fusing a product with its sum, so that every processor gives the same bits.
//
//go:noinline
func dot4Go(x, w0, w1, w2, w3 []float32) (s0, s1, s2, s3 float32) {
	w0, w1, w2, w3 = w0[:len(x)], w1[:len(x)], w2[:len(x)], w3[:len(x)]
	for e, a := range x {
		s0 += float32(a * w0[e])
		s1 += float32(a * w1[e])
		s2 += float32(a * w2[e])
		s3 += float32(a * w3[e])
	}
	return s0, s1, s2, s3
}
