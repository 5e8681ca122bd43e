package cpu

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestReadWithin: a loop reads no byte beyond the last. Behind the memory lies a
// page that may not be read.
func TestReadWithin(t *testing.T) {
	page := unix.Getpagesize()
	mem, err := unix.Mmap(-1, 0, 2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Munmap(mem); err != nil {
			t.Error(err)
		}
	}()
	if err := unix.Mprotect(mem[page:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	for _, level := range Levels() {
		for n := readStep; n <= page; n += readStep {
			probesOf(level).read(mem[page-n : page])
		}
	}
}
