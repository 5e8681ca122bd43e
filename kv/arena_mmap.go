//go:build (linux || darwin) && !race

package kv

import (
	"os"

	"golang.org/x/sys/unix"
)

// newArena is zeroed memory outside the Go heap, at a page boundary: the
// collector neither scans nor counts it, and a page costs nothing until it is
// written to. Where the system has huge pages it is asked for them: blocks are read
// in place, and each lies on several small ones.
func newArena(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err == nil {
		preferHuge(b)
	}
	return b, os.NewSyscallError("mmap", err)
}

func freeArena(b []byte) error { return os.NewSyscallError("munmap", unix.Munmap(b)) }
