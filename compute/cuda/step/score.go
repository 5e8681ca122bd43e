//go:build linux && amd64

package step

import (
	"fmt"
	"math"

	"nosa/compute"
	"nosa/compute/cuda/driver"
)

// The sizes of score.cuh, score.cu, keys.cuh and take.cuh.
const (
	scoreChunk    = 128      // windows that a thread block scores
	scoreSpan     = 33       // segments of a window, at most
	scoreGroup    = 32       // queries of a KV head, at most
	scoreSegments = 2048     // segments of a block, at most
	chooseShared  = 18 << 10 // what the kernels of choose have beside the memory that grows
)

// scoringArgs is the struct of score.cuh.
type scoringArgs struct {
	c                             cacheArgs
	rows                          rowsArgs
	weight, total                 uintptr
	group, chunks, kernel, stride int32
	denseLen, k                   int32
	ofChunk, ofQuery              int32
	part                          int32
	_                             int32
}

// scoring is what score and choose have in common for launches of the rows whose sequences
// have up to the given number of blocks. scratch is memory of scratchBytes.
func scoring(g *gpu, c cacheArgs, rows rowsArgs, l compute.Layout, group, blocks int, p compute.SelectParams, scratch uintptr) scoringArgs {
	chunks := chunksOf(l, blocks)
	a := scoringArgs{c: c, rows: rows, weight: scratch,
		total: scratch + uintptr(4*scoreChunk*int(rows.n)*l.Heads*chunks*group),
		group: int32(group), chunks: int32(chunks), kernel: int32(l.Kernel), stride: int32(l.Stride),
		denseLen: int32(p.DenseLen), k: int32(p.K)}
	a.cut(blocks, partOf(g, int(rows.n)*l.Heads, blocks, p.K))
	return a
}

// cut has thread blocks of choose take parts of so many of the given number of blocks, which
// makes no difference to what is chosen. Each part reads the totals of all chunks, and has them
// by query.
func (a *scoringArgs) cut(blocks, part int) {
	a.part, a.ofChunk, a.ofQuery = int32(part), a.group, 1
	if part < blocks {
		a.ofChunk, a.ofQuery = 1, a.chunks
	}
}

func chunksOf(l compute.Layout, blocks int) int {
	return (l.Windows(blocks*l.Block) + scoreChunk - 1) / scoreChunk
}

// scratchBytes is the memory that score leaves to choose, and what parts of that leave.
func (s *selecting) scratchBytes(l compute.Layout, group, n, blocks int) int {
	return n * l.Heads * ((4*scoreChunk+8)*chunksOf(l, blocks)*group + 8*chooseRoom(blocks))
}

// scoreArgs is the struct of score.cu.
type scoreArgs struct {
	scoring scoringArgs
	q       uintptr // F32 [n, heads, dim]: rotated
	scale   float32
	_       int32
}

func scores(s scoringArgs, q uintptr) scoreArgs {
	return scoreArgs{scoring: s, q: q, scale: float32(math.Log2E / (float64(s.c.l.Span) * math.Sqrt(float64(s.c.l.Dim))))}
}

// check says whether the kernels take a cache's shape, for sequences of up to the given
// number of blocks.
func (s *selecting) check(g *gpu, l compute.Layout, group, blocks int) error {
	switch {
	case group > scoreGroup:
		return fmt.Errorf("%d query heads share a KV head: %d is the most", group, scoreGroup)
	case l.Span() > scoreSpan || l.Segments() > scoreSegments:
		return fmt.Errorf("windows of %d segments in blocks of %d: %d and %d are the most", l.Span(), l.Segments(), scoreSpan, scoreSegments)
	case chooseBytes(blocks) > g.props.SharedMemory-chooseShared:
		return fmt.Errorf("selection among %d blocks takes %d bytes of shared memory, the GPU has %d", blocks, chooseBytes(blocks)+chooseShared, g.props.SharedMemory)
	}
	return nil
}

// score asks each row's queries for all windows. What comes out is choose's.
func (s *selecting) score(g *gpu, a *scoreArgs) {
	l := &a.scoring.c.l
	if a.scoring.chunks == 0 {
		return
	}
	f := s.plain
	if t := s.tensor[int(l.Dim)]; t != nil && compute.KVType(l.KV) != compute.KVF32 {
		f = t[1-l.Segments%2]
	}
	warps := scoreChunk / 32
	if l.Span > 1 {
		warps++
	}
	launchEarly(g, f, driver.Dim{X: int(a.scoring.chunks), Y: int(l.Heads), Z: int(a.scoring.rows.n)}, 32*warps, 0, a)
}
