package cpu

import (
	"encoding/binary"
	"math"

	"nosa/compute"
)

// sealKernels encode blocks.
type sealKernels struct {
	// Least and greatest of each column, NaN where it has one; and a code a byte
	// for values with a minimum and a scale each.
	spans func(lo, hi, x []float32)
	codes func(dst []byte, x, lo, scale []float32, top float32)
}

var sealGo = sealKernels{spans: spansGo, codes: codesGo}

// seal is the task of Seal for a quantised block: first piece the keys, second
// the values.
type seal struct {
	k        *kernels
	key, val []float32
	dst      []byte
	layout   *compute.Layout
}

// Seal: see compute.Reference.Seal and compute.Layout.EncodeBlock, whose codes
// these are.
func (d *Device) Seal(c *compute.Cache, t compute.Tile, head int, slot int32) {
	if c.Type != compute.KVQ8 && c.Type != compute.KVQ4 {
		d.Reference.Seal(c, t, head, slot)
		return
	}
	n := c.Block * c.Dim
	tail := t.Tail.F32()[head*2*n : (head+1)*2*n]
	size := c.Slots.Stride()
	s := &d.seal
	*s = seal{k: &d.kernels, key: tail[:n], val: tail[n:], dst: c.Slots.Data[int(slot)*size:][:size], layout: &c.Layout}
	d.team.do(s, 2)
	*s = seal{}
}

func (s *seal) run(w *worker, piece int) {
	l := s.layout
	bits, top := 8, float32(255)
	if l.Type == compute.KVQ4 {
		bits, top = 4, 15
	}
	size := (l.Block*l.Dim*bits + 7) / 8
	pairs := s.dst[2*size:]
	buf := room(&w.pairs, 3*l.Dim)
	lo, hi, scale := buf[:l.Dim], buf[l.Dim:2*l.Dim], buf[2*l.Dim:]
	plain := room(&w.codes, l.Block*l.Dim)
	if piece == 0 {
		s.k.spans(lo, hi, s.key)
		for d := range lo {
			scale[d] = scaleOf(lo[d], hi[d], top)
			putPair(pairs[8*d:], lo[d], scale[d])
		}
		for t := 0; t < len(s.key); t += l.Dim {
			s.k.codes(plain[t:t+l.Dim], s.key[t:t+l.Dim], lo, scale, top)
		}
		pack(bits, s.dst[:size], plain)
		return
	}
	pairs = pairs[8*l.Dim:]
	for t := range l.Block {
		row := s.val[t*l.Dim:][:l.Dim]
		least, most := row[0], row[0]
		for _, x := range row[1:] {
			least, most = min(least, x), max(most, x)
		}
		step := scaleOf(least, most, top)
		putPair(pairs[8*t:], least, step)
		for d := range lo {
			lo[d], scale[d] = least, step
		}
		s.k.codes(plain[t*l.Dim:][:l.Dim], row, lo, scale, top)
	}
	pack(bits, s.dst[size:2*size], plain)
}

// scaleOf maps a range onto codes 0 to top; halves, so that no range overflows.
func scaleOf(lo, hi, top float32) float32 { return 2 * ((hi/2 - lo/2) / top) }

func putPair(b []byte, lo, scale float32) {
	binary.LittleEndian.PutUint32(b, math.Float32bits(lo))
	binary.LittleEndian.PutUint32(b[4:], math.Float32bits(scale))
}

// pack stores codes, of which two of 4 bits share a byte.
func pack(bits int, dst, codes []byte) {
	if bits == 8 {
		copy(dst, codes)
		return
	}
	for i := range dst[:len(codes)/2] {
		dst[i] = codes[2*i] | codes[2*i+1]<<4
	}
	if n := len(codes); n%2 == 1 {
		dst[n/2] = dst[n/2]&0xf0 | codes[n-1]
	}
}

// spansGo sets the least and the greatest of each column of x.
func spansGo(lo, hi, x []float32) {
	dim := len(lo)
	copy(lo, x)
	copy(hi, x)
	for at := dim; at < len(x); at += dim {
		for d, v := range x[at : at+dim] {
			lo[d], hi[d] = min(lo[d], v), max(hi[d], v)
		}
	}
}

// codesGo sets one code a byte.
func codesGo(dst []byte, x, lo, scale []float32, top float32) {
	for i, v := range x {
		dst[i] = 0
		if scale[i] == 0 {
			continue
		}
		c := math.RoundToEven(float64(v/2-lo[i]/2) / (float64(scale[i]) / 2))
		if c == c {
			dst[i] = uint8(min(max(c, 0), float64(top)))
		}
	}
}
