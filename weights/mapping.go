//go:build unix

package weights

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// mapping is one file mapped for reading. The file stays open so that its size can be asked again.
type mapping struct {
	file *os.File
	data []byte
}

// openFlags keeps a named pipe or a device from blocking the open before its kind is known.
const openFlags = os.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC

// mapFile maps the whole of f and owns it from then on, also when it fails.
func mapFile(f *os.File) (m *mapping, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", f.Name(), err)
			_ = f.Close() // opened for reading: nothing can be lost
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch size := info.Size(); {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("is %s, want a regular file: %w", kindOf(info.Mode()), ErrNoModel)
	case size == 0:
		return nil, fmt.Errorf("is empty: %w", ErrTruncated)
	case size > math.MaxInt:
		return nil, fmt.Errorf("has %d bytes, this machine addresses %d: %w", size, math.MaxInt, ErrTooLarge)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", info.Size(), err)
	}
	return &mapping{file: f, data: data}, nil
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeDevice != 0:
		return "a device"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a special file"
}

// check compares the file's size with that of the mapping.
func (m *mapping) check() error {
	var info unix.Stat_t // not file.Stat, which allocates: this is part of every step
	if err := unix.Fstat(int(m.file.Fd()), &info); err != nil {
		return fmt.Errorf("%s: %w", m.file.Name(), err)
	}
	if info.Size != int64(len(m.data)) {
		return fmt.Errorf("%s: %d bytes, had %d when it was opened: %w", m.file.Name(), info.Size, len(m.data),
			ErrChanged)
	}
	return nil
}

func (m *mapping) close() error {
	err := unix.Munmap(m.data)
	m.data = nil
	if closing := m.file.Close(); err == nil {
		err = closing
	}
	return err
}

// Guard calls read, and returns an ErrChanged when it touches mapped bytes whose file has been cut short meanwhile,
// instead of letting the program end. It holds for the calling goroutine only. Other panics pass through.
func Guard(read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // the runtime's memory fault
			err = fmt.Errorf("a mapped file was cut short, or its disk failed: %w", ErrChanged)
		default:
			panic(p)
		}
	}()
	return read()
}
