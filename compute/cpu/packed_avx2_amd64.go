//go:build !noasm

package cpu

import (
	"nosa/compute"
	"nosa/dtype"
)

// The wrappers check the lengths that the assembly takes for granted.

var packedAVX2 = packedKernels{
	form: formAVX2, quantise: quantiseAVX2, open: openAVX2, tile: tileAVX2, unopened: unopenedAVX2, row: rowAVX2,
}

// formAVX2 is signed bytes for VPMADDUBSW, whose sums of two products are of 16 bits;
// codes of 8 bits would exceed them, and those of 6 nearly do with 16 bits of
// activations: they are multiplied as words by VPMADDWD.
func formAVX2(n compute.Numerics, t dtype.Type) form {
	switch {
	case t == dtype.Q8_0, t == dtype.Q6_K && n == compute.NumericsInt16:
		return formPairs
	case n == compute.NumericsInt8:
		return formBytes
	}
	return formSplit
}

func quantiseAVX2(dst []byte, x []float32, q *quantiser, place, tile int) {
	groups, size := len(x)/groupLen, q.form.bytes()
	if groups == 0 {
		return
	}
	step := tile * (size + sideBytes)
	_ = dst[groups*step-1]
	packedQuantisersAVX2[q.form][q.kind](&dst[place*size], &dst[tile*size+place*sideBytes], &x[0], groups, step, float32(q.numerics.Top()), -q.zero)
}

func openAVX2(p *packing, dst, src []byte, groups int) {
	_, _ = dst[groups*p.kind.opened()-1], src[p.panel(groups)-1]
	packedOpenersAVX2[p.format](&dst[0], &src[0], groups)
}

func tileAVX2(q *quantiser, rows int, out []float32, os int, panel, tile []byte, groups int) {
	_, _, _ = out[(rows-1)*os+panelOutputs-1], panel[groups*q.kind.opened()-1], tile[rows*q.form.row(groups)-1]
	packedTilesAVX2[q.format][q.form][min(rows, 4)](&out[0], os, &panel[0], &tile[0], groups, rows)
}

func unopenedAVX2(p *packing, q *quantiser, rows int, out []float32, os int, src, tile, scratch []byte, groups int) {
	_, _, _, _ = out[(rows-1)*os+panelOutputs-1], src[p.panel(groups)-1], tile[rows*q.form.row(groups)-1], scratch[fewScratch-1]
	packedFewAVX2[p.format][q.form][min(rows, 4)](&out[0], os, &src[0], &tile[0], groups, rows, &scratch[0])
}

func rowAVX2(p *packing, q *quantiser, out []float32, src, tile []byte, groups int) {
	panels := len(src) / p.panel(groups)
	if panels == 0 {
		return
	}
	_, _ = out[panels*panelOutputs-1], tile[q.form.row(groups)-1]
	packedRowsAVX2[p.format][q.form](&out[0], &src[0], &tile[0], groups, panels)
}

var packedQuantisersAVX2 = [3][kinds]func(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32){
	formBytes: {kindScale: packedQuantiseBytesScaleAVX2, kindMinimum: packedQuantiseBytesMinimumAVX2, kindHalves: packedQuantiseBytesHalvesAVX2},
	formSplit: {kindScale: packedQuantiseSplitScaleAVX2, kindMinimum: packedQuantiseSplitMinimumAVX2, kindHalves: packedQuantiseSplitHalvesAVX2},
	formPairs: {kindScale: packedQuantisePairsScaleAVX2, kindHalves: packedQuantisePairsHalvesAVX2},
}

var packedOpenersAVX2 = [...]func(dst, src *byte, groups int){
	dtype.Q8_0: packedOpenQ8AVX2,
	dtype.Q4_0: packedOpenQ4AVX2,
	dtype.Q4_1: packedOpenQ41AVX2,
	dtype.Q5_0: packedOpenQ5AVX2,
	dtype.Q5_1: packedOpenQ51AVX2,
	dtype.Q4_K: packedOpenQ4KAVX2,
	dtype.Q5_K: packedOpenQ5KAVX2,
	dtype.Q6_K: packedOpenQ6KAVX2,
}

var packedRowsAVX2 = [...][3]func(out *float32, src, tile *byte, groups, panels int){
	dtype.Q8_0: {formPairs: packedRowQ8PairsAVX2},
	dtype.Q4_0: {formBytes: packedRowQ4BytesAVX2, formSplit: packedRowQ4SplitAVX2},
	dtype.Q4_1: {formBytes: packedRowQ41BytesAVX2, formSplit: packedRowQ41SplitAVX2},
	dtype.Q5_0: {formBytes: packedRowQ5BytesAVX2, formSplit: packedRowQ5SplitAVX2},
	dtype.Q5_1: {formBytes: packedRowQ51BytesAVX2, formSplit: packedRowQ51SplitAVX2},
	dtype.Q4_K: {formBytes: packedRowQ4KBytesAVX2, formSplit: packedRowQ4KSplitAVX2},
	dtype.Q5_K: {formBytes: packedRowQ5KBytesAVX2, formSplit: packedRowQ5KSplitAVX2},
	dtype.Q6_K: {formBytes: packedRowQ6KBytesAVX2, formPairs: packedRowQ6KPairsAVX2},
}

// packedTilesAVX2 are by the number of rows; a routine takes any multiple of its own.
var packedTilesAVX2 = [...][3][5]func(out *float32, os int, panel, tile *byte, groups, rows int){
	dtype.Q8_0: {
		formPairs: {1: packedTileQ8Pairs1AVX2, 2: packedTileQ8Pairs2AVX2, 4: packedTileQ8Pairs4AVX2},
	},
	dtype.Q4_0: {
		formBytes: {1: packedTileQ4Bytes1AVX2, 2: packedTileQ4Bytes2AVX2, 4: packedTileQ4Bytes4AVX2},
		formSplit: {1: packedTileQ4Split1AVX2, 2: packedTileQ4Split2AVX2, 4: packedTileQ4Split2AVX2},
	},
	dtype.Q4_1: {
		formBytes: {1: packedTileQ41Bytes1AVX2, 2: packedTileQ41Bytes2AVX2, 4: packedTileQ41Bytes4AVX2},
		formSplit: {1: packedTileQ41Split1AVX2, 2: packedTileQ41Split2AVX2, 4: packedTileQ41Split2AVX2},
	},
	dtype.Q5_0: {
		formBytes: {1: packedTileQ5Bytes1AVX2, 2: packedTileQ5Bytes2AVX2, 4: packedTileQ5Bytes2AVX2},
		formSplit: {1: packedTileQ5Split1AVX2, 2: packedTileQ5Split2AVX2, 4: packedTileQ5Split2AVX2},
	},
	dtype.Q5_1: {
		formBytes: {1: packedTileQ51Bytes1AVX2, 2: packedTileQ51Bytes2AVX2, 4: packedTileQ51Bytes2AVX2},
		formSplit: {1: packedTileQ51Split1AVX2, 2: packedTileQ51Split2AVX2, 4: packedTileQ51Split2AVX2},
	},
	dtype.Q4_K: {
		formBytes: {1: packedTileQ41Bytes1AVX2, 2: packedTileQ41Bytes2AVX2, 4: packedTileQ41Bytes4AVX2},
		formSplit: {1: packedTileQ41Split1AVX2, 2: packedTileQ41Split2AVX2, 4: packedTileQ41Split2AVX2},
	},
	dtype.Q5_K: {
		formBytes: {1: packedTileQ51Bytes1AVX2, 2: packedTileQ51Bytes2AVX2, 4: packedTileQ51Bytes2AVX2},
		formSplit: {1: packedTileQ51Split1AVX2, 2: packedTileQ51Split2AVX2, 4: packedTileQ51Split2AVX2},
	},
	dtype.Q6_K: {
		formBytes: {1: packedTileQ6KBytes1AVX2, 2: packedTileQ6KBytes2AVX2, 4: packedTileQ6KBytes2AVX2},
		formPairs: {1: packedTileQ6KPairs1AVX2, 2: packedTileQ6KPairs2AVX2, 4: packedTileQ6KPairs4AVX2},
	},
}

// packedFewAVX2 are by the number of rows, like the tiles.
var packedFewAVX2 = [...][3][5]func(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte){
	dtype.Q8_0: {
		formPairs: {2: packedFewQ8Pairs2AVX2, 4: packedFewQ8Pairs4AVX2},
	},
	dtype.Q4_0: {
		formBytes: {2: packedFewQ4Bytes2AVX2, 4: packedFewQ4Bytes4AVX2},
		formSplit: {2: packedFewQ4Split2AVX2, 4: packedFewQ4Split2AVX2},
	},
	dtype.Q4_1: {
		formBytes: {2: packedFewQ41Bytes2AVX2, 4: packedFewQ41Bytes4AVX2},
		formSplit: {2: packedFewQ41Split2AVX2, 4: packedFewQ41Split2AVX2},
	},
	dtype.Q5_0: {
		formBytes: {2: packedFewQ5Bytes2AVX2, 4: packedFewQ5Bytes2AVX2},
		formSplit: {2: packedFewQ5Split2AVX2, 4: packedFewQ5Split2AVX2},
	},
	dtype.Q5_1: {
		formBytes: {2: packedFewQ51Bytes2AVX2, 4: packedFewQ51Bytes2AVX2},
		formSplit: {2: packedFewQ51Split2AVX2, 4: packedFewQ51Split2AVX2},
	},
	dtype.Q4_K: {
		formBytes: {2: packedFewQ4KBytes2AVX2, 4: packedFewQ4KBytes4AVX2},
		formSplit: {2: packedFewQ4KSplit2AVX2, 4: packedFewQ4KSplit2AVX2},
	},
	dtype.Q5_K: {
		formBytes: {2: packedFewQ5KBytes2AVX2, 4: packedFewQ5KBytes2AVX2},
		formSplit: {2: packedFewQ5KSplit2AVX2, 4: packedFewQ5KSplit2AVX2},
	},
	dtype.Q6_K: {
		formBytes: {2: packedFewQ6KBytes2AVX2, 4: packedFewQ6KBytes2AVX2},
		formPairs: {2: packedFewQ6KPairs2AVX2, 4: packedFewQ6KPairs4AVX2},
	},
}

//go:noescape
func packedQuantiseBytesScaleAVX2(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedQuantiseBytesMinimumAVX2(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedQuantiseBytesHalvesAVX2(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedQuantiseSplitScaleAVX2(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedQuantiseSplitMinimumAVX2(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedQuantiseSplitHalvesAVX2(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedQuantisePairsScaleAVX2(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedQuantisePairsHalvesAVX2(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedOpenQ8AVX2(dst, src *byte, groups int)

//go:noescape
func packedFewQ8Pairs4AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedFewQ8Pairs2AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedRowQ8PairsAVX2(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ4AVX2(dst, src *byte, groups int)

//go:noescape
func packedFewQ4Bytes4AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedFewQ4Bytes2AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedRowQ4BytesAVX2(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedFewQ4Split2AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedRowQ4SplitAVX2(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ41AVX2(dst, src *byte, groups int)

//go:noescape
func packedFewQ41Bytes4AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedFewQ41Bytes2AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedRowQ41BytesAVX2(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedFewQ41Split2AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedRowQ41SplitAVX2(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ5AVX2(dst, src *byte, groups int)

//go:noescape
func packedFewQ5Bytes2AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedRowQ5BytesAVX2(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedFewQ5Split2AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedRowQ5SplitAVX2(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ51AVX2(dst, src *byte, groups int)

//go:noescape
func packedFewQ51Bytes2AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedRowQ51BytesAVX2(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedFewQ51Split2AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedRowQ51SplitAVX2(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ4KAVX2(dst, src *byte, groups int)

//go:noescape
func packedFewQ4KBytes4AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedFewQ4KBytes2AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedRowQ4KBytesAVX2(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedFewQ4KSplit2AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedRowQ4KSplitAVX2(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ5KAVX2(dst, src *byte, groups int)

//go:noescape
func packedFewQ5KBytes2AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedRowQ5KBytesAVX2(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedFewQ5KSplit2AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedRowQ5KSplitAVX2(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ6KAVX2(dst, src *byte, groups int)

//go:noescape
func packedFewQ6KBytes2AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedRowQ6KBytesAVX2(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedFewQ6KPairs4AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedFewQ6KPairs2AVX2(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)

//go:noescape
func packedRowQ6KPairsAVX2(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedTileQ8Pairs4AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ8Pairs2AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ8Pairs1AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ4Bytes4AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ4Bytes2AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ4Bytes1AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ4Split2AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ4Split1AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ41Bytes4AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ41Bytes2AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ41Bytes1AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ41Split2AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ41Split1AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ5Bytes2AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ5Bytes1AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ5Split2AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ5Split1AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ51Bytes2AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ51Bytes1AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ51Split2AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ51Split1AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ6KBytes2AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ6KBytes1AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ6KPairs4AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ6KPairs2AVX2(out *float32, os int, panel, tile *byte, groups, rows int)

//go:noescape
func packedTileQ6KPairs1AVX2(out *float32, os int, panel, tile *byte, groups, rows int)
