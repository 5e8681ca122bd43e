// Package vfs is the seam under the disk tier: the few things that its files
// must be able to do, so that tests can hand the tier a file that fails,
// shortens, fills up or hangs. [OS] is the real one, [Memory] keeps files on the
// heap, [Faults] wraps any of them.
//
// It is not a general file system: a file here belongs to one process. A scratch
// file (Create) has no use after it and leaves nothing behind; a lasting one (Open)
// is there for the next process.
package vfs

import (
	"errors"
	"io"
)

// ErrInUse is returned by Open for a file that another process has open.
var ErrInUse = errors.New("another process is using it")

// FS makes files.
type FS interface {
	// MkdirAll makes a directory and those above it, where they are missing.
	MkdirAll(dir string) error
	// Create makes an empty file in dir under a name that nothing else has;
	// the last * of pattern stands for what makes it so. With direct, transfers
	// pass by the page cache where the system can do that.
	Create(dir, pattern string, direct bool) (File, error)
	// Open opens a file that lasts, or makes it, and keeps other processes from it
	// until Close or the end of the process; ErrInUse if one has it.
	Open(dir, name string, direct bool) (File, error)
}

// File is one file. Reads and writes of different ranges may run at the
// same time. ReadAt returns io.EOF or an error with fewer bytes than asked, as
// [io.ReaderAt] says.
type File interface {
	io.ReaderAt
	io.WriterAt
	Name() string
	// Direct reports whether transfers pass by the page cache; then offsets,
	// lengths and the addresses of buffers must be multiples of Align.
	Direct() bool
	// Size is the file's length in bytes, and Truncate sets it.
	Size() (int64, error)
	Truncate(size int64) error
	// Close gives a scratch file's space back and removes its name. A lasting file
	// stays.
	Close() error
}

// Align is what direct transfers are aligned to, in bytes.
const Align = 4096
