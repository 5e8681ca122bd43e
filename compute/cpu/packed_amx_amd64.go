//go:build !noasm

package cpu

import "nosa/dtype"

// packedAMX multiplies many rows in tiles, and few ones as packedAVX512 does.
var packedAMX = packedKernels{
	form: formAVX512, quantise: quantiseAVX512, open: openAVX512, tile: tileAVX512, unopened: unopenedAVX512, row: rowAVX512,
	wide: &wideAMX,
}

var wideAMX = wideKernels{quantise: quantiseWideAMX, open: openWideAMX, tile: tileWideAMX}

func quantiseWideAMX(dst []byte, x []float32, q *quantiser, place int) {
	groups, step := len(x)/groupLen, q.wideStep()
	if groups == 0 {
		return
	}
	_ = dst[groups*step-1]
	f := packedQuantiseWide1AMX
	if q.parts() == 2 {
		f = packedQuantiseWide2AMX
	}
	f(&dst[place*wideCodes], &dst[step-2*4*wideRows+4*place], &x[0], groups, step, float32(q.numerics.Top()))
}

func openWideAMX(p *packing, dst, src []byte, groups int) {
	_, _ = dst[groups*p.kind.wide()-1], src[p.panel(groups)-1]
	packedOpenersWideAMX[p.format](&dst[0], &src[0], groups)
}

// wideBytes is what a stretch of rows' groups may take of the first cache: all panels
// pass over it.
const wideBytes = 18 << 10

func tileWideAMX(q *quantiser, out []float32, os int, opened []byte, panels int, tile, next []byte, groups int, more bool, scratch []byte) {
	size, step := q.kind.wide(), q.wideStep()
	_, _, _, _ = out[(wideRows-1)*os+panels*panelOutputs-1], opened[panels*groups*size-1], tile[groups*step-1], scratch[wideScratch-1]
	f, stretch := packedTilesWideAMX[q.parts()-1][q.kind], wideBytes/step
	if q.parts() == 2 && !q.joint() {
		f = packedTilesApartAMX[q.kind]
	}
	for g := 0; g < groups; g += stretch {
		n, add, ahead := min(stretch, groups-g), 0, &tile[0]
		if more || g > 0 {
			add = 1
		}
		if g+n < groups {
			ahead = &tile[(g+n)*step]
		} else if len(next) > 0 {
			ahead = &next[0]
		}
		f(&out[0], os, &opened[g*size], &tile[g*step], n, panels, groups*size, add, &scratch[0], ahead, step/panels)
	}
}

type tileWide = func(out *float32, os int, opened, tile *byte, groups, panels, stride, more int, scratch, next *byte, advance int)

// packedTilesWideAMX are by the number of parts, whose sums are exact together.
var packedTilesWideAMX = [2][kinds]tileWide{
	{kindScale: packedWideOneScaleAMX, kindMinimum: packedWideOneMinimumAMX, kindHalves: packedWideOneHalvesAMX},
	{kindScale: packedWideJointScaleAMX, kindMinimum: packedWideJointMinimumAMX, kindHalves: packedWideJointHalvesAMX},
}

// packedTilesApartAMX sum either part.
var packedTilesApartAMX = [kinds]tileWide{kindScale: packedWideApartScaleAMX, kindMinimum: packedWideApartMinimumAMX}

var packedOpenersWideAMX = [...]func(dst, src *byte, groups int){
	dtype.Q8_0: packedOpenWideQ8AMX,
	dtype.Q4_0: packedOpenWideQ4AMX,
	dtype.Q4_1: packedOpenWideQ41AMX,
	dtype.Q5_0: packedOpenWideQ5AMX,
	dtype.Q5_1: packedOpenWideQ51AMX,
	dtype.Q4_K: packedOpenWideQ4KAMX,
	dtype.Q5_K: packedOpenWideQ5KAMX,
	dtype.Q6_K: packedOpenWideQ6KAMX,
}

//go:noescape
func packedWideOneScaleAMX(out *float32, os int, opened, tile *byte, groups, panels, stride, more int, scratch, next *byte, advance int)

//go:noescape
func packedWideOneMinimumAMX(out *float32, os int, opened, tile *byte, groups, panels, stride, more int, scratch, next *byte, advance int)

//go:noescape
func packedWideOneHalvesAMX(out *float32, os int, opened, tile *byte, groups, panels, stride, more int, scratch, next *byte, advance int)

//go:noescape
func packedWideJointScaleAMX(out *float32, os int, opened, tile *byte, groups, panels, stride, more int, scratch, next *byte, advance int)

//go:noescape
func packedWideJointMinimumAMX(out *float32, os int, opened, tile *byte, groups, panels, stride, more int, scratch, next *byte, advance int)

//go:noescape
func packedWideJointHalvesAMX(out *float32, os int, opened, tile *byte, groups, panels, stride, more int, scratch, next *byte, advance int)

//go:noescape
func packedWideApartScaleAMX(out *float32, os int, opened, tile *byte, groups, panels, stride, more int, scratch, next *byte, advance int)

//go:noescape
func packedWideApartMinimumAMX(out *float32, os int, opened, tile *byte, groups, panels, stride, more int, scratch, next *byte, advance int)

//go:noescape
func packedQuantiseWide1AMX(codes, beside *byte, x *float32, groups, step int, top float32)

//go:noescape
func packedQuantiseWide2AMX(codes, beside *byte, x *float32, groups, step int, top float32)

//go:noescape
func packedOpenWideQ8AMX(dst, src *byte, groups int)

//go:noescape
func packedOpenWideQ4AMX(dst, src *byte, groups int)

//go:noescape
func packedOpenWideQ41AMX(dst, src *byte, groups int)

//go:noescape
func packedOpenWideQ5AMX(dst, src *byte, groups int)

//go:noescape
func packedOpenWideQ51AMX(dst, src *byte, groups int)

//go:noescape
func packedOpenWideQ4KAMX(dst, src *byte, groups int)

//go:noescape
func packedOpenWideQ5KAMX(dst, src *byte, groups int)

//go:noescape
func packedOpenWideQ6KAMX(dst, src *byte, groups int)
