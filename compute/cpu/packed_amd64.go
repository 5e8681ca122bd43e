//go:build !noasm

package cpu

import (
	"nosa/compute"
	"nosa/dtype"
)

// The wrappers check the lengths that the assembly takes for granted.

var packedAVX512 = packedKernels{
	form: formAVX512, quantise: quantiseAVX512, open: openAVX512, tile: tileAVX512, unopened: unopenedAVX512, row: rowAVX512,
}

// formAVX512 is what VPDPBUSD reads: signed bytes.
func formAVX512(n compute.Numerics, _ dtype.Type) form {
	if n == compute.NumericsInt8 {
		return formBytes
	}
	return formSplit
}

func quantiseAVX512(dst []byte, x []float32, q *quantiser, place, tile int) {
	groups, size := len(x)/groupLen, q.form.bytes()
	if groups == 0 {
		return
	}
	step := tile * (size + sideBytes)
	_ = dst[groups*step-1]
	packedQuantisersAVX512[q.form][q.kind](&dst[place*size], &dst[tile*size+place*sideBytes], &x[0], groups, step, float32(q.numerics.Top()), -q.zero)
}

func openAVX512(p *packing, dst, src []byte, groups int) {
	_, _ = dst[groups*p.kind.opened()-1], src[p.panel(groups)-1]
	packedOpenersAVX512[p.format](&dst[0], &src[0], groups)
}

func tileAVX512(q *quantiser, rows int, out []float32, os int, panel, tile []byte, groups int) {
	_, _, _ = out[(rows-1)*os+panelOutputs-1], panel[groups*q.kind.opened()-1], tile[rows*q.form.row(groups)-1]
	packedTilesAVX512[q.form][q.kind][rows](&out[0], os, &panel[0], &tile[0], groups)
}

func unopenedAVX512(p *packing, q *quantiser, rows int, out []float32, os int, src, tile, _ []byte, groups int) {
	_, _, _ = out[(rows-1)*os+panelOutputs-1], src[p.panel(groups)-1], tile[rows*q.form.row(groups)-1]
	packedFewAVX512[p.format][q.form][rows](&out[0], os, &src[0], &tile[0], groups)
}

func rowAVX512(p *packing, q *quantiser, out []float32, src, tile []byte, groups int) {
	panels := len(src) / p.panel(groups)
	if panels == 0 {
		return
	}
	_, _ = out[panels*panelOutputs-1], tile[q.form.row(groups)-1]
	packedRowsAVX512[p.format][q.form](&out[0], &src[0], &tile[0], groups, panels)
}

var packedQuantisersAVX512 = [2][kinds]func(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32){
	formBytes: {kindScale: packedQuantiseBytesScaleAVX512, kindMinimum: packedQuantiseBytesMinimumAVX512, kindHalves: packedQuantiseBytesHalvesAVX512},
	formSplit: {kindScale: packedQuantiseSplitScaleAVX512, kindMinimum: packedQuantiseSplitMinimumAVX512, kindHalves: packedQuantiseSplitHalvesAVX512},
}

var packedOpenersAVX512 = [...]func(dst, src *byte, groups int){
	dtype.Q8_0: packedOpenQ8AVX512,
	dtype.Q4_0: packedOpenQ4AVX512,
	dtype.Q4_1: packedOpenQ41AVX512,
	dtype.Q5_0: packedOpenQ5AVX512,
	dtype.Q5_1: packedOpenQ51AVX512,
	dtype.Q4_K: packedOpenQ4KAVX512,
	dtype.Q5_K: packedOpenQ5KAVX512,
	dtype.Q6_K: packedOpenQ6KAVX512,
}

var packedRowsAVX512 = [...][2]func(out *float32, src, tile *byte, groups, panels int){
	dtype.Q8_0: {packedRowQ8BytesAVX512, packedRowQ8SplitAVX512},
	dtype.Q4_0: {packedRowQ4BytesAVX512, packedRowQ4SplitAVX512},
	dtype.Q4_1: {packedRowQ41BytesAVX512, packedRowQ41SplitAVX512},
	dtype.Q5_0: {packedRowQ5BytesAVX512, packedRowQ5SplitAVX512},
	dtype.Q5_1: {packedRowQ51BytesAVX512, packedRowQ51SplitAVX512},
	dtype.Q4_K: {packedRowQ4KBytesAVX512, packedRowQ4KSplitAVX512},
	dtype.Q5_K: {packedRowQ5KBytesAVX512, packedRowQ5KSplitAVX512},
	dtype.Q6_K: {packedRowQ6KBytesAVX512, packedRowQ6KSplitAVX512},
}

