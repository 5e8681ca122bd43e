//go:build linux && amd64

package train

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"unsafe"

	"nosa/compute"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// attention is the kernels of attention over packed documents.
type attention struct {
	attend                []*attendKernel   // the best first
	queriesGrad, keysGrad []*gradientKernel // the best first
	list, stats           driver.Function
}

func (d *Device) loadAttention() error {
	a := &d.a
	errs := []error{
		d.loadAttend(),
		d.loadGradients(),
		d.load("documents_list", map[string]*driver.Function{"list": &a.list}),
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return d.Context().AllowShared(a.list, d.Properties().SharedMemory)
}

// documentsArgs is the struct of documents.cuh.
type documentsArgs struct {
	q, k, v, s, out, lse, dout, dq, dk, dv, ds, stats    uintptr
	bits, columns, work, selected, count                 uintptr
	columnWords                                          int64
	heads, group, dim, block, words, places, rows, shift int32
	scale, slope                                         float32
	reciprocal                                           uint32
	tiles                                                int32
	image                                                uintptr
}

// args are what kernels must know of a shape and of documents.
func (s documentShape) args(docs compute.Documents, p documentPlan) documentsArgs {
	scale := 1 / math.Sqrt(float64(s.dim))
	return documentsArgs{
		columnWords: int64(p.columns), heads: int32(s.heads), group: int32(s.group), dim: int32(s.dim), block: int32(docs.Block),
		words: int32(p.words), rows: int32(docs.Rows()), tiles: int32(p.tiles),
		shift: int32(bits.TrailingZeros(uint(min(docs.Block, documentTokens)))), scale: float32(scale), slope: float32(scale * math.Log2E),
		reciprocal: uint32((1<<32 + s.group - 1) / s.group), // 0 of a group of 1
	}
}

// documentWalk is what launches of an op have in common.
type documentWalk struct {
	documentsArgs
	documentShape
	documentPlan
	queriesAt, keysAt uintptr // lists of the plan on the GPU
	attend            *attendKernel
}

// walk is of an op that is told q, k, v and s. With a selection, it has what rows selected as
// bits, and for the gradient, whose kernels are by, as columns.
func (d *Device) walk(q, k, v, s compute.Tensor, sel compute.Selection, docs compute.Documents, by *gradientKernels) (*documentWalk, bool) {
	shape := documentShape{heads: k.Dims[1], group: q.Dims[1] / k.Dims[1], dim: q.Dims[2], block: docs.Block}
	if !shape.takes() {
		d.Fail(fmt.Errorf("attention of %d channels to blocks of %d tokens: %w", shape.dim, docs.Block, errDocuments))
		return nil, false
	}
	gradient := by != nil
	var attend *attendKernel
	if gradient {
		shape.blockQueries, shape.blockTiles = by.queries.each, by.keys.each
	} else {
		attend = d.attendKernel(shape, docs)
		shape.blockQueries = attend.queries
	}
	p := planDocuments(docs, shape)
	w := &documentWalk{documentShape: shape, documentPlan: p, attend: attend, documentsArgs: shape.args(docs, p)}
	w.documentsArgs.q, w.documentsArgs.k, w.documentsArgs.v, w.documentsArgs.s = q.Addr, k.Addr, v.Addr, s.Addr
	const size = int(unsafe.Sizeof(documentWork{}))
	all := make([]documentWork, 0, len(p.queries)+len(p.keys)+len(p.lists))
	all = append(append(append(all, p.queries...), p.keys...), p.lists...)

	var lists uintptr
	parts := []part{{&lists, size * len(all)}}
	if gradient {
		parts = append(parts, part{&w.stats, 8 * docs.Rows() * q.Dims[1]})
	}
	if attend != nil && attend.tile > 0 {
		parts = append(parts, part{&w.image, shape.heads * p.tiles * attend.tile})
	}
	if !sel.None() {
		parts = append(parts, part{&w.bits, 4 * docs.Rows() * shape.heads * p.words})
		if gradient {
			parts = append(parts, part{&w.documentsArgs.columns, 4 * shape.heads * p.columns})
		}
	}
	if !d.share(parts) {
		return nil, false
	}
	to := compute.Describe(dtype.U8, size*len(all))
	to.Addr = lists
	d.Upload(to, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(all))), size*len(all)))
	w.queriesAt = lists
	w.keysAt = lists + uintptr(size*len(p.queries))
	if !sel.None() {
		w.selected, w.count, w.places = sel.Blocks.Addr, sel.Count.Addr, int32(sel.Blocks.Dims[2])
		w.work = w.keysAt + uintptr(size*len(p.keys))
		launch(d, d.a.list, grid(len(p.lists)*shape.heads, 1), documentThreads, 4*p.blocks, &w.documentsArgs)
	}
	return w, true
}

// part is where some bytes of the work's memory lie.
type part struct {
	at *uintptr
	n  int
}

// share divides memory of the work.
func (d *Device) share(parts []part) bool {
	const step = 256
	n := 0
	for _, p := range parts {
		n += step * ceil(p.n, step)
	}
	at, ok := d.need(n)
	for _, p := range parts {
		*p.at = at
		at += uintptr(step * ceil(p.n, step))
	}
	return ok
}

// AttendDocuments: see the definition.
func (d *Device) AttendDocuments(out, lse, q, k, v, s compute.Tensor, sel compute.Selection, docs compute.Documents) {
	w, ok := d.walk(q, k, v, s, sel, docs, nil)
	if !ok {
		return
	}
	by := w.attend
	if by.tile > 0 {
		w.work = w.keysAt
		launch(d, by.arrange, grid(len(w.keys)*w.documentShape.heads, 1), arrangeThreads, 0, &w.documentsArgs)
	}
	w.out, w.lse, w.work = out.Addr, lse.Addr, w.queriesAt
	launch(d, by.f[flag(w.s != 0)], grid(len(w.queries)*w.documentShape.heads, 1), by.threads, by.shared(w.documentPlan.words), &w.documentsArgs)
}
