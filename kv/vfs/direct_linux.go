package vfs

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setDirect asks for transfers without the page cache and tries one, behind the end
// of the file, since some file systems take the flag and refuse the transfer. False with a nil error
// means that the file is there for buffered transfers only.
func setDirect(f *os.File) (bool, error) {
	if err := setFlag(f, unix.O_DIRECT, true); err != nil {
		return false, nil // buffered transfers do as well
	}
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	size := info.Size()
	if _, err = f.WriteAt(alignedPage(), (size+Align-1)/Align*Align); err == nil {
		err = f.Truncate(size)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return false, setFlag(f, unix.O_DIRECT, false)
	}
	return err == nil, err
}

func setFlag(f *os.File, flag int, on bool) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = conn.Control(func(fd uintptr) {
		var flags int
		if flags, inner = unix.FcntlInt(fd, unix.F_GETFL, 0); inner != nil {
			return
		}
		if flags &^= flag; on {
			flags |= flag
		}
		_, inner = unix.FcntlInt(fd, unix.F_SETFL, flags)
	})
	return errors.Join(err, inner)
}

// alignedPage is a page of zeros at an address that direct transfers take.
func alignedPage() []byte {
	b := make([]byte, 2*Align)
	skip := -uintptr(unsafe.Pointer(&b[0])) & (Align - 1)
	return b[skip:][:Align:Align]
}

// dropRead tells the system that a range will not be read again soon.
func dropRead(f *os.File, off, n int64) {
	advise(f, off, n)
}

// dropWritten brings a range to the disk and its pages out of the cache: dirty
// pages can not be dropped, and without this the cache would grow by all that
// the tier ever wrote.
func dropWritten(f *os.File, off, n int64) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	const flags = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	var inner error
	err = conn.Control(func(fd uintptr) {
		for {
			if inner = unix.SyncFileRange(int(fd), off, n, flags); !errors.Is(inner, unix.EINTR) {
				break
			}
		}
		if errors.Is(inner, unix.ENOSYS) || errors.Is(inner, unix.EOPNOTSUPP) || errors.Is(inner, unix.ESPIPE) {
			inner = nil // the cache stays warm; nothing is lost
		}
	})
	advise(f, off, n)
	return errors.Join(err, inner)
}

// advise drops whole pages of the cache; that it can not is no error.
func advise(f *os.File, off, n int64) {
	if conn, err := f.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { _ = unix.Fadvise(int(fd), off, n, unix.FADV_DONTNEED) })
	}
}
