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
	attend                               []*attendKernel // the best first
	queriesGrad, keysGrad                documentKernels
	list, stats, summary, summaryQueries driver.Function
}

// documentKernels have heads of up to 64 channels, and of up to 128.
type documentKernels struct{ narrow, wide driver.Function }

func (k documentKernels) of(s documentShape) driver.Function {
	if s.wide() == documentMostDim {
		return k.wide
	}
	return k.narrow
}

func (d *Device) loadAttention() error {
	a := &d.a
	errs := []error{
		d.loadAttend(),
		d.load("documents_queries_grad", map[string]*driver.Function{
			"queries_grad_64": &a.queriesGrad.narrow, "queries_grad_128": &a.queriesGrad.wide, "stats": &a.stats,
		}),
		d.load("documents_keys_grad", map[string]*driver.Function{"keys_grad_64": &a.keysGrad.narrow, "keys_grad_128": &a.keysGrad.wide}),
		d.load("documents_list", map[string]*driver.Function{"list": &a.list}),
		d.load("documents_choose", map[string]*driver.Function{"summary": &a.summary, "summary_queries": &a.summaryQueries}),
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, k := range []driver.Function{a.list, a.queriesGrad.narrow, a.queriesGrad.wide, a.keysGrad.narrow, a.keysGrad.wide} {
		errs = append(errs, d.Context().AllowShared(k, d.Properties().SharedMemory))
	}
	return errors.Join(errs...)
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

// documentWalk is what launches of an op have in common.
type documentWalk struct {
	documentsArgs
	documentShape
	documentPlan
	queriesAt, keysAt uintptr // lists of the plan on the GPU
	attend            *attendKernel
}

// walk is of an op that is told q, k, v and s. With a selection, it has what rows selected as
// bits, and for the gradient as columns.
func (d *Device) walk(q, k, v, s compute.Tensor, sel compute.Selection, docs compute.Documents, gradient bool) (*documentWalk, bool) {
	shape := documentShape{heads: k.Dims[1], group: q.Dims[1] / k.Dims[1], dim: q.Dims[2], block: docs.Block}
	if !shape.takes() {
		d.Fail(fmt.Errorf("attention of %d channels to blocks of %d tokens: %w", shape.dim, docs.Block, errDocuments))
		return nil, false
	}
	var attend *attendKernel
	if !gradient {
		attend = d.attendKernel(shape, docs)
		shape.blockQueries = attend.queries
	}
	p := planDocuments(docs, shape)
	scale := 1 / math.Sqrt(float64(shape.dim))
	w := &documentWalk{documentShape: shape, documentPlan: p, attend: attend, documentsArgs: documentsArgs{
		q: q.Addr, k: k.Addr, v: v.Addr, s: s.Addr, columnWords: int64(p.columns),
		heads: int32(shape.heads), group: int32(shape.group), dim: int32(shape.dim), block: int32(docs.Block), words: int32(p.words), rows: int32(docs.Rows()),
		shift: int32(bits.TrailingZeros(uint(min(docs.Block, documentTokens)))), scale: float32(scale), slope: float32(scale * math.Log2E),
		reciprocal: uint32((1<<32 + shape.group - 1) / shape.group), // 0 of a group of 1
		tiles:      int32(p.tiles),
	}}
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

// shared is the shared memory of a walk over queries that has so many matrices of them.
func (w *documentWalk) shared(matrices int) int {
	tile := 2 * w.wide() * documentTokens
	return 2*w.wide()*w.atOnce()*matrices + 4*tile + 8*documentTokens + 4*int(w.documentPlan.words)
}

// AttendDocuments: see the definition.
func (d *Device) AttendDocuments(out, lse, q, k, v, s compute.Tensor, sel compute.Selection, docs compute.Documents) {
	w, ok := d.walk(q, k, v, s, sel, docs, false)
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

// AttendDocumentsGrad: see the definition.
func (d *Device) AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s compute.Tensor, sel compute.Selection, docs compute.Documents) {
	w, ok := d.walk(q, k, v, s, sel, docs, true)
	if !ok {
		return
	}
	w.out, w.lse, w.dout = out.Addr, lse.Addr, dout.Addr
	w.dq, w.dk, w.dv, w.ds = dq.Addr, dk.Addr, dv.Addr, ds.Addr
	const most = 2048 // thread blocks that pass over all queries
	launch(d, d.a.stats, grid(min(ceil(lse.Len(), documentThreads/32), most), 1), documentThreads, 0, &w.documentsArgs)

	w.work = w.queriesAt
	launch(d, d.a.queriesGrad.of(w.documentShape), grid(len(w.queries)*w.documentShape.heads, 1), documentThreads, w.shared(2), &w.documentsArgs)

	w.work = w.keysAt
	const list = 4 * (33*documentThreads + 4) // rows of a tile, and what they are counted by
	tile, beside := 2*w.wide()*documentTokens, w.atOnce()/2
	launch(d, d.a.keysGrad.of(w.documentShape), grid(len(w.keys)*w.documentShape.heads, 1), documentThreads, 2*tile+8*w.wide()*beside+32*beside+list, &w.documentsArgs)
}
