//go:build linux && amd64

package cuda

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"nosa/compute"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// ErrNoDriver is returned by Open where no CUDA driver can be used.
var ErrNoDriver = driver.ErrNoDriver

// Device is a GPU as a compute.Device. Its ops are posted to one stream.
type Device struct {
	ctx      *driver.Context
	n        int
	numerics compute.Numerics
	props    driver.Properties
	version  int // of the driver's CUDA, as 13000
	k        kernels
	stream   driver.Stream
	staging  staging
	scratch  buffer // what the kernels of one op hand to each other

	mu     sync.Mutex
	memory map[uintptr]int64 // what Alloc gave, by address
	sum    int64
	err    error // the first that no call could return

	transfer transfer
	hosts    hosts
}

var _ compute.Device = (*Device)(nil)

// Options say which GPU, and in which numbers it computes.
type Options struct {
	GPU int
	// Numerics are those of attention: in float32 with compute.NumericsF32, on tensor cores
	// with compute.NumericsAuto, where queries and weights are rounded to bfloat16.
	Numerics compute.Numerics
}

// ErrNumerics is returned by New for numbers in which a GPU does not compute.
var ErrNumerics = errors.New("not the numerics of a GPU: use auto or f32")

// Open is GPU n. Without a driver the error wraps ErrNoDriver.
func Open(n int) (*Device, error) { return New(Options{GPU: n}) }

// New is the GPU of the options. Without a driver the error wraps ErrNoDriver.
func New(o Options) (*Device, error) {
	n := o.GPU
	if o.Numerics != compute.NumericsAuto && o.Numerics != compute.NumericsF32 {
		return nil, fmt.Errorf("cuda: %v: %w", o.Numerics, ErrNumerics)
	}
	drv, err := driver.Load()
	if err != nil {
		return nil, fmt.Errorf("cuda: %w", err)
	}
	ctx, err := drv.Open(n)
	if err != nil {
		return nil, fmt.Errorf("cuda:%d: %w", n, err)
	}
	d := &Device{ctx: ctx, n: n, numerics: o.Numerics, memory: make(map[uintptr]int64)}
	if err := d.open(drv); err != nil {
		return nil, fmt.Errorf("cuda:%d: %w", n, errors.Join(err, d.Close()))
	}
	return d, nil
}

func (d *Device) open(drv *driver.Driver) (err error) {
	if d.version, err = drv.Version(); err != nil {
		return err
	}
	if d.props, err = drv.Properties(d.n); err != nil {
		return err
	}
	if d.props.Major < 8 {
		return fmt.Errorf("%s has compute capability %d.%d: 8.0 is the least that the kernels run on", d.props.Name, d.props.Major, d.props.Minor)
	}
	if d.stream, err = d.ctx.NewStream(0); err != nil {
		return err
	}
	if err := d.k.load(d.ctx); err != nil {
		return err
	}
	if err := d.k.widen(d.ctx, d.props.SharedMemory); err != nil {
		return err
	}
	if err := d.staging.open(d.ctx); err != nil {
		return err
	}
	return d.transfer.open(d.ctx)
}

// Context, Stream and Properties are for packages with kernels of their own: what they
// post to the stream comes in order with the device's ops.
func (d *Device) Context() *driver.Context { return d.ctx }

// Stream is where the ops are posted.
func (d *Device) Stream() driver.Stream { return d.stream }

// Properties are the GPU's.
func (d *Device) Properties() driver.Properties { return d.props }

// Name is cuda:n.
func (d *Device) Name() string { return fmt.Sprintf("cuda:%d", d.n) }

// Info names the GPU and the driver.
func (d *Device) Info() string {
	return fmt.Sprintf("%s (%s), compute capability %d.%d, %d multiprocessors, %.0f GiB, driver of CUDA %d.%d", d.Name(), d.props.Name,
		d.props.Major, d.props.Minor, d.props.Processors, float64(d.props.Memory)/(1<<30), d.version/1000, d.version%1000/10)
}

// Numbers: the machine code of one compute capability gives the same bits on all GPUs
// that have it.
func (d *Device) Numbers() string {
	numbers := fmt.Sprintf("cuda sm_%d%d", d.props.Major, d.props.Minor)
	if d.numerics == compute.NumericsF32 {
		numbers += " f32"
	}
	return numbers
}

// Numerics names the numbers of attention's products, unless the cache is float32; all
// others are of float32.
func (d *Device) Numerics() string {
	if d.numerics == compute.NumericsF32 {
		return "f32"
	}
	return "bf16"
}

// Memory is what the GPU has free, and in all.
func (d *Device) Memory() (free, total int64, err error) { return d.ctx.Memory() }

// Allocated is the number of bytes that Alloc and Load gave and that Free has not taken
// back.
func (d *Device) Allocated() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sum
}

