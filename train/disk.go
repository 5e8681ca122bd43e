package train

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"nosa/weights"
)

// disk is what checkpoints are written to; tests have one that fails.
type disk interface {
	Mkdir(path string) error
	Create(path string) (diskFile, error)
	Rename(from, to string) error
	RemoveAll(path string) error
	SyncFolder(path string) error
}

type diskFile interface {
	io.WriteCloser
	Sync() error
}

// realDisk is the machine's.
type realDisk struct{}

func (realDisk) Mkdir(path string) error { return os.MkdirAll(path, 0o777) }

func (realDisk) Create(path string) (diskFile, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}

func (realDisk) Rename(from, to string) error { return os.Rename(from, to) }

func (realDisk) RemoveAll(path string) error { return os.RemoveAll(path) }

func (realDisk) SyncFolder(path string) error { return weights.SyncFolder(path) }

// writeFile makes a new file and does not call it done before the disk has it.
func writeFile(d disk, path string, write func(io.Writer) error) error {
	f, err := d.Create(path)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// absent reports whether there is nothing at a path.
func absent(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
