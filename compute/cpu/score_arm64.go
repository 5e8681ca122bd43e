//go:build !noasm

package cpu

var scoreNEON = scoreKernels{
	tall: len(means16NEON), means16: means16, means32: means32, widen: widen,
	windows: windows, blend: blend, pool: pool, tops: tops, above: above,
}

// The products, by the number of queries; more is the length of the table with those that
// come next.
var means16NEON = [...]func(out *float32, os int, q *float32, steps int, base *byte, table *int32, blocks, more int){
	means16x1NEON, means16x2NEON, means16x3NEON, means16x4NEON, means16x5NEON, means16x6NEON,
}

var means32NEON = [...]func(out *float32, os int, q *float32, steps int, base *float32, table *int32, blocks, more int){
	means32x1NEON, means32x2NEON, means32x3NEON, means32x4NEON, means32x5NEON, means32x6NEON,
}

//go:noescape
func means16x1NEON(out *float32, os int, q *float32, steps int, base *byte, table *int32, blocks, more int)

//go:noescape
func means16x2NEON(out *float32, os int, q *float32, steps int, base *byte, table *int32, blocks, more int)

//go:noescape
func means16x3NEON(out *float32, os int, q *float32, steps int, base *byte, table *int32, blocks, more int)

//go:noescape
func means16x4NEON(out *float32, os int, q *float32, steps int, base *byte, table *int32, blocks, more int)

//go:noescape
func means16x5NEON(out *float32, os int, q *float32, steps int, base *byte, table *int32, blocks, more int)

//go:noescape
func means16x6NEON(out *float32, os int, q *float32, steps int, base *byte, table *int32, blocks, more int)

//go:noescape
func means32x1NEON(out *float32, os int, q *float32, steps int, base *float32, table *int32, blocks, more int)

//go:noescape
func means32x2NEON(out *float32, os int, q *float32, steps int, base *float32, table *int32, blocks, more int)

//go:noescape
func means32x3NEON(out *float32, os int, q *float32, steps int, base *float32, table *int32, blocks, more int)

//go:noescape
func means32x4NEON(out *float32, os int, q *float32, steps int, base *float32, table *int32, blocks, more int)

//go:noescape
func means32x5NEON(out *float32, os int, q *float32, steps int, base *float32, table *int32, blocks, more int)

//go:noescape
func means32x6NEON(out *float32, os int, q *float32, steps int, base *float32, table *int32, blocks, more int)

//go:noescape
func widenNEON(dst *float32, base *byte, size int, table *int32, n int)

//go:noescape
func windowsNEON(win, part *float32, n, span int, scale float32) (top, sum float32)

//go:noescape
func blendNEON(sum, e *float32, es int, factor *float32, fs, group, n int)

//go:noescape
func poolNEON(out, win *float32, n int)

// The wrappers hold slices to what the assembly reads and writes, but for the ids of
// tables.

func means16(out []float32, os int, q []float32, height, steps int, base []byte, table []int32) {
	if len(table) > 0 {
		_, _ = out[(height-1)*os+4*len(table)-1], q[4*height*steps-1]
		means16NEON[height-1](&out[0], os, &q[0], steps, &base[0], &table[0], len(table), cap(table))
	}
}

func means32(out []float32, os int, q []float32, height, steps int, base []float32, table []int32) {
	if len(table) > 0 {
		_, _ = out[(height-1)*os+4*len(table)-1], q[4*height*steps-1]
		means32NEON[height-1](&out[0], os, &q[0], steps, &base[0], &table[0], len(table), cap(table))
	}
}

func widen(dst []float32, base []byte, size int, table []int32) {
	if len(table) > 0 && size > 0 {
		_ = dst[len(table)*size/2-1]
		widenNEON(&dst[0], &base[0], size, &table[0], len(table))
	}
}

func windows(win, part []float32, span int, scale float32) (top, sum float32) {
	if len(win) == 0 {
		return negInf, 0
	}
	_ = part[len(win)+span-2]
	return windowsNEON(&win[0], &part[0], len(win), span, scale)
}

func blend(sum, e []float32, es int, factor []float32, fs, group int) {
	if len(sum) == 0 {
		return
	}
	_, _ = e[(group-1)*es+len(sum)-1], factor[(group-1)*fs]
	blendNEON(&sum[0], &e[0], es, &factor[0], fs, group, len(sum))
}

func pool(out, win []float32) {
	if len(out) > 0 {
		_ = win[4*len(out)]
		poolNEON(&out[0], &win[0], len(out))
	}
}
