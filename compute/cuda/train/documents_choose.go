//go:build linux && amd64

package train

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"nosa/compute"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// The shapes of documents_choose.cuh and documents_choose_score.cu.
const (
	chooseWarps  = 8        // of a thread block
	chooseGroup  = 16       // queries of a warp, and query heads of a KV head at most
	chooseChunk  = 64       // windows that come at a time
	chooseStages = 3        // chunks that there is room for
	choosePart   = 32       // windows that products take at a time
	chooseRoom   = 8        // numbers that rows of scores are a multiple of
	chooseScores = 64 << 20 // bytes of scores at a time, where one thread block has not more
)

var errChoose = errors.New("no kernel: heads have up to 128 channels, KV heads up to 16 query heads")

// choice is the kernels that choose blocks.
type choice struct {
	windows, order         driver.Function
	score                  documentKernels
	choose8, choose32, any driver.Function // for so many times 32 blocks
}

func (d *Device) loadChoice() error {
	c := &d.c
	if err := errors.Join(
		d.load("documents_choose_score", map[string]*driver.Function{
			"choose_windows": &c.windows, "choose_order": &c.order, "choose_score_64": &c.score.narrow, "choose_score_128": &c.score.wide,
		}),
		d.load("documents_choose", map[string]*driver.Function{"choose_8": &c.choose8, "choose_32": &c.choose32, "choose_any": &c.any}),
	); err != nil {
		return err
	}
	var errs []error
	for _, k := range []driver.Function{c.windows, c.score.narrow, c.score.wide, c.choose8, c.choose32, c.any} {
		errs = append(errs, d.Context().AllowShared(k, d.Properties().SharedMemory))
	}
	return errors.Join(errs...)
}

// of is the kernel that chooses among so many blocks, and for how many words of them it has room.
func (c *choice) of(blocks int) (k driver.Function, words int) {
	switch words = ceil(blocks, 32); {
	case words <= 8:
		return c.choose8, 8
	case words <= 32:
		return c.choose32, 32
	}
	return c.any, words
}

// chooseWork and chooseArgs are the structs of documents_choose.cuh.
type chooseWork struct{ begin, end, first, at int32 }

type chooseArgs struct {
	q, k, s, means, windowScore, blockScore, order, scores         uintptr
	selected, count, documents, work                               uintptr
	heads, group, dim, wide, block, kernel, stride, segments, span int32
	windows, blocks, places, perWarp, words                        int32
	byQuery, byScore, init, local, mostByQuery, most, dense        int32
	slope                                                          float32
}

// choicePlan is how documents are cut into thread blocks: those of which rows choose, and their rows,
// the longest walks first. Launches have as many of these as scores have room for.
type choicePlan struct {
	documents, work []chooseWork
	launches        []int // where each ends in work
	scores          int   // bytes at most
	blocks          int   // of the longest document
}

// planChoice is the plan for thread blocks of so many rows, where those before dense see every block.
func planChoice(docs compute.Documents, heads, each, dense int, byQuery bool) choicePlan {
	var p choicePlan
	for i := range docs.Count() {
		begin, end := docs.Span(i)
		rows := end - begin
		w := chooseWork{begin: int32(begin), end: int32(end)}
		p.blocks = max(p.blocks, ceil(rows, docs.Block))
		if rows > dense {
			p.documents = append(p.documents, w)
		}
		for ; int(w.first) < rows; w.first += int32(each) {
			p.work = append(p.work, w)
		}
	}
	slices.SortStableFunc(p.work, func(a, b chooseWork) int { return cmp.Compare(b.first, a.first) })
	used := 0
	for i := range p.work {
		w := &p.work[i]
		last := min(int(w.first)+each, int(w.end-w.begin))
		if !byQuery || last <= dense {
			continue
		}
		n := (last - int(w.first)) * heads * chooseRoom * ceil(ceil(last, docs.Block), chooseRoom)
		if used > 0 && 4*(used+n) > chooseScores {
			p.launches, used = append(p.launches, i), 0
		}
		w.at = int32(used / chooseRoom)
		used += n
		p.scores = max(p.scores, 4*used)
	}
	p.launches = append(p.launches, len(p.work))
	return p
}

// ChooseBlocks: see the definition.
func (d *Device) ChooseBlocks(sel compute.Selection, q, k, s compute.Tensor, docs compute.Documents, p compute.SelectParams) {
	w, ok := d.choiceWalk(sel, q, k, s, docs, p)
	if !ok {
		return
	}
	w.summarize(d)
	from := 0
	for _, end := range w.launches {
		w.score(d, from, end)
		w.choose(d, from, end)
		from = end
	}
}

