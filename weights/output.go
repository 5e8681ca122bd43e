package weights

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"nosa/dtype"
)

// Source is a tensor to be written: what it is, and a function that writes its bytes, as many as type and shape say.
type Source struct {
	Name  string
	Type  dtype.Type
	Shape []int
	Write func(w io.Writer) error
}

// Source returns the tensor as it is, to be written again.
func (t Tensor) Source() Source {
	return Source{t.Name, t.Type, t.Shape, func(w io.Writer) error {
		_, err := w.Write(t.Data)
		return err
	}}
}

// size checks the source and returns its bytes.
func (s Source) size() (int64, error) {
	elements, err := shapeElements(s.Shape)
	if err != nil {
		return 0, fmt.Errorf("tensor %q: %w", s.Name, err)
	}
	if n := len(s.Shape); n > 0 && s.Shape[n-1]%s.Type.Block() != 0 {
		return 0, fmt.Errorf("tensor %q: rows of %d are not whole blocks of %s: %w", s.Name, s.Shape[n-1], s.Type, ErrFormat)
	}
	n, err := s.Type.Size(elements)
	if err != nil {
		return 0, fmt.Errorf("tensor %q: %w", s.Name, err)
	}
	return int64(n), nil
}

// Progress is told how many bytes of all tensors have been written.
type Progress func(done, total int64)

// sink is where tensors go: it counts, tells the progress, and ends with the context.
type sink struct {
	ctx         context.Context
	to          *bufio.Writer
	done, total int64
	progress    Progress
}

// chunk is how much is written between two looks at the context.
const chunk = 4 << 20

func (s *sink) Write(p []byte) (int, error) {
	written := 0
	for {
		if err := context.Cause(s.ctx); err != nil {
			return written, err
		}
		part := p[written:min(len(p), written+chunk)]
		n, err := s.to.Write(part)
		written += n
		s.done += int64(n)
		if s.progress != nil {
			s.progress(s.done, s.total)
		}
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// tensor writes one source and checks that it gave what it promised. A source may read from a mapped file.
func (s *sink) tensor(src Source, size int64) error {
	before := s.done
	if err := Guard(func() error { return src.Write(s) }); err != nil {
		return fmt.Errorf("tensor %q: %w", src.Name, err)
	}
	if got := s.done - before; got != size {
		return fmt.Errorf("tensor %q: %d bytes were written, want %d: %w", src.Name, got, size, ErrFormat)
	}
	return nil
}

// temporary returns an unused hidden name beside path, so that the rename at the end stays on one file system.
func temporary(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text()[:10]+".tmp")
}

// absent refuses to write over what is there.
func absent(path string) error {
	_, err := os.Lstat(path)
	if err == nil {
		return fmt.Errorf("%s: %w; remove it or choose another name", path, fs.ErrExist)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// createFile calls write for a temporary sibling of path, and gives it its name when all of it is on disk. Otherwise,
// even after a panic, nothing is left.
func createFile(path string, write func(w *bufio.Writer) error) (err error) {
	if err := absent(path); err != nil {
		return err
	}
	temp := temporary(path)
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }() // gone already when all went well
	if err := writeFile(temp, write); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(path))
}

// writeFile makes a new file, and does not call it done before the disk has it.
func writeFile(path string, write func(w *bufio.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// SyncFolder makes a rename in a folder durable where the file system can.
func SyncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	_ = d.Sync() // some file systems refuse it for folders; the rename has happened all the same
	return d.Close()
}
