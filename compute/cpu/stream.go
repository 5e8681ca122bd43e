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

// streamsGo are the portable kernels. They keep one lane: with several outputs at
// a time there are sums enough to fill a processor, and none is left to be added
// across lanes.
var streamsGo = streamKernels{
	least: 1, rows: []int{2, 1}, formats: map[dtype.Type][]streamFunc{dtype.F32: {stream2Go, stream1Go}},
}

// float32s views weights of format F32.
func float32s(w []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(w))), len(w)/4)
}

// The conversions forbid fusing a product with its sum, so that every processor
// gives the same bits.

func stream1Go(out []float32, _ int, x []float32, _ int, w []byte, ws, n, k int) {
	i := 0
	for ; i+4 <= n; i += 4 {
		var t0, t1, t2, t3 float32
		for from := 0; from < k; from += runLen {
			x := x[from:min(k, from+runLen)]
			w0 := float32s(w[i*ws+4*from:])[:len(x)]
			w1 := float32s(w[(i+1)*ws+4*from:])[:len(x)]
			w2 := float32s(w[(i+2)*ws+4*from:])[:len(x)]
			w3 := float32s(w[(i+3)*ws+4*from:])[:len(x)]
			var s0, s1, s2, s3 float32
			for e, a := range x {
				s0 += float32(a * w0[e])
				s1 += float32(a * w1[e])
				s2 += float32(a * w2[e])
				s3 += float32(a * w3[e])
			}
			t0, t1, t2, t3 = t0+s0, t1+s1, t2+s2, t3+s3
		}
		out[i], out[i+1], out[i+2], out[i+3] = t0, t1, t2, t3
	}
	for ; i < n; i++ {
		out[i] = dotRunsGo(x[:k], float32s(w[i*ws:])[:k])
	}
}

func stream2Go(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int) {
	i := 0
	for ; i+4 <= n; i += 4 {
		var t0, t1, t2, t3, u0, u1, u2, u3 float32
		for from := 0; from < k; from += runLen {
			to := min(k, from+runLen)
			x, y := x[from:to], x[xs+from:xs+to]
			y = y[:len(x)]
			w0 := float32s(w[i*ws+4*from:])[:len(x)]
			w1 := float32s(w[(i+1)*ws+4*from:])[:len(x)]
			w2 := float32s(w[(i+2)*ws+4*from:])[:len(x)]
			w3 := float32s(w[(i+3)*ws+4*from:])[:len(x)]
			var s0, s1, s2, s3, r0, r1, r2, r3 float32
			for e, a := range x {
				b := y[e]
				v := w0[e]
				s0 += float32(a * v)
				r0 += float32(b * v)
				v = w1[e]
				s1 += float32(a * v)
				r1 += float32(b * v)
				v = w2[e]
				s2 += float32(a * v)
				r2 += float32(b * v)
				v = w3[e]
				s3 += float32(a * v)
				r3 += float32(b * v)
			}
			t0, t1, t2, t3 = t0+s0, t1+s1, t2+s2, t3+s3
			u0, u1, u2, u3 = u0+r0, u1+r1, u2+r2, u3+r3
		}
		out[i], out[i+1], out[i+2], out[i+3] = t0, t1, t2, t3
		out[os+i], out[os+i+1], out[os+i+2], out[os+i+3] = u0, u1, u2, u3
	}
	for ; i < n; i++ {
		v := float32s(w[i*ws:])[:k]
		out[i], out[os+i] = dotRunsGo(x[:k], v), dotRunsGo(x[xs:xs+k], v)
	}
}

// dotRunsGo is one sum in the order of stream1Go.
func dotRunsGo(x, w []float32) (sum float32) {
	for from := 0; from < len(x); from += runLen {
		run := x[from:min(len(x), from+runLen)]
		v := w[from:][:len(run)]
		var s float32
		for e, a := range run {
			s += float32(a * v[e])
		}
		sum += s
	}
	return sum
}
