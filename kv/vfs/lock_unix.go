//go:build linux || darwin

package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// noFollow refuses a symbolic link in the place of a file.
const noFollow = unix.O_NOFOLLOW

// lock keeps other processes from a file for as long as it is open here.
func lock(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = conn.Control(func(fd uintptr) { inner = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(inner, unix.EWOULDBLOCK) {
		inner = ErrInUse
	}
	return errors.Join(err, inner)
}