// choiceWalk is what the launches of a choice have in common.
type choiceWalk struct {
	chooseArgs
	choicePlan
	compute.Layout
	works uintptr // the plan's on the GPU
}

func (d *Device) choiceWalk(sel compute.Selection, q, k, s compute.Tensor, docs compute.Documents, p compute.SelectParams) (*choiceWalk, bool) {
	heads, group, dim := k.Dims[1], q.Dims[1]/k.Dims[1], q.Dims[2]
	if group > chooseGroup || dim > documentMostDim {
		d.Fail(fmt.Errorf("choice of blocks for %d query heads of %d channels: %w", group, dim, errChoose))
		return nil, false
	}
	l := compute.Layout{Heads: heads, Dim: dim, Block: docs.Block, Kernel: docs.Kernel, Stride: docs.Stride}
	small := func(n int) int32 { return int32(min(n, 1<<28)) } // more than rows, and sums of three are numbers
	a := chooseArgs{
		q: q.Addr, k: k.Addr, selected: sel.Blocks.Addr, count: sel.Count.Addr,
		heads: int32(heads), group: int32(group), dim: int32(dim), wide: int32(documentShape{dim: dim}.wide()),
		block: int32(l.Block), kernel: int32(l.Kernel), stride: int32(l.Stride), segments: int32(l.Segments()), span: int32(l.Span()),
		windows: int32(docs.Rows()/l.Stride + chooseChunk), blocks: int32(docs.Rows()/l.Block + 1),
		places: int32(sel.Blocks.Dims[2]), perWarp: int32(chooseGroup / group),
		byQuery: flag(p.ByQuery), byScore: flag(p.ByScore), init: small(p.Init), local: small(p.Local), mostByQuery: small(p.K), most: small(p.K),
		dense: max(small(p.DenseLen), small(min(p.K, docs.Rows())*l.Block)), slope: float32(math.Log2E / math.Sqrt(float64(dim))),
	}
	if p.ByScore {
		a.s, a.mostByQuery = s.Addr, small(min(p.K, p.Init+p.Local+p.Query))
	}
	plan := planChoice(docs, heads, chooseWarps*int(a.perWarp), int(a.dense), p.ByQuery)
	const size = int(unsafe.Sizeof(chooseWork{}))
	all := append(slices.Clip(plan.work), plan.documents...)
	if !d.share([]part{
		{&a.work, size * len(all)},
		{&a.means, 2 * heads * int(a.windows*a.wide)},
		{&a.windowScore, 4 * heads * int(a.windows)},
		{&a.blockScore, 4 * heads * int(a.blocks)},
		{&a.order, 4 * heads * int(a.blocks)},
		{&a.scores, plan.scores},
	}) {
		return nil, false
	}
	to := compute.Describe(dtype.U8, size*len(all))
	to.Addr = a.work
	d.Upload(to, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(all))), size*len(all)))
	a.documents = a.work + uintptr(size*len(plan.work))
	return &choiceWalk{chooseArgs: a, choicePlan: plan, Layout: l, works: a.work}, true
}

// summarize takes what no query enters: means of windows, importance, and the order of blocks by it.
func (w *choiceWalk) summarize(d *Device) {
	n := len(w.choicePlan.documents)
	if n == 0 {
		return
	}
	launch(d, d.c.windows, driver.Dim{X: w.choicePlan.blocks, Y: w.Heads, Z: n}, documentThreads, 4*(w.Segments()+2*w.Span()), &w.chooseArgs)
	if w.byScore != 0 {
		launch(d, d.c.order, driver.Dim{X: ceil(w.choicePlan.blocks, documentThreads), Y: w.Heads, Z: n}, documentThreads, 0, &w.chooseArgs)
	}
}

// launch posts a kernel for thread blocks of the plan.
func (w *choiceWalk) launch(d *Device, k driver.Function, from, end, shared int) {
	w.chooseArgs.work = w.works + unsafe.Sizeof(chooseWork{})*uintptr(from)
	launch(d, k, grid((end-from)*w.Heads, 1), 32*chooseWarps, shared, &w.chooseArgs)
}

// score takes the scores of rows by their queries.
func (w *choiceWalk) score(d *Device, from, end int) {
	if w.choicePlan.scores == 0 {
		return
	}
	shared := 2*chooseStages*chooseChunk*int(w.wide) + 4*chooseWarps*chooseGroup*(choosePart+8)
	w.launch(d, d.c.score.of(documentShape{dim: w.Dim}), from, end, shared)
}

// choose chooses for rows that have their scores.
func (w *choiceWalk) choose(d *Device, from, end int) {
	k, words := d.c.of(w.choicePlan.blocks)
	w.words = int32(words)
	w.launch(d, k, from, end, 4*chooseWarps*words)
}
