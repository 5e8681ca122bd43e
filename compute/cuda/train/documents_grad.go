//go:build linux && amd64

package train

import (
	"errors"
	"slices"

	"nosa/compute"
	"nosa/compute/cuda/driver"
)

// gradientKernel is one way to walk over queries, or over keys: mma.sync's, or one of those of sm_90a
// (documents_queries_grad_group.cu, documents_keys_grad_group.cu).
type gradientKernel struct {
	name        string
	f           driver.Function
	wide        int  // channels that it is made for
	each        int  // queries, or tiles of keys, of a thread block
	threads     int  // of one
	fixed, word int  // bytes of its shared memory: any documents', and of each word of a row's bits
	eights      bool // for whole eights of channels only
	every       bool // for rows that see every block only
}

// gradientKernels are the two walks of a gradient.
type gradientKernels struct{ queries, keys *gradientKernel }

// takes reports whether a kernel is for a shape, and for rows that have chosen blocks or see every block.
func (k *gradientKernel) takes(s documentShape, chosen bool) bool {
	return k.wide == s.wide() && (s.dim%8 == 0 || !k.eights) && !(chosen && k.every)
}

// launch posts the walk.
func (k *gradientKernel) launch(d *Device, w *documentWalk, blocks int) {
	launch(d, k.f, grid(blocks*w.documentShape.heads, 1), k.threads, k.fixed+k.word*w.documentPlan.words, &w.documentsArgs)
}

// firstOf is the best kernel for a shape. Those of mma.sync take any.
func firstOf(list []*gradientKernel, s documentShape, chosen bool) *gradientKernel {
	for _, k := range list {
		if k.takes(s, chosen) {
			return k
		}
	}
	return nil
}

// rowsBytes are the rows that see a tile of keys in shared memory, and what they are counted by.
const rowsBytes = 4 * (33*documentThreads + 4)

// plainGradients are the kernels of documents_queries_grad.cu and documents_keys_grad.cu.
func plainGradients(name string, wide int) (queries, keys *gradientKernel) {
	many := documentShape{dim: wide}.atOnce()
	tile, rows := 2*wide*documentTokens, 2*wide*many
	queries = &gradientKernel{name: name, wide: wide, each: many, threads: documentThreads, fixed: 2*rows + 4*tile + 8*documentTokens, word: 4}
	keys = &gradientKernel{name: name, wide: wide, each: 1, threads: documentThreads, fixed: 2*tile + 2*rows + 16*many + rowsBytes}
	return queries, keys
}

// groupGradient is a kernel of sm_90a, for so many warpgroups, with one more that fills the stages.
func groupGradient(name string, wide, groups, stages int) *gradientKernel {
	const barriers = 2 * 8            // of a stage
	both := 4 * wide * documentTokens // bytes of two matrices of 64 rows
	return &gradientKernel{name: name, wide: wide, threads: 128 * (groups + 1), fixed: barriers*stages + 1024 + (groups+stages)*both, eights: true}
}

func queriesGroup(name string, wide, groups, stages int) *gradientKernel {
	k := groupGradient(name, wide, groups, stages)
	k.each, k.word = documentTokens*groups, 4
	k.fixed += 4 * documentTokens * stages // biases
	return k
}

func keysGroup(name string, wide, groups, stages int, every bool) *gradientKernel {
	k := groupGradient(name, wide, groups, stages)
	k.each, k.every = groups, every
	k.fixed += stages * ((12+4*groups)*documentTokens + 16) // what is known of queries
	if !every {
		k.fixed += rowsBytes
	}
	return k
}

// loadGradients loads the kernels that the GPU has.
func (d *Device) loadGradients() error {
	q64, k64 := plainGradients("64", documentMostDim/2)
	q128, k128 := plainGradients("128", documentMostDim)
	queries, keys := []*gradientKernel{q64, q128}, []*gradientKernel{k64, k128}
	var queriesGroups, keysGroups []*gradientKernel
	if p := d.Properties(); p.Major == 9 && p.Minor == 0 {
		queriesGroups = []*gradientKernel{queriesGroup("two_64", 64, 2, 5), queriesGroup("one_64", 64, 1, 4), queriesGroup("three_64", 64, 3, 5), queriesGroup("two_128", 128, 2, 4)}
		keysGroups = []*gradientKernel{keysGroup("pair_64", 64, 2, 5, true), keysGroup("solo_64", 64, 1, 4, false), keysGroup("trio_64", 64, 3, 5, true), keysGroup("pair_128", 128, 2, 4, false)}
	}
	load := func(source, walk string, kernels []*gradientKernel, more map[string]*driver.Function) error {
		if len(kernels) == 0 {
			return nil
		}
		for _, k := range kernels {
			more[walk+k.name] = &k.f
		}
		errs := []error{d.load(source, more)}
		if errs[0] == nil {
			for _, k := range kernels {
				errs = append(errs, d.Context().AllowShared(k.f, d.Properties().SharedMemory))
			}
		}
		return errors.Join(errs...)
	}
	// Those of sm_90a are behind the others until they have been measured: no GPU has run them yet.
	d.a.queriesGrad, d.a.keysGrad = slices.Concat(queries, queriesGroups), slices.Concat(keys, keysGroups)
	return errors.Join(
		load("documents_queries_grad", "queries_grad_", queries, map[string]*driver.Function{"stats": &d.a.stats}),
		load("documents_keys_grad", "keys_grad_", keys, map[string]*driver.Function{}),
		load("documents_queries_grad_group", "queries_grad_", queriesGroups, map[string]*driver.Function{}),
		load("documents_keys_grad_group", "keys_grad_", keysGroups, map[string]*driver.Function{}),
	)
}

// gradient is the work of a gradient by two kernels; what is known of each query is posted.
func (d *Device) gradient(by gradientKernels, dq, dk, dv, ds, dout, out, lse, q, k, v, s compute.Tensor, sel compute.Selection, docs compute.Documents) (*documentWalk, bool) {
	w, ok := d.walk(q, k, v, s, sel, docs, &by)
	if !ok {
		return nil, false
	}
	w.out, w.lse, w.dout = out.Addr, lse.Addr, dout.Addr
	w.dq, w.dk, w.dv, w.ds = dq.Addr, dk.Addr, dv.Addr, ds.Addr
	const most = 2048 // thread blocks that pass over all queries
	launch(d, d.a.stats, grid(min(ceil(lse.Len(), documentThreads/32), most), 1), documentThreads, 0, &w.documentsArgs)
	return w, true
}

// walkQueries and walkKeys post the two walks.
func (d *Device) walkQueries(k *gradientKernel, w *documentWalk) {
	w.work = w.queriesAt
	k.launch(d, w, len(w.queries))
}

func (d *Device) walkKeys(k *gradientKernel, w *documentWalk) {
	w.work = w.keysAt
	k.launch(d, w, len(w.keys))
}

// AttendDocumentsGrad: see the definition.
func (d *Device) AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s compute.Tensor, sel compute.Selection, docs compute.Documents) {
	shape := documentShape{dim: q.Dims[2]}
	by := gradientKernels{firstOf(d.a.queriesGrad, shape, !sel.None()), firstOf(d.a.keysGrad, shape, !sel.None())}
	if w, ok := d.gradient(by, dq, dk, dv, ds, dout, out, lse, q, k, v, s, sel, docs); ok {
		d.walkQueries(by.queries, w)
		d.walkKeys(by.keys, w)
	}
}
