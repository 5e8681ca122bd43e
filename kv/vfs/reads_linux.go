package vfs

import (
	"io"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's asynchronous reads, which are such for direct transfers alone. They
// are older than io_uring, and allowed in containers that forbid that.

// controlBlock is struct iocb of linux/aio_abi.h, on little-endian machines. Its
// blanks stay zero: opcode 0 is pread, and the others ask for nothing.
type controlBlock struct {
	data uint64
	_    uint32 // aio_key
	_    uint32 // aio_rw_flags
	_    uint16 // aio_lio_opcode
	_    int16  // aio_reqprio
	file uint32
	into uint64
	size uint64
	off  int64
	_    uint64 // aio_reserved2
	_    uint32 // aio_flags
	_    uint32 // aio_resfd
}

// event is struct io_event.
type event struct {
	data        uint64
	block       uint64
	result, and int64
}

// direct is the reads of a file that was opened for direct transfers.
type direct struct {
	context uintptr
	file    uint32
	blocks  []controlBlock
	order   []*controlBlock
	reads   []Read // by block; Into is kept in reach
	free    []int32
	events  []event
}

func (f *osFile) reads(most int) Reads {
	if !f.direct || littleEndian() != 1 {
		return nil
	}
	r := &direct{blocks: make([]controlBlock, most), reads: make([]Read, most), events: make([]event, most)}
	conn, err := f.SyscallConn()
	if err != nil {
		return nil
	}
	if err := conn.Control(func(fd uintptr) { r.file = uint32(fd) }); err != nil {
		return nil
	}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, uintptr(most), uintptr(unsafe.Pointer(&r.context)), 0); errno != 0 {
		return nil
	}
	for i := range most {
		r.free = append(r.free, int32(most-1-i))
	}
	return r
}

// littleEndian is 1 where numbers begin with their low byte.
func littleEndian() byte {
	x := uint16(1)
	return *(*byte)(unsafe.Pointer(&x))
}

func (r *direct) UnderWay() int { return len(r.blocks) - len(r.free) }

func (r *direct) Start(reads []Read) int {
	n := min(len(reads), len(r.free))
	r.order = r.order[:0]
	for i, read := range reads[:n] {
		at := r.free[len(r.free)-1-i]
		r.reads[at] = read
		r.blocks[at] = controlBlock{
			data: uint64(at), file: r.file, off: read.Off,
			into: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(read.Into)))), size: uint64(len(read.Into)),
		}
		r.order = append(r.order, &r.blocks[at])
	}
	begun := 0
	for begun < n {
		took, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, r.context, uintptr(n-begun), uintptr(unsafe.Pointer(&r.order[begun])))
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 || took == 0 {
			break
		}
		begun += int(took)
	}
	r.free = r.free[:len(r.free)-begun]
	return begun
}

func (r *direct) Ended(to []Ended, wait time.Duration) []Ended {
	if r.UnderWay() == 0 {
		return to
	}
	var zero unix.Timespec
	n, _, errno := unix.RawSyscall6(unix.SYS_IO_GETEVENTS, r.context, 0, uintptr(len(r.events)), uintptr(unsafe.Pointer(&r.events[0])), uintptr(unsafe.Pointer(&zero)), 0)
	if errno == 0 && n == 0 && wait > 0 {
		most := unix.NsecToTimespec(int64(wait))
		n, _, errno = unix.Syscall6(unix.SYS_IO_GETEVENTS, r.context, 1, uintptr(len(r.events)), uintptr(unsafe.Pointer(&r.events[0])), uintptr(unsafe.Pointer(&most)), 0)
	}
	if errno != 0 {
		return to // interrupted: the next call will see them
	}
	for _, e := range r.events[:n] {
		read := &r.reads[e.data]
		end := Ended{Tag: read.Tag, N: max(0, int(e.result))}
		switch {
		case e.result < 0:
			end.Err = syscall.Errno(-e.result)
		case end.N < len(read.Into):
			end.Err = io.ErrUnexpectedEOF
		}
		to = append(to, end)
		*read = Read{}
		r.free = append(r.free, int32(e.data))
	}
	return to
}

func (r *direct) Close() error {
	if _, _, errno := unix.Syscall(unix.SYS_IO_DESTROY, r.context, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
