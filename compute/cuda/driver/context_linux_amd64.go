package driver

import (
	"errors"
	"fmt"
	"math"
	"unsafe"
)

// Context is a GPU's primary context. Handles that it gives (memory, streams, …) are
// the caller's to free before Close. Methods may be called from any goroutine; those
// that are said to post return before the driver has seen the call, and their first
// error comes out of Err.
type Context struct {
	d      *Driver
	dev    uintptr
	handle uintptr
	fail   *Failure
}

// Handles of the driver.
type (
	Stream    uintptr
	Event     uintptr
	Module    uintptr
	Function  uintptr
	Graph     uintptr
	GraphExec uintptr
)

// Open retains the primary context of GPU n.
func (d *Driver) Open(n int) (*Context, error) {
	count, err := d.Devices()
	if err != nil {
		return nil, err
	}
	if n < 0 || n >= count {
		return nil, fmt.Errorf("there is no GPU %d: the driver sees %d", n, count)
	}
	dev, err := d.get(cuDeviceGet, uintptr(n))
	if err != nil {
		return nil, err
	}
	h, err := d.get(cuDevicePrimaryCtxRetain, dev)
	if err != nil {
		return nil, err
	}
	p, err := mapPages(4096)
	if err != nil {
		return nil, errors.Join(err, d.do(cuDevicePrimaryCtxRelease, dev))
	}
	return &Context{d: d, dev: dev, handle: h, fail: (*Failure)(p)}, nil
}

// Close releases the context.
func (c *Context) Close() error {
	c.d.mu.Lock()
	c.d.current = 0 // the next one may have the same handle
	c.d.mu.Unlock()
	return c.d.do(cuDevicePrimaryCtxRelease, c.dev)
}

// enter makes the context current on the thread of C, and keeps it so until leave.
func (c *Context) enter() {
	c.d.mu.Lock()
	if c.d.current != c.handle {
		c.d.t.post(c.fail, uintptr(cuCtxSetCurrent), c.d.at[cuCtxSetCurrent], []uintptr{c.handle}, nil, 0)
		c.d.current = c.handle
	}
}

func (c *Context) leave() { c.d.mu.Unlock() }

// do and get post a call in this context and wait for its result. Others may post
// meanwhile.
func (c *Context) do(f function, args ...uintptr) error {
	c.d.t.calls.Lock()
	defer c.d.t.calls.Unlock()
	return c.locked(f, args...)
}

func (c *Context) get(f function, args ...uintptr) (uintptr, error) {
	c.d.t.calls.Lock()
	defer c.d.t.calls.Unlock()
	c.d.setWord(0, 0)
	err := c.locked(f, append([]uintptr{c.d.outAt(0)}, args...)...)
	return c.d.word(0), err
}

func (c *Context) locked(f function, args ...uintptr) error {
	c.enter()
	n := c.d.t.begin(c.d.at[f], args)
	c.leave()
	if code := uint32(c.d.t.finish(n)); code != 0 {
		return c.d.failure(f, code)
	}
	return nil
}

// post calls a function without waiting for it.
func (c *Context) post(f function, args ...uintptr) {
	c.enter()
	c.d.t.post(c.fail, uintptr(f), c.d.at[f], args, nil, 0)
	c.leave()
}

// Err waits for what was posted and returns its first error, once. It does not wait
// for the GPU.
func (c *Context) Err() error {
	c.d.t.wait(c.d.t.c.head.Load())
	code := uint32(c.fail.result.Load())
	if code == 0 {
		return nil
	}
	f := function(c.fail.tag.Load())
	c.fail.result.Store(0)
	c.d.t.calls.Lock()
	defer c.d.t.calls.Unlock()
	return c.d.failure(f, code)
}

// Memory is what the GPU has free, and in all.
func (c *Context) Memory() (free, total int64, err error) {
	c.d.t.calls.Lock()
	defer c.d.t.calls.Unlock()
	err = c.locked(cuMemGetInfo, c.d.outAt(0), c.d.outAt(1))
	return int64(c.d.word(0)), int64(c.d.word(1)), err
}

// Alloc is memory of the GPU, not zeroed.
func (c *Context) Alloc(n int) (uintptr, error) { return c.get(cuMemAlloc, uintptr(n)) }

