package cpu

import (
	"encoding/binary"
	"math"

	"nosa/compute"
)

// sealKernels encode blocks.
type sealKernels struct {
	// codes sets a code a byte for the values of a row, whose minimum and scale
	// are lo and scale.
	codes func(dst []byte, x []float32, lo, scale, top float32)
}

var sealGo = sealKernels{codes: codesGo}

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
	s := &d.seal
	*s = seal{k: &d.kernels, key: tail[:n], val: tail[n:], dst: c.SlotData(slot), layout: &c.Layout}
	d.team.do(s, 2)
	*s = seal{}
}

func (s *seal) run(w *worker, piece int) {
	l := s.layout
	bits := 8
	if l.Type == compute.KVQ4 {
		bits = 4
	}
	keys := l.Dim * ((l.Block*bits + 7) / 8)
	codes, pairs := s.dst[:len(s.dst)-8*(l.Dim+l.Block)], s.dst[len(s.dst)-8*(l.Dim+l.Block):]
	if piece == 0 {
		s.rows(w, bits, codes[:keys], pairs[:8*l.Dim], s.key, l.Block)
	} else {
		s.rows(w, bits, codes[keys:], pairs[8*l.Dim:], s.val, l.Dim)
	}
}

// rows encodes rows of n values.
func (s *seal) rows(w *worker, bits int, codes, pairs []byte, x []float32, n int) {
	top := float32(255)
	if bits == 4 {
		top = 15
	}
	size := (n*bits + 7) / 8
	plain := room(&w.codes, n)
	for r := range len(x) / n {
		row := x[r*n : (r+1)*n]
		lo, hi := row[0], row[0]
		for _, v := range row[1:] {
			lo, hi = min(lo, v), max(hi, v)
		}
		scale := scaleOf(lo, hi, top)
		putPair(pairs[8*r:], lo, scale)
		s.k.codes(plain, row, lo, scale, top)
		pack(bits, codes[r*size:(r+1)*size], plain)
	}
}

// scaleOf maps a range onto codes 0 to top; halves, so that no range overflows.
func scaleOf(lo, hi, top float32) float32 { return 2 * ((hi/2 - lo/2) / top) }

func putPair(b []byte, lo, scale float32) {
	binary.LittleEndian.PutUint32(b, math.Float32bits(lo))
	binary.LittleEndian.PutUint32(b[4:], math.Float32bits(scale))
}

// pack stores the codes of a row; of 4 bits, the first ones are the low halves.
func pack(bits int, dst, codes []byte) {
	if bits == 8 {
		copy(dst, codes)
		return
	}
	copy(dst, codes)
	for i, c := range codes[len(dst):] {
		dst[i] |= c << 4
	}
}

// codesGo sets one code a byte.
func codesGo(dst []byte, x []float32, lo, scale, top float32) {
	for i, v := range x {
		dst[i] = 0
		if scale == 0 {
			continue
		}
		c := math.RoundToEven(float64(v/2-lo/2) / (float64(scale) / 2))
		if c == c {
			dst[i] = uint8(min(max(c, 0), float64(top)))
		}
	}
}
