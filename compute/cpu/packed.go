package cpu

import (
	"nosa/compute"
	"nosa/dtype"
)

// Products of quantised weights in integers (compute.LinearInt). The weight is laid
// out anew once, by Load, so that a kernel reads it from front to back:
//
//	weight  panels, of 16 outputs each; outputs beyond the last are zeros
//	panel   groups of 32 along k; in formats of 256 each eighth one is preceded by
//	        a header: 16 scales float16, then (Q4_K, Q5_K) 16 scales of minima float16
//	group   code vectors, planes, scales, minima
//
// A code vector is 64 bytes [16 outputs][4 k], for the "quad" q = 0…7 of k = 4q…4q+3:
//
//	Q8_0    8 vectors: quads 0…7, codes 0…255 with 128 for zero
//	others  4 vectors: the low halves of bytes are quads 0…3, the high ones 4…7
//	Q5_*    and a plane [16][4] whose bit q is the fifth bit of quad q
//	Q6_K    and two planes [16][4]: bits 2j and 2j+1 of plane p are the upper two
//	        bits of quad 4p+j
//
// The scales of a group are 16 float16 (Q8_0, Q4_0, Q5_0), followed by 16 minima
// float16 (Q4_1, Q5_1); or 16 bytes of scales and 16 of minima (Q4_K, Q5_K); or 16
// signed bytes for k = 0…15 and 16 for k = 16…31 (Q6_K).
const (
	panelOutputs = 16
	groupLen     = dtype.GroupLen
	superGroups  = 8 // groups that share a header
)

// kind is how the products of a group become a part of the sum.
type kind uint8

const (
	kindScale   kind = iota // Q8_0, Q4_0, Q5_0: a scale
	kindMinimum             // Q4_1, Q5_1, Q4_K, Q5_K: a scale and a minimum
	kindHalves              // Q6_K: a scale for either half
	kinds
)

// packing is the layout of one format.
type packing struct {
	format dtype.Type
	kind   kind
	zero   int32 // code that stands for zero
	codes  int   // bytes of code vectors and planes in a group
	group  int   // bytes of a group
	header int   // bytes before every superGroups groups
}

var packings = map[dtype.Type]*packing{
	dtype.Q8_0: {dtype.Q8_0, kindScale, 128, 512, 512 + 32, 0},
	dtype.Q4_0: {dtype.Q4_0, kindScale, 8, 256, 256 + 32, 0},
	dtype.Q4_1: {dtype.Q4_1, kindMinimum, 0, 256, 256 + 64, 0},
	dtype.Q5_0: {dtype.Q5_0, kindScale, 16, 320, 320 + 32, 0},
	dtype.Q5_1: {dtype.Q5_1, kindMinimum, 0, 320, 320 + 64, 0},
	dtype.Q4_K: {dtype.Q4_K, kindMinimum, 0, 256, 256 + 32, 64},
	dtype.Q5_K: {dtype.Q5_K, kindMinimum, 0, 320, 320 + 32, 64},
	dtype.Q6_K: {dtype.Q6_K, kindHalves, 32, 384, 384 + 32, 32},
}

// panel is the bytes of a panel of so many groups.
func (p *packing) panel(groups int) int {
	return groups*p.group + groups/superGroups*p.header
}

// at is the place of a group in its panel.
func (p *packing) at(group int) int {
	return group*p.group + (group/superGroups+1)*p.header
}

// An opened panel is what the tile kernels read: per group 8 code vectors of a code a
// byte, whatever the format, then 16 scales float32, and in all kinds but kindScale 16
// minima or scales of the second half. Opening costs a panel's bytes once for all rows.
const openCodes = 8 * 64

func (k kind) opened() int {
	if k == kindScale {
		return openCodes + 64
	}
	return openCodes + 128
}

// form is how the codes of 32 activations are stored. A level picks what its
// instructions like to read four bytes at a time, for all outputs of a vector.
type form uint8

const (
	formBytes form = iota // int8: 32 bytes by k
	formSplit             // int16: 32 signed bytes h, 32 signed bytes l, a code being 256·h + l
	formPairs             // int16 or int8: 16-bit codes, per quad (k0, k2), (k1, k3)
)

// bytes is the size of a group of codes.
func (f form) bytes() int {
	if f == formBytes {
		return 32
	}
	return 64
}

// Rows of activations stand in tiles of 8, and at the end of 4, 2 and 1, as a kernel
// takes them together: [groups][codes of each row, then 16 bytes of each row]. The 16
// bytes are
//
//	scale   float32, of the codes
//	s0      kindScale: int32 −zero·Σ code, where the integer sum begins
//	        kindMinimum: float32 scale·Σ code, the factor of the minimum
//	        kindHalves: int32 −zero·Σ code for k = 0…15
//	s1      kindHalves: the same for k = 16…31
//	unused
const sideBytes = 16

// row is the bytes of one row's groups in any tile; tiles follow each other, so a tile
// that begins at row r begins at r·row bytes.
func (f form) row(groups int) int { return groups * (f.bytes() + sideBytes) }

// tileRows is how many rows the tile has that begins with the first of n.
func tileRows(n int) int {
	switch {
	case n >= 8:
		return 8
	case n >= 4:
		return 4
	}
	return max(1, n&2)
}

// packedKernels multiply packed weights. Every function has the bits of its portable
// twin, hence of compute.LinearInt, on every level.
type packedKernels struct {
	// form is how the level reads codes for a format.
	form func(n compute.Numerics, t dtype.Type) form

	// quantise writes one row of whole groups to its place in a tile of so many rows
	// that begins at dst.
	quantise func(dst []byte, x []float32, q *quantiser, place, tile int)

	// open expands a panel of packed groups.
	open func(p *packing, dst, src []byte, groups int)

	// tile sets 16 outputs of 8, 4, 2 or 1 rows, row r at out[r·os], to the product
	// of the rows' tile with an opened panel.
	tile func(q *quantiser, rows int, out []float32, os int, panel, tile []byte, groups int)

	// unopened is tile for 8, 4 or 2 rows and a panel that is not opened, which it reads
	// while it multiplies; nil on a level where opening costs less. scratch is of
	// fewScratch bytes.
	unopened func(p *packing, q *quantiser, rows int, out []float32, os int, src, tile, scratch []byte, groups int)

	// wide multiplies many rows; nil on a level whose tiles do that.
	wide *wideKernels

	// row sets 16 outputs a panel for all whole panels in src from a tile of one row.
	row func(p *packing, q *quantiser, out []float32, src, tile []byte, groups int)
}

// fewScratch is what unopened may write to: what groups share, 8 rows of sums, an opened
// group, and what aligns them.
const fewScratch = 128 + 8*64 + openCodes + 128 + 64

var packedGo = packedKernels{form: formGo, quantise: quantiseGo, open: openGo, tile: tileGo, unopened: unopenedGo, row: rowGo}
