//go:build linux && amd64

package train

import (
	"errors"
	"fmt"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// Device is a GPU with the ops of compute.Trainer. Those that it shares with compute.Device take
// activations of bf16 too; float32 ones go to the ops of package cuda.
type Device struct {
	*cuda.Device
	k       kernels
	p       products
	a       attention
	c       choice
	r       receivedKernels
	modules []driver.Module
	work    compute.Tensor // what the kernels of one op hand to each other

	counts []int32 // of EmbedGrad, by id
}

var _ compute.Trainer = (*Device)(nil)

// Open is GPU n: see cuda.Open.
func Open(n int) (*Device, error) {
	of, err := cuda.Open(n)
	if err != nil {
		return nil, err
	}
	d := &Device{Device: of}
	if err := errors.Join(d.loadKernels(), d.loadProducts(), d.loadAttention(), d.loadChoice(), d.loadReceived()); err != nil {
		return nil, fmt.Errorf("cuda:%d: %w", n, errors.Join(err, d.Close()))
	}
	return d, nil
}

// Close gives back everything that the device holds. No op may run any more.
func (d *Device) Close() error {
	var errs []error
	for _, m := range d.modules {
		errs = append(errs, d.Context().FreeModule(m))
	}
	d.modules = nil
	return errors.Join(append(errs, d.Device.Close())...)
}

// Activations are bf16.
func (d *Device) Activations() dtype.Type { return dtype.BF16 }

// need is work of at least n bytes. What lay in it is gone; it is of one op at a time.
func (d *Device) need(n int) (uintptr, bool) {
	if !d.work.None() && n <= d.work.Len() {
		return d.work.Addr, true
	}
	if !d.work.None() {
		d.Free(d.work)
		d.work = compute.Tensor{}
	}
	x, err := d.Alloc(dtype.U8, n)
	if err != nil {
		d.Fail(err)
		return 0, false
	}
	d.work = x
	return x.Addr, true
}
