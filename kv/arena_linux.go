//go:build !race

package kv

import "golang.org/x/sys/unix"

// preferHuge asks for huge pages; memory without them is as good, and somewhat
// slower to read.
func preferHuge(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }
