//go:build !noasm

package cpu

import "nosa/dtype"

var streamsAVX2 = streamKernels{least: 8, rows: []int{3, 2, 1}, formats: map[dtype.Type][]streamFunc{
	dtype.F32:  {streamF32x3AVX2, streamF32x2AVX2, streamF32x1AVX2},
	dtype.F16:  {streamF16x3AVX2, streamF16x2AVX2, streamF16x1AVX2},
	dtype.BF16: {streamBF16x3AVX2, streamBF16x2AVX2, streamBF16x1AVX2},
	dtype.Q8_0: {streamQ8x3AVX2, streamQ8x2AVX2, streamQ8x1AVX2},
	dtype.Q4_0: {streamQ40x3AVX2, streamQ40x2AVX2, streamQ40x1AVX2},
	dtype.Q4_1: {streamQ41x3AVX2, streamQ41x2AVX2, streamQ41x1AVX2},
}}

var streamsAVX512 = streamKernels{least: 1, rows: []int{8, 6, 4, 3, 2, 1}, formats: map[dtype.Type][]streamFunc{
	dtype.F32:  {streamF32x8AVX512, streamF32x6AVX512, streamF32x4AVX512, streamF32x3AVX512, streamF32x2AVX512, streamF32x1AVX512},
	dtype.F16:  {streamF16x8AVX512, streamF16x6AVX512, streamF16x4AVX512, streamF16x3AVX512, streamF16x2AVX512, streamF16x1AVX512},
	dtype.BF16: {streamBF16x8AVX512, streamBF16x6AVX512, streamBF16x4AVX512, streamBF16x3AVX512, streamBF16x2AVX512, streamBF16x1AVX512},
	dtype.Q8_0: {streamQ8x8AVX512, streamQ8x6AVX512, streamQ8x4AVX512, streamQ8x3AVX512, streamQ8x2AVX512, streamQ8x1AVX512},
	dtype.Q4_0: {streamQ40x8AVX512, streamQ40x6AVX512, streamQ40x4AVX512, streamQ40x3AVX512, streamQ40x2AVX512, streamQ40x1AVX512},
	dtype.Q4_1: {streamQ41x8AVX512, streamQ41x6AVX512, streamQ41x4AVX512, streamQ41x3AVX512, streamQ41x2AVX512, streamQ41x1AVX512},
}}

//go:noescape
func streamF32x1AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF32x2AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF32x3AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF16x1AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF16x2AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF16x3AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamBF16x1AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamBF16x2AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamBF16x3AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ8x1AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ8x2AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ8x3AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ40x1AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ40x2AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ40x3AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ41x1AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ41x2AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ41x3AVX2(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF32x1AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF32x2AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF32x3AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF32x4AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF32x6AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF32x8AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF16x1AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF16x2AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF16x3AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF16x4AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF16x6AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF16x8AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamBF16x1AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamBF16x2AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamBF16x3AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamBF16x4AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamBF16x6AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamBF16x8AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ8x1AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ8x2AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ8x3AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ8x4AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ8x6AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ8x8AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ40x1AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ40x2AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ40x3AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ40x4AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ40x6AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ40x8AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ41x1AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ41x2AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ41x3AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ41x4AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ41x6AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamQ41x8AVX512(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)
