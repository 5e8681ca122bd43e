//go:build !noasm

package cpu

var linearAVX2 = linearKernels{few: streamsAVX2, many: panelAVX2, expand: expand}

var linearAVX512 = linearKernels{few: streamsAVX512, many: panelAVX512, expand: expand}
