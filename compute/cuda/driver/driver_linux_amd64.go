package driver

import (
	"fmt"
	"sync"
	"unsafe"
)

// function numbers the functions of libcuda that are called.
type function int

const (
	cuInit function = iota
	cuDriverGetVersion
	cuGetErrorName
	cuGetErrorString
	cuDeviceGetCount
	cuDeviceGet
	cuDeviceGetName
	cuDeviceGetAttribute
	cuDeviceTotalMem
	cuDevicePrimaryCtxRetain
	cuDevicePrimaryCtxRelease
	cuCtxSetCurrent
	cuMemGetInfo
	cuMemAlloc
	cuMemFree
	cuMemHostAlloc
	cuMemFreeHost
	cuMemHostRegister
	cuMemHostUnregister
	cuMemcpyHtoDAsync
	cuMemcpyDtoHAsync
	cuMemcpyDtoDAsync
	cuMemsetD8Async
	cuStreamCreateWithPriority
	cuStreamDestroy
	cuStreamSynchronize
	cuStreamWaitEvent
	cuEventCreate
	cuEventDestroy
	cuEventRecord
	cuEventSynchronize
	cuEventElapsedTime
	cuModuleLoadData
	cuModuleUnload
	cuModuleGetFunction
	cuFuncGetAttribute
	cuFuncSetAttribute
	cuLaunchKernel
	cuLaunchKernelEx
	cuStreamBeginCapture
	cuStreamEndCapture
	cuGraphInstantiateWithFlags
	cuGraphExecUpdate
	cuGraphLaunch
	cuGraphExecDestroy
	cuGraphDestroy
	cuTensorMapEncodeTiled

	functions
)

// names are those in the library: where a call has changed, its newer form.
var names = [functions]string{
	"cuInit", "cuDriverGetVersion", "cuGetErrorName", "cuGetErrorString",
	"cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute", "cuDeviceTotalMem_v2",
	"cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease_v2", "cuCtxSetCurrent",
	"cuMemGetInfo_v2", "cuMemAlloc_v2", "cuMemFree_v2", "cuMemHostAlloc", "cuMemFreeHost",
	"cuMemHostRegister_v2", "cuMemHostUnregister",
	"cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuMemcpyDtoDAsync_v2", "cuMemsetD8Async",
	"cuStreamCreateWithPriority", "cuStreamDestroy_v2", "cuStreamSynchronize", "cuStreamWaitEvent",
	"cuEventCreate", "cuEventDestroy_v2", "cuEventRecord", "cuEventSynchronize", "cuEventElapsedTime",
	"cuModuleLoadData", "cuModuleUnload", "cuModuleGetFunction", "cuFuncGetAttribute", "cuFuncSetAttribute",
	"cuLaunchKernel", "cuLaunchKernelEx", "cuStreamBeginCapture_v2", "cuStreamEndCapture",
	"cuGraphInstantiateWithFlags", "cuGraphExecUpdate_v2", "cuGraphLaunch", "cuGraphExecDestroy", "cuGraphDestroy",
	"cuTensorMapEncodeTiled",
}

// Driver is the process's libcuda.
type Driver struct {
	t  *thread
	at [functions]uintptr

	mu      sync.Mutex
	current uintptr // the context that is current on the thread of C
}

// Load opens libcuda.so.1 and starts it, once for the process: the driver's state is
// the process's too. Without a driver it returns an error that wraps ErrNoDriver.
var Load = sync.OnceValues(load)

func load() (*Driver, error) {
	t, err := newThread()
	if err != nil {
		return nil, err
	}
	lib, err := t.open("libcuda.so.1")
	if err != nil {
		return nil, err
	}
	d := &Driver{t: t}
	for f, name := range names {
		if d.at[f] = t.symbol(lib, name); d.at[f] == 0 && !newer(function(f)) {
			return nil, fmt.Errorf("%w: libcuda.so.1 has no %s: it is too old", ErrNoDriver, name)
		}
	}
	if err := d.do(cuInit, 0); err != nil {
		return nil, fmt.Errorf("%w that works: %w", ErrNoDriver, err)
	}
	return d, nil
}

// newer reports whether a function came with the first GPUs that need it: older drivers do without.
func newer(f function) bool { return f == cuLaunchKernelEx || f == cuTensorMapEncodeTiled }