// Alloc returns zeroed memory of the GPU.
func (d *Device) Alloc(t dtype.Type, shape ...int) (compute.Tensor, error) {
	x := compute.Describe(t, shape...)
	n := max(x.Bytes(), 1)
	p, err := d.ctx.Alloc(n)
	if err != nil {
		return compute.Tensor{}, fmt.Errorf("cuda: %v %v, %d bytes: %w", t, shape, n, err)
	}
	d.ctx.Memset(d.stream, p, 0, n)
	d.mu.Lock()
	d.memory[p] = int64(n)
	d.sum += int64(n)
	d.mu.Unlock()
	x.Addr = p
	return x, nil
}

// Free gives the memory of a tensor of Alloc or Load back, when the ops before are done
// with it. Others are none of its business.
func (d *Device) Free(x compute.Tensor) {
	d.mu.Lock()
	n, ok := d.memory[x.Addr]
	delete(d.memory, x.Addr)
	d.sum -= n
	d.mu.Unlock()
	if ok {
		d.keep(d.ctx.Free(x.Addr))
	}
}

// Load copies a weight to the GPU.
func (d *Device) Load(t dtype.Type, data []byte, shape ...int) (compute.Tensor, error) {
	want := compute.Describe(t, shape...).Bytes()
	if len(data) != want {
		panic(fmt.Sprintf("cuda: weight %v %v takes %d bytes, have %d", t, shape, want, len(data)))
	}
	x, err := d.Alloc(t, shape...)
	if err != nil {
		return x, err
	}
	d.Upload(x, data)
	return x, nil
}

// Upload copies src into the tensor. src may change when it returns.
func (d *Device) Upload(dst compute.Tensor, src []byte) {
	if len(src) > dst.Bytes() {
		panic(fmt.Sprintf("cuda: %d bytes into a tensor of %d", len(src), dst.Bytes()))
	}
	for at := 0; at < len(src); at += stagingChunk {
		part := src[at:min(at+stagingChunk, len(src))]
		host, _ := d.stage(len(part))
		copy(host, part)
		d.ctx.CopyIn(d.stream, dst.Addr+uintptr(at), address(host), len(part))
	}
}

// Download copies the tensor into dst, when the ops before are done: without a detour where
// dst is of AllocHost.
func (d *Device) Download(dst []byte, src compute.Tensor) {
	n := min(len(dst), src.Bytes())
	if d.hosts.has(dst[:n]) {
		d.ctx.CopyOut(d.stream, address(dst), src.Addr, n)
		d.keep(d.ctx.Synchronize(d.stream))
		return
	}
	for at := 0; at < n; at += stagingChunk {
		part := dst[at:min(at+stagingChunk, n)]
		host, _ := d.stage(len(part))
		d.ctx.CopyOut(d.stream, address(host), src.Addr+uintptr(at), len(part))
		d.keep(d.ctx.Synchronize(d.stream))
		copy(part, host)
	}
}

// Sync waits until all ops are done and returns the first error since the last call.
func (d *Device) Sync() error {
	err := errors.Join(d.ctx.Synchronize(d.stream), d.ctx.Err())
	d.mu.Lock()
	defer d.mu.Unlock()
	err = errors.Join(d.err, err)
	d.err = nil
	if err != nil {
		return fmt.Errorf("cuda:%d: %w", d.n, err)
	}
	return nil
}

// Close gives back everything that the device holds. No op may run any more.
func (d *Device) Close() error {
	var errs []error
	if d.stream != 0 {
		errs = append(errs, d.ctx.Synchronize(d.stream))
	}
	for p := range d.memory {
		errs = append(errs, d.ctx.Free(p))
	}
	clear(d.memory)
	d.sum = 0
	errs = append(errs, d.staging.close(d.ctx), d.scratch.close(d.ctx), d.transfer.close(d.ctx), d.k.unload(d.ctx))
	if d.stream != 0 {
		errs = append(errs, d.ctx.FreeStream(d.stream))
	}
	return errors.Join(append(errs, d.ctx.Err(), d.ctx.Close())...)
}

// Fail holds an error of what a package with kernels of its own has posted for Sync.
func (d *Device) Fail(err error) { d.keep(err) }

// keep holds an error for Sync, if it is the first.
func (d *Device) keep(err error) {
	if err == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = err
	}
}

// launch posts a kernel with a struct as its parameter, as the .cu file declares it.
func launch[T any](d *Device, f driver.Function, grid driver.Dim, threads, shared int, args *T) {
	params := unsafe.Slice((*byte)(unsafe.Pointer(args)), unsafe.Sizeof(*args))
	d.ctx.Launch(f, grid, driver.Dim{X: threads, Y: 1, Z: 1}, shared, d.stream, params)
}

// grid is the number of thread blocks along each axis.
func grid(x, y, z int) driver.Dim { return driver.Dim{X: x, Y: y, Z: z} }

func ceil(n, by int) int { return (n + by - 1) / by }

// address is that of memory outside the collector's heap.
func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
