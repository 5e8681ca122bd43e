//go:build linux && amd64

package step

import (
	"fmt"
	"maps"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/driver"
)

// The constants of attend.cuh.
const (
	streams   = 4   // of a cut, one warp each
	headRows  = 16  // query heads that a thread block has at once
	plainRows = 4   // and where it has no matrices
	jointCut  = 8   // blocks of a cut of a short list, where warps go through blocks together
	streamCut = 16  // and where they do not
	mostCut   = 128 // of a cut of a long one
	manyCuts  = 32  // of a list: of a longer one they are longer
)

// attendArgs is the struct of attend.cuh.
type attendArgs struct {
	c              cacheArgs
	rows           rowsArgs
	sel            selectionArgs
	q, out, part   uintptr
	least          int32
	group, cuts    int32
	split, groups  int32
	ring, piece    int32
	wave, copiers  int32
	late, gathered uintptr
}

// Waves of attend.cuh.
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
	kv    compute.KVType
	dim   int  // channels; exactly, or at most
	joint bool // blocks of 64 tokens and exactly so many channels, through which warps go together
}

// load finds the kernels.
func (a *attention) load(g *gpu) error {
	found := map[string]*driver.Function{"attend_merge_4": &a.merge4, "attend_merge_1": &a.merge1}
	for kv := range a.plain {
		found[fmt.Sprintf("attend_%v_plain", compute.KVType(kv))] = &a.plain[kv]
	}
	walks := map[walk]*driver.Function{}
	joint := map[string]*driver.Function{} // of attend_joint.cu
	for name, w := range walkNames() {
		f := new(driver.Function)
		walks[w] = f
		if w.joint {
			joint["attend_"+name] = f
		} else {
			found["attend_"+name] = f
		}
	}
	if err := g.load("attend", found); err != nil {
		return err
	}
	if err := g.load("attend_joint", joint); err != nil {
		return err
	}
	maps.Copy(found, joint)
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

// walkNames are the kernels that walk matrices.
func walkNames() map[string]walk {
	names := map[string]walk{}
	for _, kv := range []compute.KVType{compute.KVBF16, compute.KVF16, compute.KVQ8, compute.KVQ4} {
		names[kv.String()+"_128"] = walk{kv, 128, true}
		names[kv.String()+"_64"] = walk{kv, 64, true}
		names[kv.String()+"_upto128"] = walk{kv, 128, false}
		names[kv.String()+"_upto256"] = walk{kv, 256, false}
	}
	return names
}

// usual is the kernel for a shape, and whether there is one.
func (a *attention) usual(l cuda.LayoutArgs) (walk, bool) {
	w := walk{compute.KVType(l.KV), int(l.Dim), l.Block == 64 && (l.Dim == 64 || l.Dim == 128)}
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
	if !w.joint {
		w.dim = max(128, (int(l.Dim)+127)/128*128)
	}
	return w, true
}

// queryBytes is what the queries take of shared memory, with a factor for each.
func queryBytes(dim int) int { return headRows*(dim+16)*4 + headRows*4 }

// piece is the size of the pieces in which a block comes to shared memory: its keys, and its values.
func (w walk) piece(l cuda.LayoutArgs, scores bool) int {
	per := map[compute.KVType]int{compute.KVBF16: 8, compute.KVF16: 8, compute.KVQ8: 16, compute.KVQ4: 32}[w.kv] // elements of 16 bytes
	row := func(n int) int {
		chunks := n / per
		if !w.joint {
			chunks |= 1
		}
		return 16 * chunks
	}
	keys, values := int(l.Dim)*row(int(l.Block)), int(l.Block)*row(int(l.Dim))
	if w.coded() { // scales; a joint walk has all with the keys
		keys, values = keys+8*int(l.Dim), values+8*int(l.Block)
		if w.joint {
			keys += 8 * int(l.Block)
		}
	}
	if scores {
		keys += 4 * int(l.Block)
	}
	return (max(keys, values) + 127) / 128 * 128
}

func (w walk) coded() bool { return w.kv == compute.KVQ8 || w.kv == compute.KVQ4 }

// shape is how a launch is cut up.
type shape struct {
	walk        walk
	matrices    bool
	split       bool // streams are added by the second kernel
	warps, ring int
	piece       int
	shared      int
	least       int // blocks of a cut, of a short list
}

// shapeOf picks the kernel and how many warps its blocks have: 4, which add their streams,
// or, for few rows, 1, so that there are more blocks.
func (a *attention) shapeOf(g *gpu, l cuda.LayoutArgs, scores bool, n, group, blocks int) shape {
	s := shape{warps: streams, least: jointCut}
	if s.walk, s.matrices = a.usual(l); !s.matrices {
		s.shared = plainRows * 4 * int(l.Block)
		return s
	}
	s.piece = s.walk.piece(l, scores)
	if s.walk.joint {
		return s.joint(g)
	}
	s.least = streamCut
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
		s.ring = min(most, (budget-queries)/(s.warps*s.piece))
		s.split = s.warps < streams
		if s.ring >= 2 && (s.split || s.ring*s.piece >= state) {
			s.shared = queries + s.warps*s.ring*s.piece
			return s
		}
	}
	return shape{walk: s.walk, warps: streams, least: jointCut, shared: plainRows * 4 * int(l.Block)}
}