// Free gives it back.
func (c *Context) Free(p uintptr) error { return c.do(cuMemFree, p) }

// AllocHost is memory of the host that the GPU reaches at the same address and copies
// at full speed. It lies outside the collector's heap.
func (c *Context) AllocHost(n int) ([]byte, error) {
	const portable, mapped = 1, 2
	p, err := c.get(cuMemHostAlloc, uintptr(n), portable|mapped)
	if err != nil {
		return nil, err
	}
	base := *(*unsafe.Pointer)(unsafe.Pointer(&p)) // C's memory, which no collector moves
	return unsafe.Slice((*byte)(base), n), nil
}

// FreeHost gives it back.
func (c *Context) FreeHost(b []byte) error {
	return c.do(cuMemFreeHost, uintptr(unsafe.Pointer(unsafe.SliceData(b))))
}

// RegisterHost pins memory that is mapped already, so that the GPU copies it at full
// speed.
func (c *Context) RegisterHost(b []byte) error {
	const portable, mapped = 1, 2
	return c.do(cuMemHostRegister, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), portable|mapped)
}

// UnregisterHost takes the pin away.
func (c *Context) UnregisterHost(b []byte) error {
	return c.do(cuMemHostUnregister, uintptr(unsafe.Pointer(unsafe.SliceData(b))))
}

// The copies and Memset are posted. Memory of the host must stay where it is until the
// stream has come past: pinned memory, or any that does not move, then Synchronize.
func (c *Context) CopyIn(s Stream, dst, src uintptr, n int) {
	c.post(cuMemcpyHtoDAsync, dst, src, uintptr(n), uintptr(s))
}

// CopyOut copies from the GPU to the host.
func (c *Context) CopyOut(s Stream, dst, src uintptr, n int) {
	c.post(cuMemcpyDtoHAsync, dst, src, uintptr(n), uintptr(s))
}

// Copy copies on the GPU.
func (c *Context) Copy(s Stream, dst, src uintptr, n int) {
	c.post(cuMemcpyDtoDAsync, dst, src, uintptr(n), uintptr(s))
}

// Memset sets n bytes to a value.
func (c *Context) Memset(s Stream, dst uintptr, value byte, n int) {
	c.post(cuMemsetD8Async, dst, uintptr(value), uintptr(n), uintptr(s))
}

// NewStream is a stream that waits for no other; a lower priority number goes first.
func (c *Context) NewStream(priority int) (Stream, error) {
	const nonBlocking = 1
	h, err := c.get(cuStreamCreateWithPriority, nonBlocking, uintptr(priority))
	return Stream(h), err
}

// FreeStream ends a stream, when its work is done.
func (c *Context) FreeStream(s Stream) error { return c.do(cuStreamDestroy, uintptr(s)) }

// Synchronize waits until the stream's work is done. While it does, no other command
// of the process reaches the driver.
func (c *Context) Synchronize(s Stream) error { return c.do(cuStreamSynchronize, uintptr(s)) }

// Wait posts that the stream waits for an event.
func (c *Context) Wait(s Stream, e Event) { c.post(cuStreamWaitEvent, uintptr(s), uintptr(e), 0) }

// NewEvent is a point in a stream, with a time if it is asked for.
func (c *Context) NewEvent(timed bool) (Event, error) {
	const disableTiming = 2
	flags := uintptr(disableTiming)
	if timed {
		flags = 0
	}
	h, err := c.get(cuEventCreate, flags)
	return Event(h), err
}

// FreeEvent gives an event back.
func (c *Context) FreeEvent(e Event) error { return c.do(cuEventDestroy, uintptr(e)) }

// Record posts that the event is here in the stream.
func (c *Context) Record(e Event, s Stream) { c.post(cuEventRecord, uintptr(e), uintptr(s)) }

// WaitHost waits until the event has come.
func (c *Context) WaitHost(e Event) error { return c.do(cuEventSynchronize, uintptr(e)) }

// Elapsed is the time in milliseconds between two events that have come.
func (c *Context) Elapsed(from, to Event) (float64, error) {
	ms, err := c.get(cuEventElapsedTime, uintptr(from), uintptr(to))
	return float64(math.Float32frombits(uint32(ms))), err
}
