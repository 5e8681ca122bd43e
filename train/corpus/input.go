package corpus

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Format is how texts lie in files.
type Format string

// The formats. Files of the first two may be compressed, with the ending .gz or .zst.
const (
	Text    Format = "text"    // a file is a document: .txt
	JSONL   Format = "jsonl"   // a line is an object with a field that is a document: .jsonl
	Parquet Format = "parquet" // a row has a column that is a document: .parquet
)

const (
	maxInputs     = 1 << 20  // files of a set
	maxDocument   = 64 << 20 // bytes of a text that can not be cut, and of a line of JSONL
	pieceBytes    = 1 << 20  // of a longer text that are tokenised at once
	inputBuffer   = 1 << 18
	zstdMaxMemory = 256 << 20
)

// input is one file to be read.
type input struct {
	path   string
	name   string // below the folder that was named, for the manifest
	size   int64
	change int64 // modification time in nanoseconds
}

// endings are what files of a format end with inside of a folder.
func (f Format) endings() []string {
	switch f {
	case Text:
		return []string{".txt", ".txt.gz", ".txt.zst"}
	case JSONL:
		return []string{".jsonl", ".jsonl.gz", ".jsonl.zst"}
	case Parquet:
		return []string{".parquet"}
	}
	return nil
}

func (f Format) fits(name string) bool {
	return slices.ContainsFunc(f.endings(), func(e string) bool { return strings.HasSuffix(name, e) })
}

// DetectFormat tells the format of a file or folder from names; a folder with files of several formats is refused.
func DetectFormat(path string) (Format, error) {
	found := map[Format]string{}
	root, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(root)
	if err != nil {
		return "", err
	}
	note := func(name string) {
		for _, f := range []Format{Text, JSONL, Parquet} {
			if f.fits(name) {
				found[f] = name
			}
		}
	}
	if !info.IsDir() {
		note(path)
	} else if err := walk(root, func(p string) error {
		note(p)
		return nil
	}); err != nil {
		return "", err
	}
	var formats []Format
	for f := range found {
		formats = append(formats, f)
	}
	slices.Sort(formats)
	switch len(formats) {
	case 0:
		return "", fmt.Errorf("%s: no .txt, .jsonl or .parquet: name the format: %w", path, ErrConfig)
	case 1:
		return formats[0], nil
	}
	return "", fmt.Errorf("%s: has %s and %s: name the format: %w", path, found[formats[0]], found[formats[1]], ErrConfig)
}

// walk calls f for every file below a folder. What begins with a dot is left alone: it is somebody's, but no text.
func walk(root string, f func(path string) error) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		hidden := p != root && strings.HasPrefix(filepath.Base(p), ".")
		switch {
		case err != nil:
			return err
		case hidden && d.IsDir():
			return filepath.SkipDir
		case hidden || d.IsDir():
			return nil
		}
		return f(p)
	})
}

// listInputs finds the files of a format: the one that is named, or those of a folder and the folders in it, by name. A link to
// a file is followed, one to a folder in the folder is not.
func listInputs(path string, format Format) ([]input, error) {
	if format.endings() == nil {
		return nil, fmt.Errorf("format %q: want text, jsonl or parquet: %w", format, ErrConfig)
	}
	root, err := filepath.Abs(path)
	if err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(root)
	if err != nil {
		return nil, err
	}
	add := func(list []input, p, name string) ([]input, error) {
		info, err := os.Stat(p)
		switch {
		case err != nil:
			return list, err
		case !info.Mode().IsRegular():
			return list, fmt.Errorf("%s: is not a regular file: %w", p, ErrText)
		case info.Size() == 0:
			return list, fmt.Errorf("%s: is empty: %w", p, ErrText)
		case len(list) == maxInputs:
			return list, fmt.Errorf("%s: more than %d files: %w", path, maxInputs, ErrConfig)
		}
		return append(list, input{p, filepath.ToSlash(name), info.Size(), info.ModTime().UnixNano()}), nil
	}
	if !info.IsDir() {
		return add(nil, root, filepath.Base(root))
	}
	var list []input
	err = walk(root, func(p string) error {
		if !format.fits(p) {
			return nil
		}
		name, err := filepath.Rel(root, p)
		if err == nil {
			list, err = add(list, p, name)
		}
		return err
	})
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%s: no file ends with %s: %w", path, strings.Join(format.endings(), ", "), ErrConfig)
	}
	slices.SortFunc(list, func(a, b input) int { return strings.Compare(a.name, b.name) })
	return list, err
}

// piece is a part of a document's text. A document has at least one; last tells that it ends behind this one.
type piece struct {
	text string
	last bool
}

// reader gives the documents of one file in pieces, io.EOF behind the last. A document without text is one empty piece.
type reader interface {
	next() (piece, error)
	io.Closer
}

// openReader opens one file; counted is told of every byte that is read from the disk.
func openReader(in input, o Options, counted func(n int64)) (reader, error) {
	f, err := os.Open(in.path)
	if err != nil {
		return nil, err
	}
	if o.Format == Parquet {
		r, err := newParquetReader(in, f, o, counted)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return r, nil
	}
	s, err := newStream(f, counted)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w: %w", in.path, err, ErrText), f.Close())
	}
	if o.Format == JSONL {
		return &lineReader{name: in.path, stream: s, field: o.Field, cuts: o.Vocabulary.cuts}, nil
	}
	return &textReader{name: in.path, stream: s, cuts: o.Vocabulary.cuts, line: 1}, nil
}

// stream is a file's bytes, unpacked where its name says that they are packed.
type stream struct {
	*bufio.Reader
	file  *os.File
	close func()
}

func newStream(f *os.File, counted func(n int64)) (*stream, error) {
	raw := &countingReader{f, counted}
	s := &stream{file: f, close: func() {}}
	switch {
	case strings.HasSuffix(f.Name(), ".gz"):
		z, err := gzip.NewReader(bufio.NewReaderSize(raw, inputBuffer))
		if err != nil {
			return nil, err
		}
		s.Reader = bufio.NewReaderSize(unpacked{z}, inputBuffer)
	case strings.HasSuffix(f.Name(), ".zst"):
		z, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(zstdMaxMemory))
		if err != nil {
			return nil, err
		}
		s.Reader, s.close = bufio.NewReaderSize(unpacked{z}, inputBuffer), z.Close
	default:
		s.Reader = bufio.NewReaderSize(raw, inputBuffer)
	}
	return s, nil
}

func (s *stream) Close() error {
	s.close()
	return s.file.Close()
}

// unpacked makes an end that comes too early an error that nobody takes for the end.
type unpacked struct{ r io.Reader }

func (u unpacked) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("unpack: %s: %w", err.Error(), ErrText)
	}
	return n, err
}

type countingReader struct {
	r       io.Reader
	counted func(n int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.counted(int64(n))
	return n, err
}
