//go:build linux || darwin

package cpu

import "golang.org/x/sys/unix"

const canMap = true

// mapMemory returns zeroed pages of no file.
func mapMemory(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

func unmapMemory(b []byte) error { return unix.Munmap(b) }
