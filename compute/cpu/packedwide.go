package cpu

import (
	"encoding/binary"
	"math"

	"nosa/compute"
	"nosa/dtype"
)

// Products of many rows where a processor multiplies tiles of bfloat16 and sums them in
// float32. Codes of weights have at most 8 bits, and bfloat16 holds them; those of 16
// bits of activations are two numbers, 256·h and l. A sum of whole numbers below 2²⁴ is
// exact in float32, in whatever order it is made: so results have the bits of the sums
// in integers.
//
//	rows    tiles of 16: [groups][parts][16 rows][32 codes], then 16 scales float32 and
//	        16 float32 scale·Σ code, the factors of minima
//	panel   [groups][16 pairs][16 outputs][2 codes less the zero], then 16 scales
//	        float32, and in all kinds but kindScale 16 minima or scales of the second half
//
// Of every four k the pairs are k0, k2 and k1, k3; codes of a row stand in that order.
const (
	wideRows  = 16
	wideCodes = 32 * 2 // bytes of the codes of a row's group, of one part
	widePanel = 16 * 64
)

// wideKernels multiply rows sixteen at a time.
type wideKernels struct {
	// quantise writes one row of whole groups to its place in a tile that begins at dst.
	quantise func(dst []byte, x []float32, q *quantiser, place int)

	// open expands so many packed groups of a panel, the first of a header's.
	open func(p *packing, dst, src []byte, groups int)

	// tile sets 16 rows and the outputs of so many opened panels, one behind the other,
	// to the product of the rows' tile with them, or adds it when more. Row r is at
	// out[r·os]; next is the tile after it, or nil; scratch is of wideScratch bytes.
	tile func(q *quantiser, out []float32, os int, opened []byte, panels int, tile, next []byte, groups int, more bool, scratch []byte)
}

// wideScratch is what tile may write to: places for the sums of a few groups.
const wideScratch = 8<<10 + 64

var wideGo = wideKernels{quantise: quantiseWideGo, open: openWideGo, tile: tileWideGo}

// parts is how many numbers an activation's code is.
func (q *quantiser) parts() int {
	if q.numerics == compute.NumericsInt16 {
		return 2
	}
	return 1
}

// joint says whether the sum of a group's products is exact in float32, so that parts
// may be summed together; if not, sums of either part are.
func (q *quantiser) joint() bool {
	code, terms := int(math.MaxInt8)+1, groupLen
	switch q.format {
	case dtype.Q4_0:
		code = 8
	case dtype.Q4_1, dtype.Q4_K:
		code = 15
	case dtype.Q5_0:
		code = 16
	case dtype.Q5_1, dtype.Q5_K:
		code = 31
	case dtype.Q6_K:
		code, terms = 32, groupLen/2
	}
	return terms*code*q.numerics.Top() < 1<<24
}

// wideStep is the bytes of a group in a tile of rows.
func (q *quantiser) wideStep() int { return wideRows*(q.parts()*wideCodes) + 2*4*wideRows }

// wide is the bytes of an opened group.
func (k kind) wide() int { return widePanel + k.opened() - openCodes }

// brain is the upper half of a float32, of a number that has no lower one.
func brain(x int32) uint16 { return uint16(math.Float32bits(float32(x)) >> 16) }

func unbrain(b []byte) int32 {
	return int32(math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16))
}

// pairs is the place of code i among those of its group.
func pairs(i int) int { return i&^3 | i&1<<1 | i>>1&1 }

// quantiseWideGo is the portable twin of quantise.
func quantiseWideGo(dst []byte, x []float32, q *quantiser, place int) {
	var codes [groupLen]int32
	for step := q.wideStep(); len(x) >= groupLen; x, dst = x[groupLen:], dst[step:] {
		scale := compute.QuantiseGroup(&codes, x, q.numerics)
		var sum int32
		for i, c := range codes {
			sum += c
			at := place*wideCodes + 2*pairs(i)
			if q.parts() == 2 {
				high := (c + 128) &^ 255
				binary.LittleEndian.PutUint16(dst[at:], brain(high))
				c, at = c-high, at+wideRows*wideCodes
			}
			binary.LittleEndian.PutUint16(dst[at:], brain(c))
		}
		side := dst[step-2*4*wideRows+4*place:]
		binary.LittleEndian.PutUint32(side, math.Float32bits(scale))
		binary.LittleEndian.PutUint32(side[4*wideRows:], math.Float32bits(scale*float32(sum)))
	}
}

// openWideGo is the portable twin of open.
func openWideGo(p *packing, dst, src []byte, groups int) {
	var codes [openCodes]byte
	var first, second [panelOutputs]float32
	for g := range groups {
		out := dst[g*p.kind.wide():][:p.kind.wide()]
		openCodesGo(p, codes[:], src[p.at(g):][:p.group])
		for i, c := range codes { // quad, output, k of the quad
			at := i&^63<<1 | pairs(i)&2<<5 | i>>2&15<<2 | pairs(i)&1<<1
			binary.LittleEndian.PutUint16(out[at:], brain(int32(c)-p.zero))
		}
		p.scales(&first, &second, src, g)
		putFloats(out[widePanel:], &first)
		if p.kind != kindScale {
			putFloats(out[widePanel+64:], &second)
		}
	}
}

// tileWideGo is the portable twin of tile.
func tileWideGo(q *quantiser, out []float32, os int, opened []byte, panels int, tile, _ []byte, groups int, more bool, _ []byte) {
	size, step := q.kind.wide(), q.wideStep()
	for p := range panels {
		for r := range wideRows {
			sums := out[r*os+p*panelOutputs:][:panelOutputs]
			if !more {
				clear(sums)
			}
			for g := range groups {
				q.addWideGo(sums, opened[(p*groups+g)*size:][:size], tile[g*step:][:step], r)
			}
		}
	}
}

// addWideGo adds the product of one group with row r of a tile.
func (q *quantiser) addWideGo(sums []float32, in, tile []byte, r int) {
	var first, second [panelOutputs]float32
	getFloats(&first, in[widePanel:])
	if q.kind != kindScale {
		getFloats(&second, in[widePanel+64:])
	}
	side := tile[len(tile)-2*4*wideRows+4*r:]
	scale := math.Float32frombits(binary.LittleEndian.Uint32(side))
	factor := math.Float32frombits(binary.LittleEndian.Uint32(side[4*wideRows:]))
	for o := range sums {
		var sum [2]int32 // of either half
		for i := range groupLen {
			w := unbrain(in[i>>1*64+o*4+i&1*2:])
			for part := range q.parts() {
				sum[i/16] += w * unbrain(tile[(part*wideRows+r)*wideCodes+2*i:])
			}
		}
		switch q.kind {
		case kindHalves:
			sums[o] += float32(float32(sum[0]) * float32(first[o]*scale))
			sums[o] += float32(float32(sum[1]) * float32(second[o]*scale))
		default:
			sums[o] += float32(float32(sum[0]+sum[1]) * float32(first[o]*scale))
			if q.kind == kindMinimum {
				sums[o] += float32(second[o] * factor)
			}
		}
	}
}
