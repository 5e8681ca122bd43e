//go:build !(linux || darwin) || race

package kv

import (
	"unsafe"

	"nosa/kv/vfs"
)

// newArena takes the arena from the Go heap, aligned for direct transfers. The
// race detector watches the heap alone, so its builds come here too.
func newArena(n int) ([]byte, error) {
	b := make([]byte, n+vfs.Align)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & (vfs.Align - 1))
	return b[skip : skip+n : skip+n], nil
}

func freeArena([]byte) error { return nil }
