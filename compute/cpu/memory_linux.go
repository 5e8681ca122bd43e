package cpu

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapHuge maps n bytes that begin at a huge page, in huge pages if the system has
// them. The bytes begin at the given place of the mapping.
func mapHuge(n int) (pages []byte, at int, err error) {
	if pages, err = mapMemory(n + hugePage); err != nil {
		return nil, 0, err
	}
	at = int(-uintptr(unsafe.Pointer(&pages[0])) & (hugePage - 1))
	// Without it the memory is as good, and somewhat slower to read.
	_ = unix.Madvise(pages[at:at+n&^(hugePage-1)], unix.MADV_HUGEPAGE)
	return pages, at, nil
}

// forgetMapped says of bytes that were read once, such as a file's, that others are
// more worth their place in memory. They stay readable and keep their values.
func forgetMapped(data []byte) {
	page := os.Getpagesize()
	from := int(-uintptr(unsafe.Pointer(unsafe.SliceData(data))) & uintptr(page-1))
	if to := (len(data) - from) / page * page; to > 0 {
		_ = unix.Madvise(data[from:from+to], unix.MADV_COLD) // kernels before 5.4 know it not
	}
}