// packedFewAVX512 are by the number of rows.
var packedFewAVX512 = [...][2][9]func(out *float32, os int, src, tile *byte, groups int){
	dtype.Q8_0: {
		formBytes: {2: packedFewQ8Bytes2AVX512, 4: packedFewQ8Bytes4AVX512, 8: packedFewQ8Bytes8AVX512},
		formSplit: {2: packedFewQ8Split2AVX512, 4: packedFewQ8Split4AVX512, 8: packedFewQ8Split8AVX512},
	},
	dtype.Q4_0: {
		formBytes: {2: packedFewQ4Bytes2AVX512, 4: packedFewQ4Bytes4AVX512, 8: packedFewQ4Bytes8AVX512},
		formSplit: {2: packedFewQ4Split2AVX512, 4: packedFewQ4Split4AVX512, 8: packedFewQ4Split8AVX512},
	},
	dtype.Q4_1: {
		formBytes: {2: packedFewQ41Bytes2AVX512, 4: packedFewQ41Bytes4AVX512, 8: packedFewQ41Bytes8AVX512},
		formSplit: {2: packedFewQ41Split2AVX512, 4: packedFewQ41Split4AVX512, 8: packedFewQ41Split8AVX512},
	},
	dtype.Q5_0: {
		formBytes: {2: packedFewQ5Bytes2AVX512, 4: packedFewQ5Bytes4AVX512, 8: packedFewQ5Bytes8AVX512},
		formSplit: {2: packedFewQ5Split2AVX512, 4: packedFewQ5Split4AVX512, 8: packedFewQ5Split8AVX512},
	},
	dtype.Q5_1: {
		formBytes: {2: packedFewQ51Bytes2AVX512, 4: packedFewQ51Bytes4AVX512, 8: packedFewQ51Bytes8AVX512},
		formSplit: {2: packedFewQ51Split2AVX512, 4: packedFewQ51Split4AVX512, 8: packedFewQ51Split8AVX512},
	},
	dtype.Q4_K: {
		formBytes: {2: packedFewQ4KBytes2AVX512, 4: packedFewQ4KBytes4AVX512, 8: packedFewQ4KBytes8AVX512},
		formSplit: {2: packedFewQ4KSplit2AVX512, 4: packedFewQ4KSplit4AVX512, 8: packedFewQ4KSplit8AVX512},
	},
	dtype.Q5_K: {
		formBytes: {2: packedFewQ5KBytes2AVX512, 4: packedFewQ5KBytes4AVX512, 8: packedFewQ5KBytes8AVX512},
		formSplit: {2: packedFewQ5KSplit2AVX512, 4: packedFewQ5KSplit4AVX512, 8: packedFewQ5KSplit8AVX512},
	},
	dtype.Q6_K: {
		formBytes: {2: packedFewQ6KBytes2AVX512, 4: packedFewQ6KBytes4AVX512, 8: packedFewQ6KBytes8AVX512},
		formSplit: {2: packedFewQ6KSplit2AVX512, 4: packedFewQ6KSplit4AVX512, 8: packedFewQ6KSplit8AVX512},
	},
}

var packedTilesAVX512 = [2][kinds][9]func(out *float32, os int, panel, tile *byte, groups int){
	formBytes: {
		kindScale:   {1: packedTileBytesScale1AVX512, 2: packedTileBytesScale2AVX512, 4: packedTileBytesScale4AVX512, 8: packedTileBytesScale8AVX512},
		kindMinimum: {1: packedTileBytesMinimum1AVX512, 2: packedTileBytesMinimum2AVX512, 4: packedTileBytesMinimum4AVX512, 8: packedTileBytesMinimum8AVX512},
		kindHalves:  {1: packedTileBytesHalves1AVX512, 2: packedTileBytesHalves2AVX512, 4: packedTileBytesHalves4AVX512, 8: packedTileBytesHalves8AVX512},
	},
	formSplit: {
		kindScale:   {1: packedTileSplitScale1AVX512, 2: packedTileSplitScale2AVX512, 4: packedTileSplitScale4AVX512, 8: packedTileSplitScale8AVX512},
		kindMinimum: {1: packedTileSplitMinimum1AVX512, 2: packedTileSplitMinimum2AVX512, 4: packedTileSplitMinimum4AVX512, 8: packedTileSplitMinimum8AVX512},
		kindHalves:  {1: packedTileSplitHalves1AVX512, 2: packedTileSplitHalves2AVX512, 4: packedTileSplitHalves4AVX512, 8: packedTileSplitHalves8AVX512},
	},
}

//go:noescape
func packedQuantiseBytesScaleAVX512(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedQuantiseBytesMinimumAVX512(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedQuantiseBytesHalvesAVX512(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedQuantiseSplitScaleAVX512(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedQuantiseSplitMinimumAVX512(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedQuantiseSplitHalvesAVX512(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)

//go:noescape
func packedOpenQ8AVX512(dst, src *byte, groups int)

//go:noescape
func packedRowQ8BytesAVX512(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedRowQ8SplitAVX512(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ4AVX512(dst, src *byte, groups int)

//go:noescape
func packedRowQ4BytesAVX512(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedRowQ4SplitAVX512(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ41AVX512(dst, src *byte, groups int)

//go:noescape
func packedRowQ41BytesAVX512(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedRowQ41SplitAVX512(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ5AVX512(dst, src *byte, groups int)

//go:noescape
func packedRowQ5BytesAVX512(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedRowQ5SplitAVX512(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ51AVX512(dst, src *byte, groups int)

//go:noescape
func packedRowQ51BytesAVX512(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedRowQ51SplitAVX512(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ4KAVX512(dst, src *byte, groups int)

//go:noescape
func packedRowQ4KBytesAVX512(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedRowQ4KSplitAVX512(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ5KAVX512(dst, src *byte, groups int)

//go:noescape
func packedRowQ5KBytesAVX512(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedRowQ5KSplitAVX512(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedOpenQ6KAVX512(dst, src *byte, groups int)

//go:noescape
func packedRowQ6KBytesAVX512(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedRowQ6KSplitAVX512(out *float32, src, tile *byte, groups, panels int)

//go:noescape
func packedTileBytesScale8AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileBytesScale4AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileBytesScale2AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileBytesScale1AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileBytesMinimum8AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileBytesMinimum4AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileBytesMinimum2AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileBytesMinimum1AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileBytesHalves8AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileBytesHalves4AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileBytesHalves2AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileBytesHalves1AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileSplitScale8AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileSplitScale4AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileSplitScale2AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileSplitScale1AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileSplitMinimum8AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileSplitMinimum4AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileSplitMinimum2AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileSplitMinimum1AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileSplitHalves8AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileSplitHalves4AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileSplitHalves2AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedTileSplitHalves1AVX512(out *float32, os int, panel, tile *byte, groups int)

//go:noescape
func packedFewQ8Bytes8AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ8Bytes4AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ8Bytes2AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ8Split8AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ8Split4AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ8Split2AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ4Bytes8AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ4Bytes4AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ4Bytes2AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ4Split8AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ4Split4AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ4Split2AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ41Bytes8AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ41Bytes4AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ41Bytes2AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ41Split8AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ41Split4AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ41Split2AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ5Bytes8AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ5Bytes4AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ5Bytes2AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ5Split8AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ5Split4AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ5Split2AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ51Bytes8AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ51Bytes4AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ51Bytes2AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ51Split8AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ51Split4AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ51Split2AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ4KBytes8AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ4KBytes4AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ4KBytes2AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ4KSplit8AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ4KSplit4AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ4KSplit2AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ5KBytes8AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ5KBytes4AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ5KBytes2AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ5KSplit8AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ5KSplit4AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ5KSplit2AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ6KBytes8AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ6KBytes4AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ6KBytes2AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ6KSplit8AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ6KSplit4AVX512(out *float32, os int, src, tile *byte, groups int)

//go:noescape
func packedFewQ6KSplit2AVX512(out *float32, os int, src, tile *byte, groups int)
