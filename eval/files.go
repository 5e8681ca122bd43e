package eval

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrFile is returned for a file that is not what it is to be.
var ErrFile = errors.New("the file can not be used")

// readBounded reads a file of at most so many bytes.
func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s: has more than %d MiB: %w", path, most>>20, ErrFile)
	}
	return data, nil
}

// readObjects reads JSON values, one after the other or in an array.
func readObjects[T any](in io.Reader, each func(T) error) error {
	r := bufio.NewReader(in)
	first, err := skipBlanks(r)
	if err != nil {
		return err
	}
	d := json.NewDecoder(r)
	if first == '[' {
		if _, err := d.Token(); err != nil {
			return fmt.Errorf("%w: %w", ErrFile, err)
		}
	}
	for n := 1; d.More(); n++ {
		var v T
		if err := d.Decode(&v); err != nil {
			return fmt.Errorf("object %d: %w: %w", n, ErrFile, err)
		}
		if err := each(v); err != nil {
			return fmt.Errorf("object %d: %w", n, err)
		}
	}
	if first == '[' {
		if _, err := d.Token(); err != nil {
			return fmt.Errorf("the array has no end: %w: %w", ErrFile, err)
		}
	}
	switch _, err := d.Token(); {
	case err == nil:
		return fmt.Errorf("something follows the objects: %w", ErrFile)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %w", ErrFile, err)
	}
	return nil
}

// skipBlanks looks at the first byte that is none; 0: there is none.
func skipBlanks(r *bufio.Reader) (byte, error) {
	for {
		b, err := r.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return 0, nil
		case err != nil:
			return 0, err
		case b > ' ':
			return b, r.UnreadByte()
		}
	}
}

// readObjectFile is readObjects of a file of at most so many bytes.
func readObjectFile[T any](path string, most int64, each func(T) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	switch info, err := f.Stat(); {
	case err != nil:
		return err
	case info.IsDir() || info.Size() > most:
		return fmt.Errorf("%s: want a file of at most %d MiB: %w", path, most>>20, ErrFile)
	}
	if err := readObjects(io.LimitReader(f, most), each); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// found is the first of the names that a folder has.
func found(dir string, names ...string) (string, error) {
	for _, name := range names {
		path := filepath.Join(dir, name)
		_, err := os.Stat(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("%s: has no file %s: %w", dir, filepath.FromSlash(names[0]), ErrTask)
}
