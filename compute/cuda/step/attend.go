//go:build linux && amd64

package step

import (
	"fmt"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/driver"
)

// The constants of attend.cu.
const (
	streams   = 4           // of a cut, one warp each
	cutBlocks = 2 * streams // of a row's list, without the own block, that are added by themselves
	headRows  = 16          // query heads that a thread block has at once
	plainRows = 4           // and where it has no matrices
)

// attendArgs is the struct of attend.cu.
type attendArgs struct {
	c                cacheArgs
	rows             rowsArgs
	sel              selectionArgs
	q, out, part     uintptr
	cut, group, cuts int32
	split            int32
	ring, piece      int32
	wave, copiers    int32
	late, gathered   uintptr
}

// Waves of attend.cu.
const (
	firstWave = 1 + iota
	secondWave
	bothWaves
)

// attention are the kernels by which rows attend to their blocks.
type attention struct {
	walks  map[walk]driver.Function
	plain  [compute.KVQ4 + 1]driver.Function
	merge4 driver.Function // heads of a multiple of 4 channels
	merge1 driver.Function

	warps int // of a thread block, where a test asks for other ones than the usual; 0: it does not
}

// walk names a kernel for whole matrices.
type walk struct {
	kv     compute.KVType
	dim    int // channels; exactly, with blocks of 64 tokens, or at most
	exact  bool
	pieces int // of a block's keys, and of its values
}

// load finds the kernels.
func (a *attention) load(g *gpu) error {
	found := map[string]*driver.Function{"attend_merge_4": &a.merge4, "attend_merge_1": &a.merge1}
	for kv := range a.plain {
		found[fmt.Sprintf("attend_%v_plain", compute.KVType(kv))] = &a.plain[kv]
	}
	walks := map[walk]*driver.Function{}
	for name, w := range walkNames() {
		f := new(driver.Function)
		found["attend_"+name], walks[w] = f, f
	}
	if err := g.load("attend", found); err != nil {
		return err
	}
	a.walks = map[walk]driver.Function{}
	for w, f := range walks {
		a.walks[w] = *f
	}
	for _, f := range found {
		if *f == a.merge4 || *f == a.merge1 {
			continue
		}
		if err := g.ctx.AllowShared(*f, g.props.SharedMemory); err != nil {
			return err
		}
	}
	return nil
}

// walkNames are the kernels of attend.cu that walk matrices.
func walkNames() map[string]walk {
	names := map[string]walk{}
	for kv, pieces := range map[compute.KVType][2]int{
		compute.KVBF16: {4, 2}, compute.KVF16: {4, 2}, compute.KVQ8: {2, 1}, compute.KVQ4: {1, 1},
	} {
		names[kv.String()+"_128"] = walk{kv, 128, true, pieces[0]}
		names[kv.String()+"_64"] = walk{kv, 64, true, pieces[1]}
		names[kv.String()+"_upto128"] = walk{kv, 128, false, 1}
		names[kv.String()+"_upto256"] = walk{kv, 256, false, 1}
	}
	return names
}

// usual is the kernel for a shape, and whether there is one.
func (a *attention) usual(l cuda.LayoutArgs) (walk, bool) {
	w := walk{kv: compute.KVType(l.KV), dim: int(l.Dim), exact: l.Block == 64 && (l.Dim == 64 || l.Dim == 128), pieces: 1}
	each := int32(16) // channels and tokens of a matrix
	switch {
	case w.kv == compute.KVF32:
		return w, false
	case w.kv == compute.KVQ4:
		each = 32
	}
	if l.Dim%each != 0 || l.Block%each != 0 || l.Dim > 256 {
		return w, false
	}
	switch {
	case w.exact && w.kv == compute.KVQ8 && l.Dim == 128:
		w.pieces = 2
	case w.exact && (w.kv == compute.KVBF16 || w.kv == compute.KVF16):
		w.pieces = int(l.Dim) / 32
	case !w.exact:
		w.dim = max(128, (int(l.Dim)+127)/128*128)
	}
	return w, true
}

// queryBytes is what the queries take of shared memory, with a factor for each.
func queryBytes(dim int) int { return headRows*(dim+16)*4 + headRows*4 }

// piece is the size of the pieces in which a block comes to shared memory.
func (w walk) piece(l cuda.LayoutArgs, scores bool) int {
	per := map[compute.KVType]int{compute.KVBF16: 8, compute.KVF16: 8, compute.KVQ8: 16, compute.KVQ4: 32}[w.kv] // elements of 16 bytes
	size := func(rows, n int) int {
		chunks := n / per
		if !w.exact {
			chunks |= 1
		}
		size := 16 * chunks
		if w.kv == compute.KVQ8 || w.kv == compute.KVQ4 {
			size += 8
		}
		return rows / w.pieces * size
	}
	keys, values := size(int(l.Dim), int(l.Block)), size(int(l.Block), int(l.Dim))
	if scores {
		keys += 4 * int(l.Block)
	}
	return (max(keys, values) + 127) / 128 * 128
}

// shape is how a launch is cut up.
type shape struct {
	walk        walk
	matrices    bool
	split       bool // streams are added by the second kernel
	warps, ring int
	piece       int
	shared      int
}

