//go:build !linux

package cpu

// mapHuge maps n bytes; huge pages are the system's choice here.
func mapHuge(n int) (pages []byte, at int, err error) {
	pages, err = mapMemory(n)
	return pages, 0, err
}

// forgetMapped says nothing here.
func forgetMapped([]byte) {}
