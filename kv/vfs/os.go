package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// OS makes files in directories of the system.
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

// Open opens a file for its owner alone. It does not follow a link in its place:
// the directory may be one that others can write to.
func (OS) Open(dir, name string, direct bool) (File, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE|noFollow, 0o600)
	if err != nil {
		return nil, err
	}
	s := &osFile{File: f, lasts: true}
	if err := lock(f); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), f.Close())
	}
	if direct {
		if s.direct, err = setDirect(f); err != nil {
			return nil, errors.Join(fmt.Errorf("direct transfers of %s: %w", f.Name(), err), f.Close())
		}
	}
	return s, nil
}

type osFile struct {
	*os.File
	direct  bool
	unnamed bool
	lasts   bool
}

func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
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
	if f.unnamed || f.lasts {
		return err
	}
	if gone := os.Remove(f.Name()); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}
