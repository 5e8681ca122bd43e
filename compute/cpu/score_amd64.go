//go:build !noasm

package cpu

var scoreAVX2 = scoreKernels{
	tall: 3, means16: means16Narrow, means32: means32Narrow, widen: widenNarrow,
	windows: windowsNarrow, blend: blendNarrow, pool: poolNarrow, tops: topsNarrow, above: aboveNarrow,
}

var scoreAVX512 = scoreKernels{
	tall: 6, means16: means16Wide, means32: means32Wide, widen: widenWide,
	windows: windowsWide, blend: blendWide, pool: poolNarrow, tops: topsWide, above: aboveWide,
}

//go:noescape
func means16AVX2(out *float32, os int, q *float32, height, steps int, base *byte, table *int32, groups, more int)

//go:noescape
func means32AVX2(out *float32, os int, q *float32, height, steps int, base *float32, table *int32, groups, more int)

//go:noescape
func means16AVX512(out *float32, os int, q *float32, height, steps int, base *byte, table *int32, groups, more int)

//go:noescape
func means32AVX512(out *float32, os int, q *float32, height, steps int, base *float32, table *int32, groups, more int)

//go:noescape
func widenAVX2(dst *float32, base *byte, size int, table *int32, n, more int)

//go:noescape
func widenAVX512(dst *float32, base *byte, size int, table *int32, n, more int)

//go:noescape
func windowsAVX2(win, part *float32, n, span int, scale float32) (top, sum float32)

//go:noescape
func windowsAVX512(win, part *float32, n, span int, scale float32) (top, sum float32)

//go:noescape
func blendAVX2(sum, e *float32, es int, factor *float32, fs, group, n int)

//go:noescape
func blendAVX512(sum, e *float32, es int, factor *float32, fs, group, n int)

//go:noescape
func poolAVX2(out, win *float32, n int)

// The widths of the levels: blocks of a group of products.
const (
	narrowBlocks = 2
	wideBlocks   = 4
)

// lastGroup is the table of a last group that is not full: its last block again
// and again, whose products are not read.
func lastGroup(table []int32) (ids [wideBlocks]int32) {
	for i := range ids {
		ids[i] = table[min(i, len(table)-1)]
	}
	return ids
}

// checkMeans holds the slices of a call to what the kernel reads and writes, but
// for the ids of the table.
func checkMeans(out []float32, os int, q []float32, height, steps, blocks int) {
	_ = out[(height-1)*os+4*blocks-1]
	_ = q[4*height*steps-1]
}

func means16Narrow(out []float32, os int, q []float32, height, steps int, base []byte, table []int32) {
	groups := len(table) / narrowBlocks
	rest := len(table) - groups*narrowBlocks
	checkMeans(out, os, q, height, steps, (groups+min(rest, 1))*narrowBlocks)
	if groups > 0 {
		means16AVX2(&out[0], os, &q[0], height, steps, &base[0], &table[0], groups, cap(table)/narrowBlocks)
	}
	if rest > 0 {
		ids := lastGroup(table[groups*narrowBlocks:])
		means16AVX2(&out[4*groups*narrowBlocks], os, &q[0], height, steps, &base[0], &ids[0], 1, 0)
	}
}

func means32Narrow(out []float32, os int, q []float32, height, steps int, base []float32, table []int32) {
	groups := len(table) / narrowBlocks
	rest := len(table) - groups*narrowBlocks
	checkMeans(out, os, q, height, steps, (groups+min(rest, 1))*narrowBlocks)
	if groups > 0 {
		means32AVX2(&out[0], os, &q[0], height, steps, &base[0], &table[0], groups, cap(table)/narrowBlocks)
	}
	if rest > 0 {
		ids := lastGroup(table[groups*narrowBlocks:])
		means32AVX2(&out[4*groups*narrowBlocks], os, &q[0], height, steps, &base[0], &ids[0], 1, 0)
	}
}

func means16Wide(out []float32, os int, q []float32, height, steps int, base []byte, table []int32) {
	groups := len(table) / wideBlocks
	rest := len(table) - groups*wideBlocks
	checkMeans(out, os, q, height, steps, (groups+min(rest, 1))*wideBlocks)
	if groups > 0 {
		means16AVX512(&out[0], os, &q[0], height, steps, &base[0], &table[0], groups, cap(table)/wideBlocks)
	}
	if rest > 0 {
		ids := lastGroup(table[groups*wideBlocks:])
		means16AVX512(&out[4*groups*wideBlocks], os, &q[0], height, steps, &base[0], &ids[0], 1, 0)
	}
}

func means32Wide(out []float32, os int, q []float32, height, steps int, base []float32, table []int32) {
	groups := len(table) / wideBlocks
	rest := len(table) - groups*wideBlocks
	checkMeans(out, os, q, height, steps, (groups+min(rest, 1))*wideBlocks)
	if groups > 0 {
		means32AVX512(&out[0], os, &q[0], height, steps, &base[0], &table[0], groups, cap(table)/wideBlocks)
	}
	if rest > 0 {
		ids := lastGroup(table[groups*wideBlocks:])
		means32AVX512(&out[4*groups*wideBlocks], os, &q[0], height, steps, &base[0], &ids[0], 1, 0)
	}
}

func widenNarrow(dst []float32, base []byte, size int, table []int32) {
	if len(table) > 0 && size > 0 {
		_ = dst[len(table)*size/2-1]
		widenAVX2(&dst[0], &base[0], size, &table[0], len(table), cap(table))
	}
}

func widenWide(dst []float32, base []byte, size int, table []int32) {
	if len(table) > 0 && size > 0 {
		_ = dst[len(table)*size/2-1]
		widenAVX512(&dst[0], &base[0], size, &table[0], len(table), cap(table))
	}
}

func windowsNarrow(win, part []float32, span int, scale float32) (top, sum float32) {
	if len(win) == 0 {
		return negInf, 0
	}
	_ = part[len(win)+span-2]
	return windowsAVX2(&win[0], &part[0], len(win), span, scale)
}

func windowsWide(win, part []float32, span int, scale float32) (top, sum float32) {
	if len(win) == 0 {
		return negInf, 0
	}
	_ = part[len(win)+span-2]
	return windowsAVX512(&win[0], &part[0], len(win), span, scale)
}

func blendNarrow(sum, e []float32, es int, factor []float32, fs, group int) {
	if len(sum) == 0 {
		return
	}
	_, _ = e[(group-1)*es+len(sum)-1], factor[(group-1)*fs]
	blendAVX2(&sum[0], &e[0], es, &factor[0], fs, group, len(sum))
}

func blendWide(sum, e []float32, es int, factor []float32, fs, group int) {
	if len(sum) == 0 {
		return
	}
	_, _ = e[(group-1)*es+len(sum)-1], factor[(group-1)*fs]
	blendAVX512(&sum[0], &e[0], es, &factor[0], fs, group, len(sum))
}

func poolNarrow(out, win []float32) {
	if len(out) > 0 {
		_ = win[4*len(out)]
		poolAVX2(&out[0], &win[0], len(out))
	}
}
