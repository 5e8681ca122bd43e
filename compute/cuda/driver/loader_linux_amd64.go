package driver

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loaderPath is where the ABI of x86-64 puts glibc's loader.
const loaderPath = "/lib64/ld-linux-x86-64.so.2"

// stackBytes is what C gets as the stack of its first thread: what shells give.
const stackBytes = 8 << 20

// These are in thread_linux_amd64.s.
func clone(stack, entry uintptr) int
func workerAddress() uintptr
func nothingAddress() uintptr

// thread is the thread of C, with glibc's functions to find others.
type thread struct {
	*ring
	prog program
}

// newThread starts ld.so on a thread and waits until it has handed it to the worker.
func newThread() (*thread, error) {
	path, err := findLoader()
	if err != nil {
		return nil, err
	}
	aux, err := auxiliary()
	if err != nil {
		return nil, err
	}
	base, entry, err := mapLoader(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	prog, err := newProgram(loaderPath)
	if err != nil {
		return nil, err
	}
	r, err := newRing()
	if err != nil {
		return nil, err
	}
	bottom, err := mapPages(stackBytes)
	if err != nil {
		return nil, err
	}
	// A guard page below, as below every stack.
	if err := unix.Mprotect(unsafe.Slice((*byte)(bottom), 4096), unix.PROT_NONE); err != nil {
		return nil, fmt.Errorf("guarding a stack: %w", err)
	}
	for i := range aux {
		switch aux[i].key {
		case atPhdr:
			aux[i].value = uintptr(prog.base) + headersAt
		case atPhent:
			aux[i].value = 56
		case atPhnum:
			aux[i].value = headerCount
		case atBase:
			aux[i].value = base
		case atEntry:
			aux[i].value = workerAddress()
		}
	}
	top := fillStack(bottom, uintptr(r.base), aux)
	if tid := clone(top, entry); tid < 0 {
		return nil, fmt.Errorf("clone: %w", unix.Errno(-tid))
	}
	t := &thread{ring: r, prog: prog}
	t.call(nothingAddress()) // returns once the loader is done and the worker runs
	if fn := t.symbolFunction(); fn == 0 {
		return nil, fmt.Errorf("%w: %s has no dlopen", ErrNoDriver, path)
	}
	return t, nil
}

// findLoader checks that this is a glibc machine: its loader at the usual place, and
// its library beside it. Others (musl's, gcompat's) have no CUDA driver either.
func findLoader() (string, error) {
	path, err := filepath.EvalSymlinks(loaderPath)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: this system has no glibc (%s), which the driver needs", ErrNoDriver, loaderPath)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoDriver, err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), "libc.so.6")); err != nil {
		return "", fmt.Errorf("%w: %s is not glibc's, which the driver needs: %w", ErrNoDriver, loaderPath, err)
	}
	return path, nil
}

// auxEntry is a word that the kernel tells a new program, with its key.
type auxEntry struct{ key, value uintptr }

const (
	atNull  = 0
	atPhdr  = 3
	atPhent = 4
	atPhnum = 5
	atBase  = 7
	atEntry = 9
)

// auxiliary is what the kernel told this program, with a place for each word that the
// loader needs to be told otherwise.
func auxiliary() ([]auxEntry, error) {
	b, err := os.ReadFile("/proc/self/auxv")
	if err != nil {
		return nil, fmt.Errorf("%w: no word of the kernel for its loader: %w", ErrNoDriver, err)
	}
	aux := []auxEntry{{key: atPhdr}, {key: atPhent}, {key: atPhnum}, {key: atBase}, {key: atEntry}}
	for ; len(b) >= 16; b = b[16:] {
		key, value := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
		switch key {
		case atNull, atPhdr, atPhent, atPhnum, atBase, atEntry:
		default:
			aux = append(aux, auxEntry{uintptr(key), uintptr(value)})
		}
	}
	return append(aux, auxEntry{atNull, 0}), nil
}

// fillStack writes what a program finds on its stack, and returns its top: argc, argv,
// the environment, the auxiliary words. It is never freed.
func fillStack(bottom unsafe.Pointer, ring uintptr, aux []auxEntry) uintptr {
	const textBytes = 1 << 20
	text := unsafe.Slice((*byte)(unsafe.Add(bottom, stackBytes-textBytes)), textBytes)
	copy(text, "nosa\x00")
	*(*uintptr)(unsafe.Pointer(&text[16])) = ring // as the worker expects it
	at := 32
	words := []uintptr{1, uintptr(unsafe.Pointer(&text[0])), 0}
	for _, kv := range os.Environ() {
		// These make the loader print and end the process.
		if strings.HasPrefix(kv, "LD_TRACE_") || strings.HasPrefix(kv, "LD_DEBUG=") {
			continue
		}
		if at+len(kv)+1 > textBytes {
			break // as much as the kernel takes is less
		}
		words = append(words, uintptr(unsafe.Pointer(&text[at])))
		at += copy(text[at:], kv) + 1
	}
	words = append(words, 0)
	for _, a := range aux {
		words = append(words, a.key, a.value)
	}
	top := unsafe.Add(bottom, (stackBytes-textBytes-8*len(words))&^15)
	copy(unsafe.Slice((*uintptr)(top), len(words)), words)
	return uintptr(top)
}

// mapLoader maps the loader as the kernel would, and returns where it lies and begins.
func mapLoader(path string) (base, entry uintptr, err error) {
	f, err := elf.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = f.Close() }() // it was read only
	if f.Type != elf.ET_DYN || f.Machine != elf.EM_X86_64 {
		return 0, 0, fmt.Errorf("%w: it is %v for %v", ErrNoDriver, f.Type, f.Machine)
	}
	file, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = file.Close() }() // the mapping stays

	const page = 4096
	var size uint64
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			size = max(size, p.Vaddr+p.Memsz)
		}
	}
	if size == 0 || size > 64<<20 {
		return 0, 0, fmt.Errorf("%w: %d bytes to load", ErrNoDriver, size)
	}
	place, err := unix.MmapPtr(-1, 0, nil, uintptr(size+page), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return 0, 0, fmt.Errorf("mapping %d bytes: %w", size, err)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		prot := 0
		for flag, bit := range map[elf.ProgFlag]int{elf.PF_R: unix.PROT_READ, elf.PF_W: unix.PROT_WRITE, elf.PF_X: unix.PROT_EXEC} {
			if p.Flags&flag != 0 {
				prot |= bit
			}
		}
		from, end := p.Vaddr&^(page-1), p.Vaddr+p.Filesz
		all := (p.Vaddr + p.Memsz + page - 1) &^ (page - 1)
		if _, err := unix.MmapPtr(int(file.Fd()), int64(p.Off&^(page-1)), unsafe.Add(place, from), uintptr(end-from), prot, unix.MAP_PRIVATE|unix.MAP_FIXED); err != nil {
			return 0, 0, fmt.Errorf("mapping: %w", err)
		}
		if p.Memsz == p.Filesz {
			continue
		}
		// What the file does not hold is zero: the rest of its last page, then whole pages.
		mapped := (end + page - 1) &^ (page - 1)
		clear(unsafe.Slice((*byte)(unsafe.Add(place, end)), mapped-end))
		if all > mapped {
			if _, err := unix.MmapPtr(-1, 0, unsafe.Add(place, mapped), uintptr(all-mapped), prot, unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_ANONYMOUS); err != nil {
				return 0, 0, fmt.Errorf("mapping: %w", err)
			}
		}
	}
	return uintptr(place), uintptr(place) + uintptr(f.Entry), nil
}
