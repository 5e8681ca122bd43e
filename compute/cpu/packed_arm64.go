//go:build !noasm

package cpu

import (
	"nosa/compute"
	"nosa/dtype"
)

// The wrappers check the lengths that the assembly takes for granted.

var packedNEON = packedKernels{
	form: formNEON, quantise: quantiseNEON, open: openNEON, tile: tileNEON, unopened: unopenedNEON, row: rowNEON,
}

// formNEON is what SDOT reads: signed bytes.
func formNEON(n compute.Numerics, _ dtype.Type) form {
	if n == compute.NumericsInt8 {
		return formBytes
	}
	return formSplit
}

func quantiseNEON(dst []byte, x []float32, q *quantiser, place, tile int) {
	groups, size := len(x)/groupLen, q.form.bytes()
	if groups == 0 {
		return
	}
	step := tile * (size + sideBytes)
	_ = dst[groups*step-1]
	packedQuantisersNEON[q.form][q.kind](&dst[place*size], &dst[tile*size+place*sideBytes], &x[0], groups, step, float32(q.numerics.Top()), -q.zero)
}

func openNEON(p *packing, dst, src []byte, groups int) {
	_, _ = dst[groups*p.kind.opened()-1], src[p.panel(groups)-1]
	packedOpenersNEON[p.format](&dst[0], &src[0], groups)
}

// together is how many rows a routine takes at a time, of so many of a tile.
func together(f form, rows int) int {
	if f == formSplit {
		return min(rows, 2)
	}
	return min(rows, 4)
}

func tileNEON(q *quantiser, rows int, out []float32, os int, panel, tile []byte, groups int) {
	_, _, _ = out[(rows-1)*os+panelOutputs-1], panel[groups*q.kind.opened()-1], tile[rows*q.form.row(groups)-1]
	tiles := &packedTilesNEON[q.form][q.kind]
	if q.format == dtype.Q8_0 {
		tiles = &packedWholeNEON[q.form]
	}
	tiles[together(q.form, rows)](&out[0], os, &panel[0], &tile[0], groups, rows)
}

func unopenedNEON(p *packing, q *quantiser, rows int, out []float32, os int, src, tile, _ []byte, groups int) {
	_, _, _ = out[(rows-1)*os+panelOutputs-1], src[p.panel(groups)-1], tile[rows*q.form.row(groups)-1]
	packedFewNEON[p.format][q.form][together(q.form, rows)](&out[0], os, &src[0], &tile[0], groups, rows)
}

func rowNEON(p *packing, q *quantiser, out []float32, src, tile []byte, groups int) {
	panels := len(src) / p.panel(groups)
	if panels == 0 {
		return
	}
	_, _ = out[panels*panelOutputs-1], tile[q.form.row(groups)-1]
	packedRowsNEON[p.format][q.form](&out[0], &src[0], &tile[0], groups, panels)
}

var packedQuantisersNEON = [2][kinds]func(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32){
	formBytes: {kindScale: packedQuantiseBytesScaleNEON, kindMinimum: packedQuantiseBytesMinimumNEON, kindHalves: packedQuantiseBytesHalvesNEON},
	formSplit: {kindScale: packedQuantiseSplitScaleNEON, kindMinimum: packedQuantiseSplitMinimumNEON, kindHalves: packedQuantiseSplitHalvesNEON},
}

var packedOpenersNEON = [...]func(dst, src *byte, groups int){
	dtype.Q8_0: packedOpenQ8NEON,
	dtype.Q4_0: packedOpenQ4NEON,
	dtype.Q4_1: packedOpenQ41NEON,
	dtype.Q5_0: packedOpenQ5NEON,
	dtype.Q5_1: packedOpenQ51NEON,
	dtype.Q4_K: packedOpenQ4KNEON,
	dtype.Q5_K: packedOpenQ5KNEON,
	dtype.Q6_K: packedOpenQ6KNEON,
}

var packedRowsNEON = [...][2]func(out *float32, src, tile *byte, groups, panels int){
	dtype.Q8_0: {packedRowQ8BytesNEON, packedRowQ8SplitNEON},
	dtype.Q4_0: {packedRowQ4BytesNEON, packedRowQ4SplitNEON},
	dtype.Q4_1: {packedRowQ41BytesNEON, packedRowQ41SplitNEON},
	dtype.Q5_0: {packedRowQ5BytesNEON, packedRowQ5SplitNEON},
	dtype.Q5_1: {packedRowQ51BytesNEON, packedRowQ51SplitNEON},
	dtype.Q4_K: {packedRowQ4KBytesNEON, packedRowQ4KSplitNEON},
	dtype.Q5_K: {packedRowQ5KBytesNEON, packedRowQ5KSplitNEON},
	dtype.Q6_K: {packedRowQ6KBytesNEON, packedRowQ6KSplitNEON},
}

