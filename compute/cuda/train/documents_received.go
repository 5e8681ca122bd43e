//go:build linux && amd64

package train

import (
	"errors"
	"fmt"
	"unsafe"

	"nosa/compute"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// receivedKernels are those of ReceivedLoss.
type receivedKernels struct {
	received documentKernels
	settle   driver.Function
}

func (d *Device) loadReceived() error {
	k := &d.r
	if err := d.load("documents_received", map[string]*driver.Function{
		"received_64": &k.received.narrow, "received_128": &k.received.wide, "received_settle": &k.settle,
	}); err != nil {
		return err
	}
	most := d.Properties().SharedMemory
	return errors.Join(d.Context().AllowShared(k.received.narrow, most), d.Context().AllowShared(k.received.wide, most))
}

// receivedArgs is the struct of documents_received.cu.
type receivedArgs struct {
	documentsArgs
	got, pairs, levels, shares, loss uintptr
	init, local                      int32
	by                               float32
}

// ReceivedLoss: see the definition.
func (d *Device) ReceivedLoss(loss, ds, lse, q, k, s compute.Tensor, sel compute.Selection, docs compute.Documents, p compute.SelectParams, scale float32) {
	shape := documentShape{heads: k.Dims[1], group: q.Dims[1] / k.Dims[1], dim: q.Dims[2], block: docs.Block}
	if !shape.takes() {
		d.Fail(fmt.Errorf("attention of %d channels to blocks of %d tokens: %w", shape.dim, docs.Block, errDocuments))
		return
	}
	plan := planDocuments(docs, shape)
	args := receivedArgs{documentsArgs: shape.args(docs, plan), loss: loss.Addr, init: int32(p.Init), local: int32(p.Local), by: scale}
	args.q, args.k, args.s, args.lse, args.ds = q.Addr, k.Addr, s.Addr, lse.Addr, ds.Addr
	const size = int(unsafe.Sizeof(documentWork{}))
	work := append(append(make([]documentWork, 0, len(plan.keys)+len(plan.lists)), plan.keys...), plan.lists...)
	var keys uintptr
	numbers := 4 * docs.Rows() * shape.heads
	parts := []part{{&keys, size * len(work)}, {&args.got, numbers}, {&args.pairs, 4 * shape.heads * plan.columns}, {&args.levels, numbers}, {&args.shares, numbers}}
	if !sel.None() {
		parts = append(parts, part{&args.bits, numbers * plan.words}, part{&args.columns, 4 * shape.heads * plan.columns})
	}
	if !d.share(parts) {
		return
	}
	to := compute.Describe(dtype.U8, size*len(work))
	to.Addr = keys
	d.Upload(to, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(work))), to.Len()))
	if !sel.None() {
		args.selected, args.count, args.places = sel.Blocks.Addr, sel.Count.Addr, int32(sel.Blocks.Dims[2])
		args.work = keys + uintptr(size*len(plan.keys))
		launch(d, d.a.list, grid(len(plan.lists)*shape.heads, 1), documentThreads, 4*plan.blocks, &args.documentsArgs)
	}
	const (
		beside   = 64                       // queries of a step
		known    = 2 * beside * 12          // what is known of them
		list     = 4 * 32 * documentThreads // rows
		settlers = 512                      // threads
	)
	args.work = keys
	blocks := grid(len(plan.keys)*shape.heads, 1)
	launch(d, d.r.received.of(shape), blocks, documentThreads, 2*shape.wide()*(documentTokens+2*beside)+known+list, &args)
	launch(d, d.r.settle, blocks, settlers, 0, &args)
}
