//go:build !noasm

package cpu

import "unsafe"

//go:noescape
func topsAVX2(top, x *float32, n int)

//go:noescape
func topsAVX512(top, x *float32, n int)

//go:noescape
func aboveAVX2(ids *int32, x *float32, n int, low float32) int

//go:noescape
func aboveAVX512(ids *int32, x *float32, n int, low float32) int

func topsNarrow(top *[lanes]float32, x []float32) {
	topsAVX2(&top[0], unsafe.SliceData(x), len(x))
}

func topsWide(top *[lanes]float32, x []float32) {
	topsAVX512(&top[0], unsafe.SliceData(x), len(x))
}

func aboveNarrow(ids []int32, x []float32, low float32) int {
	if len(x) == 0 {
		return 0
	}
	_ = ids[len(x)-1]
	return aboveAVX2(&ids[0], &x[0], len(x), low)
}

func aboveWide(ids []int32, x []float32, low float32) int {
	if len(x) == 0 {
		return 0
	}
	_ = ids[len(x)+15]
	return aboveAVX512(&ids[0], &x[0], len(x), low)
}