// do calls a function and waits for its result.
func (d *Driver) do(f function, args ...uintptr) error {
	d.t.calls.Lock()
	defer d.t.calls.Unlock()
	return d.locked(f, args...)
}

// locked is do for callers that hold calls, because they pass memory of out.
func (d *Driver) locked(f function, args ...uintptr) error {
	if code := uint32(d.t.call(d.at[f], args...)); code != 0 {
		return d.failure(f, code)
	}
	return nil
}

// get calls a function that returns one word by its first argument.
func (d *Driver) get(f function, args ...uintptr) (uintptr, error) {
	d.t.calls.Lock()
	defer d.t.calls.Unlock()
	d.setWord(0, 0)
	err := d.locked(f, append([]uintptr{d.outAt(0)}, args...)...)
	return d.word(0), err
}

// outAt, word and setWord are the words in which calls return values.
func (d *Driver) outAt(i int) uintptr { return uintptr(unsafe.Pointer(&d.t.out[8*i])) }
func (d *Driver) word(i int) uintptr  { return *(*uintptr)(unsafe.Pointer(&d.t.out[8*i])) }
func (d *Driver) setWord(i int, v uintptr) {
	*(*uintptr)(unsafe.Pointer(&d.t.out[8*i])) = v
}

// failure names a result. The caller holds calls.
func (d *Driver) failure(f function, code uint32) error {
	e := &Error{Call: names[f], Code: code, Name: "unknown error"}
	const place = 16 // beside the words of the call itself
	for fn, s := range map[function]*string{cuGetErrorName: &e.Name, cuGetErrorString: &e.Text} {
		if d.t.call(d.at[fn], uintptr(code), d.outAt(place)) == 0 && d.word(place) != 0 {
			*s = cString(d.word(place))
		}
	}
	return e
}

// Version is the CUDA version of the driver: 13000 for 13.0.
func (d *Driver) Version() (int, error) {
	v, err := d.get(cuDriverGetVersion)
	return int(int32(v)), err
}

// Devices is the number of GPUs.
func (d *Driver) Devices() (int, error) {
	n, err := d.get(cuDeviceGetCount)
	return int(int32(n)), err
}

// Properties are what is told of a GPU.
type Properties struct {
	Name         string
	SameAddress  bool  // the GPU reaches memory of RegisterHost at the address that it has here
	Major, Minor int   // compute capability
	Memory       int64 // bytes
	L2           int64 // bytes
	Processors   int   // streaming multiprocessors
	Clock        int   // kHz, the highest of them
	SharedMemory int   // bytes that a thread block may have
	CopyEngines  int
}

// PeakBF16 is what the tensor cores do at the highest clock, in FLOP a second of bf16 with float32
// sums; 0 where that is not known. What a multiprocessor does in a cycle is from NVIDIA's white
// papers of A100, Ada and H100.
func (p Properties) PeakBF16() float64 {
	cycle := map[int]float64{80: 2048, 86: 512, 89: 512, 90: 4096}[10*p.Major+p.Minor]
	return cycle * float64(p.Processors) * float64(p.Clock) * 1e3
}

// Properties of GPU n.
func (d *Driver) Properties(n int) (Properties, error) {
	var p Properties
	dev, err := d.get(cuDeviceGet, uintptr(n))
	if err != nil {
		return p, err
	}
	attr := func(which uintptr) int {
		v, e := d.get(cuDeviceGetAttribute, which, dev)
		if err == nil {
			err = e
		}
		return int(int32(v))
	}
	p.SameAddress = attr(91) == 1
	p.Major, p.Minor = attr(75), attr(76)
	p.L2, p.Processors, p.Clock, p.SharedMemory, p.CopyEngines = int64(attr(38)), attr(16), attr(13), attr(97), attr(40)
	if err != nil {
		return p, err
	}
	mem, err := d.get(cuDeviceTotalMem, dev)
	if err != nil {
		return p, err
	}
	p.Memory = int64(mem)
	d.t.calls.Lock()
	defer d.t.calls.Unlock()
	if err := d.locked(cuDeviceGetName, d.outAt(0), 256, dev); err != nil {
		return p, err
	}
	p.Name = cString(d.outAt(0))
	return p, nil
}
