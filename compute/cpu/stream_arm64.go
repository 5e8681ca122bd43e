//go:build !noasm

package cpu

import "nosa/dtype"

// streamsNEON leave quantised formats to expand: in integers they are multiplied as
// packed.
var streamsNEON = streamKernels{least: 1, rows: []int{3, 2, 1}, formats: map[dtype.Type][]streamFunc{
	dtype.F32:  {streamF32x3NEON, streamF32x2NEON, streamF32x1NEON},
	dtype.F16:  {streamF16x3NEON, streamF16x2NEON, streamF16x1NEON},
	dtype.BF16: {streamBF16x3NEON, streamBF16x2NEON, streamBF16x1NEON},
}}

//go:noescape
func streamF32x1NEON(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF32x2NEON(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF32x3NEON(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF16x1NEON(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF16x2NEON(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamF16x3NEON(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamBF16x1NEON(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamBF16x2NEON(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)

//go:noescape
func streamBF16x3NEON(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)
