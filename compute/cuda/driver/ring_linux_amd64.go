package driver

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ring of commands as thread_linux_amd64.s knows it: a page of counters, then
// entries. All of it lies in mapped memory, which the collector neither moves nor reads.
const (
	ringEntries = 1024
	entryBytes  = 1024
	ringHeader  = 4096

	maxArgs    = 12
	ParamBytes = 768 // room for the parameter of a kernel
)

// counters are the first page of the ring. Each has a cache line.
type counters struct {
	head   atomic.Uint64 // commands posted
	_      [56]byte
	tail   atomic.Uint64 // commands done
	_      [56]byte
	asleep atomic.Uint32 // the worker sleeps, or is about to
	_      [60]byte
	wanted atomic.Int32 // goroutines that wait for tail
	_      [60]byte
	result uintptr // of the call that is waited for
}

// command is what to call and where to tell of it. The pointers are to mapped memory.
type command struct {
	fn   uintptr
	into *uintptr // takes the result, or nil
	fail *Failure // takes a result that is not 0, or nil
	tag  uintptr  // for fail: which call it was
}

// entry is a command with its arguments: up to twelve integers or pointers.
type entry struct {
	command
	args   [maxArgs]uintptr
	_      [128]byte
	params [ParamBytes]byte
}

// Failure keeps the first result that was not 0 of the commands that were posted with
// it. It lies in mapped memory.
type Failure struct {
	result atomic.Uint64
	tag    atomic.Uint64
}

// ring hands commands to the worker. Its methods may be called from any goroutine.
type ring struct {
	mu   sync.Mutex // of those who post
	base unsafe.Pointer
	c    *counters

	calls sync.Mutex // of those who call and wait: they share out
	out   []byte
}

func newRing() (*ring, error) {
	base, err := mapPages(ringHeader + ringEntries*entryBytes + outBytes)
	if err != nil {
		return nil, err
	}
	out := unsafe.Slice((*byte)(unsafe.Add(base, ringHeader+ringEntries*entryBytes)), outBytes)
	return &ring{base: base, c: (*counters)(base), out: out}, nil
}

// outBytes is the memory in which calls return what they return by pointer.
const outBytes = 64 << 10

// mapPages is zeroed memory outside the collector's reach.
func mapPages(n int) (unsafe.Pointer, error) {
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("mapping %d bytes: %w", n, err)
	}
	return p, nil
}

// at is the place of command n.
func (r *ring) at(n uint64) *entry {
	return (*entry)(unsafe.Add(r.base, ringHeader+n%ringEntries*entryBytes))
}

// post appends a command and returns its number. params, if any, are copied beside it,
// and a pointer to a pointer to them becomes argument at, as cuLaunchKernel takes them.
func (r *ring) post(fail *Failure, tag, fn uintptr, args []uintptr, params []byte, at int) uint64 {
	return r.put(command{fn: fn, fail: fail, tag: tag}, args, params, at)
}

// launchAt is where a launch's configuration lies behind its parameter.
const launchAt = ParamBytes - 8 - int(unsafe.Sizeof(launchConfig{}))

// postLaunch is post of cuLaunchKernelEx: the configuration too is copied.
func (r *ring) postLaunch(fail *Failure, tag, fn, kernel uintptr, params []byte, x *launchConfig) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.free()
	e.command = command{fn: fn, fail: fail, tag: tag}
	config := (*launchConfig)(unsafe.Pointer(&e.params[launchAt]))
	e.args = [maxArgs]uintptr{uintptr(unsafe.Pointer(config)), kernel}
	e.name(params, 2)
	*config = *x
	config.at = uintptr(unsafe.Pointer(&config.attribute[0]))
	return r.publish()
}

func (r *ring) put(c command, args []uintptr, params []byte, at int) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.free()
	e.command = c
	copy(e.args[:], args)
	if params != nil {
		e.name(params, at)
	}
	return r.publish()
}

// name copies a kernel's parameter and makes the list of pointers to it, the last word
// behind it, argument at.
func (e *entry) name(params []byte, at int) {
	copy(e.params[:ParamBytes-8], params)
	list := (*uintptr)(unsafe.Pointer(&e.params[ParamBytes-8]))
	*list = uintptr(unsafe.Pointer(&e.params[0]))
	e.args[at] = uintptr(unsafe.Pointer(list))
}

// free is the next entry, and publish hands it over and returns its number.
func (r *ring) free() *entry {
	n := r.c.head.Load()
	if n >= ringEntries {
		r.wait(n - ringEntries + 1)
	}
	return r.at(n)
}

func (r *ring) publish() uint64 {
	n := r.c.head.Load()
	r.c.head.Store(n + 1)
	if r.c.asleep.Load() != 0 {
		r.c.asleep.Store(0)
		wake(&r.c.asleep)
	}
	return n + 1
}

// call runs one function on the worker and returns its result. What the function reads
// or fills by pointer lies in out, and so the caller holds calls.
func (r *ring) call(fn uintptr, args ...uintptr) uintptr {
	return r.finish(r.begin(fn, args))
}

// begin and finish are the two halves of call.
func (r *ring) begin(fn uintptr, args []uintptr) uint64 {
	return r.put(command{fn: fn, into: &r.c.result}, args, nil, 0)
}

func (r *ring) finish(n uint64) uintptr {
	r.wait(n)
	return r.c.result
}

// spins is how often a waiting goroutine looks before it sleeps: a few microseconds,
// what a short call takes.
const spins = 2000

// wait returns when the first n commands are done.
func (r *ring) wait(n uint64) {
	for i := range spins {
		if r.c.tail.Load() >= n {
			return
		}
		if i%64 == 63 {
			runtime.Gosched()
		}
	}
	r.c.wanted.Add(1)
	defer r.c.wanted.Add(-1)
	for {
		t := r.c.tail.Load()
		if t >= n {
			return
		}
		// The low half of tail: it can not come round to the same value while one waits.
		sleep((*atomic.Uint32)(unsafe.Pointer(&r.c.tail)), uint32(t))
	}
}

const futexPrivate = 128

func sleep(at *atomic.Uint32, value uint32) {
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(at)), futexPrivate, uintptr(value), 0, 0, 0)
}

func wake(at *atomic.Uint32) {
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(at)), 1|futexPrivate, 1, 0, 0, 0)
}