// joint fits as many thread blocks onto a multiprocessor as were fastest, or as have a ring of
// three pieces: one is in use, two are on their way.
func (s shape) joint(g *gpu) shape {
	const told = streams*(32*16+4*headRows*4) + 2*4*mostCut + streams*2*32*16 // what warps tell each other
	blocks := 3
	if s.walk.coded() {
		blocks = 4
	}
	for ; ; blocks-- {
		s.ring = min(7, ((g.props.SharedMemory+1024)/blocks-1024-told)/s.piece)
		s.ring -= 1 - s.ring%2 // of an odd number, those that are asked for next are alternately keys and values
		if s.ring >= 3 || blocks == 1 {
			s.shared = s.ring*s.piece + told
			return s
		}
	}
}

// mostCuts is into how many cuts a list of up to so many blocks may be cut.
func mostCuts(blocks, least int) int {
	return max(min(ceil(blocks, least), manyCuts), ceil(blocks, mostCut))
}

// few reports whether blocks of four warps would leave multiprocessors without one.
func (a *attention) few(g *gpu, l cuda.LayoutArgs, n, group, blocks int) bool {
	return n*int(l.Heads)*ceil(group, headRows)*mostCuts(blocks, streamCut) <= g.props.Processors
}

// scratchBytes is what run needs of scratch for up to n rows that attend to up to blocks
// blocks: the states of cuts, or of their streams where there are few rows.
func (a *attention) scratchBytes(g *gpu, l compute.Layout, n, group, blocks int) int {
	la := cuda.LayoutOf(l)
	states := func(s shape, n, blocks int) int {
		each := 1
		if s.split {
			each = streams
		}
		return n * l.Heads * (mostCuts(blocks, s.least) + 1) * each * group * (l.Dim + 4) * 4
	}
	most := 0
	for r := 1; r <= n; r++ {
		most = max(most, states(a.shapeOf(g, la, l.Scores, r, group, blocks), r, blocks))
		for b := streamCut; b <= blocks && a.few(g, la, r, group, b); b += streamCut { // fewer blocks may be split where all are not
			most = max(most, states(a.shapeOf(g, la, l.Scores, r, group, b), r, b))
		}
	}
	return most
}

// run attends for every row of a step.
//
//	out      [n, heads·group, dim] bf16; arranged where that is a multiple of 64
//	q        [n, heads·group, dim] f32, after rotation
//	blocks   the most that a row of the launch can attend to
//	scratch  scratchBytes
//
// Rows that are nobody's are left alone. All blocks but the open ones lie in slots.
func (a *attention) run(g *gpu, out activations, q uintptr, c cacheArgs, rows rowsArgs, sel selectionArgs, group, blocks int, scratch uintptr) {
	a.runInWaves(g, out, q, c, rows, sel, group, blocks, scratch, coming{})
}

// runInWaves is run while blocks are on their way: first the cuts that lack none, then the
// others, when their blocks have come or, in a launch of their own, when all have. The sums
// are the same. A launch of both waits for no kernel before it: the last one lets it start
// when queries and selections are there.
func (a *attention) runInWaves(g *gpu, out activations, q uintptr, c cacheArgs, rows rowsArgs, sel selectionArgs, group, blocks int, scratch uintptr, come coming) {
	n := int(rows.n)
	s := a.shapeOf(g, c.l, c.tokenScore != 0, n, group, blocks)
	cuts := mostCuts(blocks, s.least)
	args := attendArgs{c: c, rows: rows, sel: sel, q: q, out: out.addr, groups: groupsOf(n, out.arranged), part: scratch,
		group: int32(group), least: int32(s.least), cuts: int32(cuts), ring: int32(s.ring), piece: int32(s.piece),
		late: come.late, gathered: come.gathered, copiers: int32(come.copiers)}
	f, y := a.walks[s.walk], int(c.l.Heads)*ceil(group, headRows)
	grid := driver.Dim{X: (1 + cuts) * (streams / s.warps), Y: y, Z: n}
	if !s.matrices {
		f, grid.Y = a.plain[c.l.KV], int(c.l.Heads)*ceil(group, plainRows)
	}
	if s.split {
		args.split = 1
	}
	postMerge := launchEarly[attendArgs]
	switch {
	case come.late == 0:
		launchEarly(g, f, grid, 32*s.warps, s.shared, &args)
	case come.gathered != 0:
		args.wave = bothWaves
		both := grid
		both.Z *= 2
		launchEarly(g, f, both, 32*s.warps, s.shared, &args)
		come.arrived()
		postMerge = launch[attendArgs] // that attention has ended does not say that all before it has
	default:
		args.wave = firstWave
		launch(g, f, grid, 32*s.warps, s.shared, &args)
		come.arrived()
		args.wave = secondWave
		launch(g, f, grid, 32*s.warps, s.shared, &args)
	}
	merge := a.merge1
	if c.l.Dim%4 == 0 {
		merge = a.merge4
	}
	postMerge(g, merge, driver.Dim{X: ceil(int(c.l.Heads)*group, 4), Y: n, Z: 1}, 128, 0, &args)
}
