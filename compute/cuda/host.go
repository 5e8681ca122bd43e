//go:build linux && amd64

package cuda

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"nosa/compute"
	"nosa/compute/cuda/driver"
)

var _ compute.HostAllocator = (*Device)(nil)

// largeHost is from where on memory of the host is had page by page by all processors and
// pinned then. The driver does both by itself on one of them, and in small pages: 16 GiB
// took it 9.3 s, in this way 0.7.
const largeHost = 64 << 20

// hosts is the memory of AllocHost, by address.
type hosts struct {
	mu sync.Mutex
	of map[uintptr]hostMemory
}

type hostMemory struct {
	bytes  int
	mapped bool // not the driver's own
}

// add notes memory that AllocHost gives.
func (h *hosts) add(b []byte, mapped bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = map[uintptr]hostMemory{}
	}
	h.of[address(b)] = hostMemory{len(b), mapped}
}

// remove forgets it, and reports whether it was mapped.
func (h *hosts) remove(b []byte) (mapped bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	mapped = h.of[address(b)].mapped
	delete(h.of, address(b))
	return mapped
}

// has reports whether b is part of what AllocHost gave.
func (h *hosts) has(b []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for at, m := range h.of {
		if address(b) >= at && address(b)+uintptr(len(b)) <= at+uintptr(m.bytes) {
			return true
		}
	}
	return false
}

// AllocHost is memory of the host that the GPU reads and writes itself, at page
// boundaries.
func (d *Device) AllocHost(n int) ([]byte, error) {
	b, mapped, err := d.allocHost(n)
	if err == nil {
		d.hosts.add(b, mapped)
	}
	return b, err
}

func (d *Device) allocHost(n int) (b []byte, mapped bool, err error) {
	if n < largeHost || !d.props.SameAddress {
		b, err = d.ctx.AllocHost(n)
		return b, false, err
	}
	var machine unix.Sysinfo_t
	if err := unix.Sysinfo(&machine); err == nil && uint64(n)/uint64(max(machine.Unit, 1)) >= uint64(machine.Totalram) {
		return nil, false, fmt.Errorf("%w: %d bytes of the host are more than it has", driver.ErrMemory, n)
	}
	b, err = unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", driver.ErrMemory, os.NewSyscallError("mmap", err))
	}
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // without them it takes longer
	touch(b)
	if d.ctx.RegisterHost(b) != nil { // the driver's own way may be open, or say more of why not
		if err := unix.Munmap(b); err != nil {
			return nil, false, os.NewSyscallError("munmap", err)
		}
		b, err = d.ctx.AllocHost(n)
		return b, false, err
	}
	return b, true, nil
}

// touch has all processors ask for the pages of mapped memory.
func touch(b []byte) {
	const huge = 2 << 20 // whole ones for each
	var wait sync.WaitGroup
	part := max(huge, (len(b)/runtime.GOMAXPROCS(0)+huge-1)/huge*huge)
	for from := 0; from < len(b); from += part {
		own := b[from:min(from+part, len(b))]
		wait.Go(func() {
			for at := 0; at < len(own); at += 4096 {
				own[at] = 0
			}
		})
	}
	wait.Wait()
}

// FreeHost gives it back.
func (d *Device) FreeHost(b []byte) error {
	if !d.hosts.remove(b) {
		return d.ctx.FreeHost(b)
	}
	return errors.Join(d.ctx.UnregisterHost(b), os.NewSyscallError("munmap", unix.Munmap(b)))
}
