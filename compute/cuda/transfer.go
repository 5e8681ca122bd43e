//go:build linux && amd64

package cuda

import (
	"errors"
	"sync"
	"unsafe"

	"nosa/compute"
	"nosa/compute/cuda/driver"
)

// transfer moves single blocks, for the store's goroutines.
type transfer struct {
	mu     sync.Mutex
	stream driver.Stream
	event  driver.Event
	pinned []byte
}

func (t *transfer) open(ctx *driver.Context) (err error) {
	if t.stream, err = ctx.NewStream(0); err != nil {
		return err
	}
	t.event, err = ctx.NewEvent(false)
	return err
}

func (t *transfer) close(ctx *driver.Context) error {
	var errs []error
	if t.pinned != nil {
		errs = append(errs, ctx.FreeHost(t.pinned))
	}
	if t.event != 0 {
		errs = append(errs, ctx.FreeEvent(t.event))
	}
	if t.stream != 0 {
		errs = append(errs, ctx.FreeStream(t.stream))
	}
	t.pinned, t.event, t.stream = nil, 0, 0
	return errors.Join(errs...)
}

// begin makes the transfer wait for the ops that were posted before it, and room for n
// bytes. The caller holds mu.
func (d *Device) begin(n int) bool {
	t := &d.transfer
	if len(t.pinned) < n {
		if t.pinned != nil {
			d.keep(d.ctx.FreeHost(t.pinned))
			t.pinned = nil
		}
		var err error
		if t.pinned, err = d.ctx.AllocHost(n); err != nil {
			d.keep(err)
			return false
		}
	}
	d.ctx.Record(t.event, d.stream)
	d.ctx.Wait(t.stream, t.event)
	return true
}

// Record records what post posts to the device's stream as a graph, while no transfer
// begins: one that waits for what was posted before it would become a part of the graph.
func (d *Device) Record(post func()) (driver.Graph, error) {
	d.transfer.mu.Lock()
	defer d.transfer.mu.Unlock()
	if err := d.ctx.BeginCapture(d.stream); err != nil {
		return 0, err
	}
	post()
	return d.ctx.EndCapture(d.stream)
}

// CopySlot copies a slot's block to the host, byte for byte.
func (d *Device) CopySlot(c *compute.Cache, dst []byte, slot int32) {
	d.transfer.mu.Lock()
	defer d.transfer.mu.Unlock()
	if !d.begin(len(dst)) {
		return
	}
	x := c.Slots.Rows(int(slot), int(slot)+1)
	d.ctx.CopyOut(d.transfer.stream, address(d.transfer.pinned), x.Addr, len(dst))
	d.keep(d.ctx.Synchronize(d.transfer.stream))
	copy(dst, d.transfer.pinned)
}

// FillSlot copies a block from the host into a slot, byte for byte.
func (d *Device) FillSlot(c *compute.Cache, slot int32, src []byte) {
	d.transfer.mu.Lock()
	defer d.transfer.mu.Unlock()
	if !d.begin(len(src)) {
		return
	}
	copy(d.transfer.pinned, src)
	x := c.Slots.Rows(int(slot), int(slot)+1)
	d.ctx.CopyIn(d.transfer.stream, x.Addr, address(d.transfer.pinned), len(src))
	d.keep(d.ctx.Synchronize(d.transfer.stream))
}

// asNumbers is memory outside the heap as numbers.
func asNumbers[T int32 | float32](b []byte) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}