// shapeOf picks the kernel and how many warps its blocks have: 4, which add their streams,
// or, for few rows, 1, so that there are more blocks.
func (a *attention) shapeOf(g *gpu, l cuda.LayoutArgs, scores bool, n, group, blocks int) shape {
	s := shape{warps: streams}
	if s.walk, s.matrices = a.usual(l); !s.matrices {
		s.shared = plainRows * 4 * int(l.Block)
		return s
	}
	s.piece = s.walk.piece(l, scores)
	if a.few(g, l, n, group, blocks) {
		s.warps = 1
	}
	if a.warps > 0 {
		s.warps = a.warps
	}
	const most = 8 // pieces of a ring
	queries, state := queryBytes(int(l.Dim)), headRows*(int(l.Dim)+4)*4
	for ; s.warps > 0; s.warps /= 2 {
		budget := g.props.SharedMemory
		if s.walk.exact && s.warps == streams {
			budget = (budget+1024)/3 - 1024 // so that three lie on a multiprocessor
		}
		s.ring = min(most, (budget-queries)/(s.warps*s.piece))
		s.split = s.warps < streams
		if s.ring >= 2 && (s.split || s.ring*s.piece >= state) {
			s.shared = queries + s.warps*s.ring*s.piece
			return s
		}
	}
	s = shape{walk: s.walk, warps: streams, shared: plainRows * 4 * int(l.Block)}
	return s
}

// few reports whether blocks of four warps would leave multiprocessors without one.
func (a *attention) few(g *gpu, l cuda.LayoutArgs, n, group, blocks int) bool {
	return n*int(l.Heads)*ceil(group, headRows)*ceil(blocks, cutBlocks) <= g.props.Processors
}

// scratchBytes is what run needs of scratch for up to n rows that attend to up to blocks
// blocks: the states of cuts, or of their streams where there are few rows.
func (a *attention) scratchBytes(g *gpu, l compute.Layout, n, group, blocks int) int {
	la := cuda.LayoutOf(l)
	states := func(n, blocks, each int) int {
		return n * l.Heads * (ceil(blocks, cutBlocks) + 1) * each * group * (l.Dim + 4) * 4
	}
	most := 0
	for r := 1; r <= n; r++ {
		each := 1
		if s := a.shapeOf(g, la, l.Scores, r, group, blocks); s.split {
			each = streams
		}
		most = max(most, states(r, blocks, each))
	}
	for b := cutBlocks; b <= blocks; b += cutBlocks { // fewer blocks may be split where all are not
		for r := 1; r <= n && a.few(g, la, r, group, b); r++ {
			most = max(most, states(r, b, streams))
		}
	}
	return most
}

// run attends for every row of a step.
//
//	out      [n, heads·group, dim] bf16
//	q        [n, heads·group, dim] f32, after rotation
//	blocks   the most that a row of the launch can attend to
//	scratch  scratchBytes
//
// Rows that are nobody's are left alone. All blocks but the open ones lie in slots.
func (a *attention) run(g *gpu, out, q uintptr, c cacheArgs, rows rowsArgs, sel selectionArgs, group, blocks int, scratch uintptr) {
	a.runInWaves(g, out, q, c, rows, sel, group, blocks, scratch, coming{})
}

// runInWaves is run while blocks are on their way: first the cuts that lack none, then the
// others, when their blocks have come or, in a launch of their own, when all have. The sums
// are the same. A launch of both waits for no kernel before it: the last one lets it start
// when queries and selections are there.
func (a *attention) runInWaves(g *gpu, out, q uintptr, c cacheArgs, rows rowsArgs, sel selectionArgs, group, blocks int, scratch uintptr, come coming) {
	n, cuts := int(rows.n), ceil(blocks, cutBlocks)
	s := a.shapeOf(g, c.l, c.tokenScore != 0, n, group, blocks)
	args := attendArgs{c: c, rows: rows, sel: sel, q: q, out: out, part: scratch, cut: cutBlocks, group: int32(group), cuts: int32(cuts),
		ring: int32(s.ring), piece: int32(s.piece), late: come.late, gathered: come.gathered, copiers: int32(come.copiers)}
	f, x, y := a.walks[s.walk], (1+cuts)*(streams/s.warps), int(c.l.Heads)*ceil(group, headRows)
	if !s.matrices {
		f, y = a.plain[c.l.KV], int(c.l.Heads)*ceil(group, plainRows)
	}
	if s.split {
		args.split = 1
	}
	postMerge := launchEarly[attendArgs]
	switch {
	case come.late == 0:
		launchEarly(g, f, driver.Dim{X: x, Y: y, Z: n}, 32*s.warps, s.shared, &args)
	case come.gathered != 0:
		args.wave = bothWaves
		launchEarly(g, f, driver.Dim{X: x, Y: y, Z: 2 * n}, 32*s.warps, s.shared, &args)
		come.arrived()
		postMerge = launch[attendArgs] // that attention has ended does not say that all before it has
	default:
		args.wave = firstWave
		launch(g, f, driver.Dim{X: x, Y: y, Z: n}, 32*s.warps, s.shared, &args)
		come.arrived()
		args.wave = secondWave
		launch(g, f, driver.Dim{X: x, Y: y, Z: n}, 32*s.warps, s.shared, &args)
	}
	merge := a.merge1
	if c.l.Dim%4 == 0 {
		merge = a.merge4
	}
	postMerge(g, merge, driver.Dim{X: ceil(int(c.l.Heads)*group, 4), Y: n, Z: 1}, 128, 0, &args)
}
