package driver

import (
	"debug/elf"
	"encoding/binary"
	"unsafe"
)

// program is the empty program that ld.so is started on: headers that ask for
// libc.so.6, and three words for ld.so to fill. It has no code; its entry point is the
// worker.
type program struct {
	base unsafe.Pointer
}

// The words of the program. dlopen lies in libc since glibc 2.34; before that libc has
// what its own parts use. All are weak: what is not there stays 0.
var wanted = []string{"dlopen", "dlsym", "dlerror", "__libc_dlopen_mode", "__libc_dlsym"}

const (
	programBytes = 4096
	headerCount  = 5
	headersAt    = 64
	dynamicAt    = 512
	symbolsAt    = 1024
	relocsAt     = 1280
	wordsAt      = 1536
	stringsAt    = 2048
)

// newProgram writes the headers, at address 0 of a mapping.
func newProgram(loader string) (program, error) {
	base, err := mapPages(programBytes)
	if err != nil {
		return program{}, err
	}
	b := unsafe.Slice((*byte)(base), programBytes)
	le := binary.LittleEndian

	text := []byte{0}
	add := func(s string) uint64 {
		at := len(text)
		text = append(append(text, s...), 0)
		return uint64(at)
	}
	libc, path := add("libc.so.6"), add(loader)

	header := func(i int, kind elf.ProgType, at, size uint64) {
		h := b[headersAt+56*i:]
		le.PutUint32(h, uint32(kind))
		le.PutUint32(h[4:], uint32(elf.PF_R|elf.PF_W))
		le.PutUint64(h[8:], at)  // offset
		le.PutUint64(h[16:], at) // address
		le.PutUint64(h[32:], size)
		le.PutUint64(h[40:], size)
		le.PutUint64(h[48:], 8)
	}
	header(0, elf.PT_PHDR, headersAt, 56*headerCount)
	header(1, elf.PT_INTERP, stringsAt+path, uint64(len(loader)+1))
	header(2, elf.PT_LOAD, 0, programBytes)
	le.PutUint64(b[headersAt+56*2+48:], 4096)
	header(3, elf.PT_DYNAMIC, dynamicAt, 16*10)
	header(4, elf.PT_GNU_STACK, 0, 0) // stacks are not executable

	for i, name := range wanted {
		s := b[symbolsAt+24*(i+1):] // symbol 0 is none
		le.PutUint32(s, uint32(add(name)))
		s[4] = elf.ST_INFO(elf.STB_WEAK, elf.STT_NOTYPE)
		r := b[relocsAt+24*i:]
		le.PutUint64(r, uint64(wordsAt+8*i))
		le.PutUint64(r[8:], elf.R_INFO(uint32(i+1), uint32(elf.R_X86_64_GLOB_DAT)))
	}
	for i, d := range [][2]uint64{
		{uint64(elf.DT_NEEDED), libc},
		{uint64(elf.DT_STRTAB), stringsAt}, {uint64(elf.DT_STRSZ), uint64(len(text))},
		{uint64(elf.DT_SYMTAB), symbolsAt}, {uint64(elf.DT_SYMENT), 24},
		{uint64(elf.DT_RELA), relocsAt}, {uint64(elf.DT_RELASZ), uint64(24 * len(wanted))}, {uint64(elf.DT_RELAENT), 24},
		{uint64(elf.DT_BIND_NOW), 0},
		{uint64(elf.DT_NULL), 0},
	} {
		le.PutUint64(b[dynamicAt+16*i:], d[0])
		le.PutUint64(b[dynamicAt+16*i+8:], d[1])
	}
	copy(b[stringsAt:], text)
	return program{base}, nil
}

// word is what ld.so made of a wanted symbol.
func (p program) word(name string) uintptr {
	for i, w := range wanted {
		if w == name {
			return *(*uintptr)(unsafe.Add(p.base, wordsAt+8*i))
		}
	}
	return 0
}
