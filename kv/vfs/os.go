package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// OS makes scratch files in directories of the system.
type OS struct{}

var _ FS = OS{}

// MkdirAll makes a directory for its owner alone: blocks hold what people wrote.
func (OS) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o700) }

// Create opens a new file and, where the system lets an open file go without a
// name, removes its name at once, so that nothing is left however the process
// ends.
func (OS) Create(dir, pattern string, direct bool) (File, error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	s := &osFile{File: f, unnamed: os.Remove(f.Name()) == nil}
	if direct {
		if s.direct, err = setDirect(f); err != nil {
			return nil, errors.Join(fmt.Errorf("direct transfers of %s: %w", f.Name(), err), s.Close())
		}
	}
	return s, nil
}

type osFile struct {
	*os.File
	direct  bool
	unnamed bool
}

func (f *osFile) Direct() bool { return f.direct }

func (f *osFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if !f.direct && n > 0 {
		dropRead(f.File, off, int64(n))
	}
	return n, err
}

func (f *osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	if err == nil && !f.direct {
		err = dropWritten(f.File, off, int64(n))
	}
	return n, err
}

func (f *osFile) Close() error {
	err := f.File.Close()
	if f.unnamed {
		return err
	}
	if gone := os.Remove(f.Name()); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}
