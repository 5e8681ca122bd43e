//go:build !noasm

package cpu

var linearNEON = linearKernels{few: streamsNEON, many: panelNEON, expand: expand}
