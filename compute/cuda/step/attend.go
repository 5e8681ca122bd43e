//go:build linux && amd64

package step

import (
	"fmt"

	"nosa/compute"
	"nosa/compute/cuda/driver"
)

// The constants of attend.cu.
const (
	maxStreams = 4       // of a cut, one warp each
	headRows   = 16      // query heads that a thread block has at once
	plainRows  = 4       // and where it has no matrices
	maxCuts    = 16      // that a list is cut into
	lookups    = 32      // unless a stream has more blocks than that
	arrivals   = 1 << 16 // most rows·heads·⌈group/16⌉
	fixedBytes = 2560    // of shared memory, at most, beside what a launch asks for
)

// attendArgs is the struct of attend.cu.
type attendArgs struct {
	c            cacheArgs
	rows         rowsArgs
	sel          selectionArgs
	q, out, part uintptr
	cut, streams int32
	group, cuts  int32
	items        int32
	ring, piece  int32
}

// attention are the kernels by which rows attend to their blocks. Two launches at a time are
// one too many.
type attention struct {
	walks map[walk]driver.Function
	plain [compute.KVQ4 + 1]driver.Function
	merge driver.Function

	tune       walk // what a benchmark asks for instead of the usual; 0: nothing
	each, ring int
	beside     int
	grid       int // thread blocks, a test's
}

// walk names a kernel for whole matrices.
type walk struct {
	kv     compute.KVType
	dim    int // channels; exactly, with blocks of 64 tokens, or at most
	exact  bool
	pieces int // of a block's keys, and of its values
	beside int // thread blocks that lie on a multiprocessor
}

// load finds the kernels.
func (a *attention) load(g *gpu) error {
	found := map[string]*driver.Function{"attend_merge": &a.merge}
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
		if *f == a.merge {
			continue
		}
		if err := g.ctx.SetFunctionAttribute(*f, driver.MaxDynamicShared, g.props.SharedMemory-fixedBytes); err != nil {
			return err
		}
	}
	return nil
}

// walkNames are the kernels of attend.cu that walk matrices.
func walkNames() map[string]walk {
	names := map[string]walk{
		"bf16_128_p2": {compute.KVBF16, 128, true, 2, 2},
		"bf16_128_b3": {compute.KVBF16, 128, true, 4, 3},
		"q8_128_b2":   {compute.KVQ8, 128, true, 2, 2},
		"q4_128_b2":   {compute.KVQ4, 128, true, 1, 2},
	}
	for _, kv := range []compute.KVType{compute.KVBF16, compute.KVF16, compute.KVQ8, compute.KVQ4} {
		for name, w := range map[string]walk{"128": exactWalk(kv, 128), "64": exactWalk(kv, 64), "upto128": {kv, 128, false, 1, 2}, "upto256": {kv, 256, false, 1, 1}} {
			names[kv.String()+"_"+name] = w
		}
	}
	return names
}

// exactWalk is the kernel for blocks of 64 tokens and a number of channels: pieces are of
// some 4 KiB.
func exactWalk(kv compute.KVType, dim int) walk {
	w := walk{kv: kv, dim: dim, exact: true, pieces: 1, beside: 3}
	switch {
	case kv == compute.KVBF16 || kv == compute.KVF16:
		w.pieces, w.beside = dim/32, 2
	case kv == compute.KVQ8:
		w.pieces = dim / 64
	}
	if dim == 64 {
		w.beside = 4
	}
	return w
}

// usual is the kernel for a shape, and whether there is one.
func (a *attention) usual(l layoutArgs) (walk, bool) {
	kv, each := compute.KVType(l.kv), int32(16) // channels and tokens of a matrix
	if kv == compute.KVQ4 {
		each = 32
	}
	switch {
	case kv == compute.KVF32 || l.dim%each != 0 || l.block%each != 0 || l.dim > 256:
		return walk{}, false
	case l.block == 64 && (l.dim == 64 || l.dim == 128):
		w := exactWalk(kv, int(l.dim))
		if a.tune.kv == w.kv && a.tune.dim == w.dim {
			w = a.tune
		}
		return w, true
	case l.dim <= 128:
		return walk{kv, 128, false, 1, 2}, true
	}
	return walk{kv, 256, false, 1, 1}, true
}

// queryBytes is what the queries take of shared memory, with a factor for each.
func queryBytes(dim int) int { return headRows*(dim+16)*4 + headRows*4 }

// piece is the size of the pieces in which a block comes to shared memory.
func (w walk) piece(l layoutArgs, scores bool) int {
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
	keys, values := size(int(l.dim), int(l.block)), size(int(l.block), int(l.dim))
	if scores {
		keys += 4 * int(l.block)
	}
	return (max(keys, values) + 127) / 128 * 128
}

// shape is how a launch is cut up. It knows of a launch only how many there are of its items.
type shape struct {
	walk     walk
	matrices bool
	streams  int // of a cut, each a warp of a thread block
	cut      int // blocks of a cut, at least
	ring     int // pieces of a warp
	piece    int // bytes of one
	shared   int
	beside   int // thread blocks that lie on a multiprocessor
}

// shapeOf picks the kernel, as many streams as shared memory has rings for, and then as many
// thread blocks beside each other.
func (a *attention) shapeOf(g *gpu, l layoutArgs, scores bool) shape {
	const most = 8 // pieces of a ring
	s := shape{streams: maxStreams}
	if s.walk, s.matrices = a.usual(l); s.matrices {
		if a.beside > 0 {
			s.walk.beside = min(s.walk.beside, a.beside)
		}
		s.piece = s.walk.piece(l, scores)
		for ; s.streams > 0; s.streams /= 2 {
			fixed := queryBytes(int(l.dim)) + s.streams/2*32*16*(s.walk.dim/8+2)
			for s.beside = s.walk.beside; s.beside > 0; s.beside-- {
				room := (g.props.SharedMemory+1024)/s.beside - 1024 - fixedBytes
				s.ring = min(most, (room-fixed)/(s.streams*s.piece))
				if a.ring > 0 {
					s.ring = min(s.ring, a.ring)
				}
				if s.ring >= 2 {
					s.shared = fixed + s.streams*s.ring*s.piece
					s.cut = s.streams * a.blocksEach()
					return s
				}
			}
		}
	}
	return shape{walk: s.walk, streams: maxStreams, cut: maxStreams * a.blocksEach(), shared: plainRows * 4 * int(l.block)}
}

// blocksEach is the number of blocks of a stream, at least.
func (a *attention) blocksEach() int {
	if a.each > 0 {
		return a.each
	}
	return 2
}

// cuts is how many cuts lists of up to blocks blocks have, without the own one.
func (s shape) cuts(blocks int) int {
	return max(min(maxCuts, ceil(blocks, s.cut)), ceil(blocks, lookups*s.streams))
}

// scratchBytes is what run needs of scratch for up to n rows that attend to up to blocks
// blocks: the states of cuts.
func (a *attention) scratchBytes(g *gpu, l compute.Layout, n, group, blocks int) int {
	s := a.shapeOf(g, layoutOf(l), l.Scores)
	return n * l.Heads * (s.cuts(blocks) + 1) * group * (l.Dim + 4) * 4
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
	s := a.shapeOf(g, c.l, c.tokenScore != 0)
	n, heads, cuts := int(rows.n), int(c.l.heads), s.cuts(blocks)
	args := attendArgs{c: c, rows: rows, sel: sel, q: q, out: out, part: scratch, cut: int32(s.cut), streams: int32(s.streams),
		group: int32(group), cuts: int32(cuts), ring: int32(s.ring), piece: int32(s.piece)}
	if !s.matrices {
		launch(g, a.plain[c.l.kv], driver.Dim{X: 1 + cuts, Y: heads * ceil(group, plainRows), Z: n}, 128, s.shared, &args)
		launch(g, a.merge, driver.Dim{X: ceil(heads*group, 4), Y: n, Z: 1}, 128, 0, &args)
		return
	}
	lists := n * heads * ceil(group, headRows)
	if lists > arrivals {
		panic(fmt.Sprintf("step: attention of %d rows to %d heads: too many for one launch", n, heads))
	}
	args.items = int32(lists * (1 + cuts))
	grid := min(int(args.items), s.beside*g.props.Processors)
	if a.grid > 0 {
		grid = min(int(args.items), a.grid)
	}
	launch(g, a.walks[s.walk], driver.Dim{X: grid, Y: 1, Z: 1}, 32*s.streams, s.shared, &args)
}