// packedFewNEON are by the number of rows; a routine takes any multiple of its own.
var packedFewNEON = [...][2][5]func(out *float32, os int, src, tile *byte, groups, rows int){
	dtype.Q8_0: {
		formBytes: {2: packedFewQ8Bytes2NEON, 4: packedFewQ8Bytes4NEON},
		formSplit: {2: packedFewQ8Split2NEON},
	},
	dtype.Q4_0: {
		formBytes: {2: packedFewQ4Bytes2NEON, 4: packedFewQ4Bytes4NEON},
		formSplit: {2: packedFewQ4Split2NEON},
	},
	dtype.Q4_1: {
		formBytes: {2: packedFewQ41Bytes2NEON, 4: packedFewQ41Bytes4NEON},
		formSplit: {2: packedFewQ41Split2NEON},
	},
	dtype.Q5_0: {
		formBytes: {2: packedFewQ5Bytes2NEON, 4: packedFewQ5Bytes4NEON},
		formSplit: {2: packedFewQ5Split2NEON},
	},
	dtype.Q5_1: {
		formBytes: {2: packedFewQ51Bytes2NEON, 4: packedFewQ51Bytes4NEON},
		formSplit: {2: packedFewQ51Split2NEON},
	},
	dtype.Q4_K: {
		formBytes: {2: packedFewQ4KBytes2NEON, 4: packedFewQ4KBytes4NEON},
		formSplit: {2: packedFewQ4KSplit2NEON},
	},
	dtype.Q5_K: {
		formBytes: {2: packedFewQ5KBytes2NEON, 4: packedFewQ5KBytes4NEON},
		formSplit: {2: packedFewQ5KSplit2NEON},
	},
	dtype.Q6_K: {
		formBytes: {2: packedFewQ6KBytes2NEON, 4: packedFewQ6KBytes4NEON},
		formSplit: {2: packedFewQ6KSplit2NEON},
	},
}

// packedTilesNEON are by the number of rows, like packedFewNEON.
var packedTilesNEON = [2][kinds][5]func(out *float32, os int, panel, tile *byte, groups, rows int){
	formBytes: {
		kindScale:   {1: packedTileScaleBytes1NEON, 2: packedTileScaleBytes2NEON, 4: packedTileScaleBytes4NEON},
		kindMinimum: {1: packedTileMinimumBytes1NEON, 2: packedTileMinimumBytes2NEON, 4: packedTileMinimumBytes4NEON},
		kindHalves:  {1: packedTileHalvesBytes1NEON, 2: packedTileHalvesBytes2NEON, 4: packedTileHalvesBytes4NEON},
	},
	formSplit: {
		kindScale:   {1: packedTileScaleSplit1NEON, 2: packedTileScaleSplit2NEON},
		kindMinimum: {1: packedTileMinimumSplit1NEON, 2: packedTileMinimumSplit2NEON},
		kindHalves:  {1: packedTileHalvesSplit1NEON, 2: packedTileHalvesSplit2NEON},
	},
}

// packedWholeNEON are those of codes that reach 255.
var packedWholeNEON = [2][5]func(out *float32, os int, panel, tile *byte, groups, rows int){
	formBytes: {1: packedTileWholeBytes1NEON, 2: packedTileWholeBytes2NEON, 4: packedTileWholeBytes4NEON},
	formSplit: {1: packedTileWholeSplit1NEON, 2: packedTileWholeSplit2NEON},
}

//go:noescape
func packedQuantiseBytesScaleNEON(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedQuantiseBytesMinimumNEON(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedQuantiseBytesHalvesNEON(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedQuantiseSplitScaleNEON(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedQuantiseSplitMinimumNEON(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedQuantiseSplitHalvesNEON(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedTileWholeBytes4NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileWholeBytes2NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileWholeBytes1NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileWholeSplit2NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileWholeSplit1NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileScaleBytes4NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileScaleBytes2NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileScaleBytes1NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileScaleSplit2NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileScaleSplit1NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileMinimumBytes4NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileMinimumBytes2NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileMinimumBytes1NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileMinimumSplit2NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileMinimumSplit1NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileHalvesBytes4NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileHalvesBytes2NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileHalvesBytes1NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileHalvesSplit2NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileHalvesSplit1NEON(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedOpenQ8NEON(dst, src *byte, groups int)

//go:noescape
func packedFewQ8Bytes4NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedFewQ8Bytes2NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedRowQ8BytesNEON(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedFewQ8Split2NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedRowQ8SplitNEON(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ4NEON(dst, src *byte, groups int)

//go:noescape
func packedFewQ4Bytes4NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedFewQ4Bytes2NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedRowQ4BytesNEON(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedFewQ4Split2NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedRowQ4SplitNEON(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ41NEON(dst, src *byte, groups int)

//go:noescape
func packedFewQ41Bytes4NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedFewQ41Bytes2NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedRowQ41BytesNEON(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedFewQ41Split2NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedRowQ41SplitNEON(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ5NEON(dst, src *byte, groups int)

//go:noescape
func packedFewQ5Bytes4NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedFewQ5Bytes2NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedRowQ5BytesNEON(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedFewQ5Split2NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedRowQ5SplitNEON(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ51NEON(dst, src *byte, groups int)

//go:noescape
func packedFewQ51Bytes4NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedFewQ51Bytes2NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedRowQ51BytesNEON(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedFewQ51Split2NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedRowQ51SplitNEON(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ4KNEON(dst, src *byte, groups int)

//go:noescape
func packedFewQ4KBytes4NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedFewQ4KBytes2NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedRowQ4KBytesNEON(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedFewQ4KSplit2NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedRowQ4KSplitNEON(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ5KNEON(dst, src *byte, groups int)

//go:noescape
func packedFewQ5KBytes4NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedFewQ5KBytes2NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedRowQ5KBytesNEON(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedFewQ5KSplit2NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedRowQ5KSplitNEON(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ6KNEON(dst, src *byte, groups int)

//go:noescape
func packedFewQ6KBytes4NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedFewQ6KBytes2NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedRowQ6KBytesNEON(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedFewQ6KSplit2NEON(out *float32, os int, src, tile *byte, groups, rows int)

//go:noescape
func packedRowQ6KSplitNEON(out *float32, src, tile *byte, groups, panels int)
