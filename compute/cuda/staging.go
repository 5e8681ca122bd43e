//go:build linux && amd64

package cuda

import (
	"errors"

	"nosa/compute/cuda/driver"
)

const (
	stagingBytes = 16 << 20
	stagingChunk = 4 << 20
	stagingAlign = 256
)

// staging is a ring of pinned memory through which data of the host travels, with as
// much on the GPU for lists that kernels read. Its places are used again when the stream
// has come past them.
type staging struct {
	host   []byte
	device uintptr
	at     int
}

func (s *staging) open(ctx *driver.Context) (err error) {
	if s.host, err = ctx.AllocHost(stagingBytes); err != nil {
		return err
	}
	s.device, err = ctx.Alloc(stagingBytes)
	return err
}

func (s *staging) close(ctx *driver.Context) error {
	var errs []error
	if s.device != 0 {
		errs = append(errs, ctx.Free(s.device))
	}
	if s.host != nil {
		errs = append(errs, ctx.FreeHost(s.host))
	}
	*s = staging{}
	return errors.Join(errs...)
}

// stage is a free place of n bytes, at most stagingBytes, on the host and the GPU.
func (d *Device) stage(n int) (host []byte, device uintptr) {
	s := &d.staging
	if s.at+n > stagingBytes {
		d.keep(d.ctx.Synchronize(d.stream))
		s.at = 0
	}
	from := s.at
	s.at = (s.at + n + stagingAlign - 1) / stagingAlign * stagingAlign
	return s.host[from : from+n : from+n], s.device + uintptr(from)
}

// list copies numbers to the GPU and returns where they lie until the next ops of the
// device have been posted.
func list[T int32 | float32](d *Device, numbers ...[]T) uintptr {
	n := 0
	for _, v := range numbers {
		n += len(v)
	}
	if n == 0 {
		return 0
	}
	host, device := d.stage(4 * n)
	at := asNumbers[T](host)
	for _, v := range numbers {
		at = at[copy(at, v):]
	}
	d.ctx.CopyIn(d.stream, device, address(host), 4*n)
	return device
}

// List is for packages with kernels of their own: it copies numbers to the GPU and returns where
// they lie until the next ops have been posted.
func (d *Device) List(numbers ...[]int32) uintptr { return list(d, numbers...) }

// buffer is memory of the GPU that grows.
type buffer struct {
	p uintptr
	n int
}

// need is at least n bytes. What lay in it is gone when it had to grow.
func (b *buffer) need(ctx *driver.Context, n int) (uintptr, error) {
	if n <= b.n {
		return b.p, nil
	}
	if err := b.close(ctx); err != nil {
		return 0, err
	}
	p, err := ctx.Alloc(n)
	if err != nil {
		return 0, err
	}
	b.p, b.n = p, n
	return p, nil
}

// close waits until the GPU is done with the memory.
func (b *buffer) close(ctx *driver.Context) error {
	if b.p == 0 {
		return nil
	}
	p := b.p
	*b = buffer{}
	return ctx.Free(p)
}
