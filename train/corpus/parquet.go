package corpus

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// parquetReader gives each row of a file as a document: the string in one of its columns. It keeps one page.
type parquetReader struct {
	name    string
	file    *os.File
	cuts    bool
	groups  []parquet.RowGroup
	column  int
	pages   parquet.Pages // of groups[0]
	page    parquet.Page
	values  parquet.ValueReader
	buf     [64]parquet.Value
	queue   []parquet.Value
	row     int64
	doc     cutter
	counted func(n int64)
	share   int64 // bytes of the file that a row group stands for in the progress
}

// guardParquet calls f, and makes a panic of the library, which trusts what a file says, an error.
func guardParquet(name string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: the Parquet file is damaged: %v: %w", name, p, ErrText)
		}
	}()
	return f()
}

func newParquetReader(in input, file *os.File, o Options, counted func(n int64)) (*parquetReader, error) {
	r := &parquetReader{name: in.path, file: file, cuts: o.Vocabulary.cuts, counted: counted}
	err := guardParquet(in.path, func() error {
		f, err := parquet.OpenFile(file, in.size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
		if err != nil {
			return fmt.Errorf("%s: %w: %w", in.path, err, ErrText)
		}
		column, err := findColumn(f.Root(), o.Field)
		if err != nil {
			return fmt.Errorf("%s: %w", in.path, err)
		}
		r.groups, r.column = f.RowGroups(), column.Index()
		if f.NumRows() == 0 || len(r.groups) == 0 {
			return fmt.Errorf("%s: has no rows: %w", in.path, ErrText)
		}
		r.share = in.size / int64(len(r.groups))
		return nil
	})
	return r, err
}

// findColumn finds a column of strings by its name, or by the names on the way to it with dots between.
func findColumn(root *parquet.Column, field string) (*parquet.Column, error) {
	c := root.Column(field)
	if c == nil {
		c = root
		for name := range strings.SplitSeq(field, ".") {
			if c = c.Column(name); c == nil {
				break
			}
		}
	}
	switch {
	case c == nil:
		var names []string
		for _, have := range root.Columns() {
			names = append(names, have.Name())
		}
		return nil, fmt.Errorf("has no column %q, but %s: %w", field, strings.Join(names, ", "), ErrText)
	case !c.Leaf() || c.MaxRepetitionLevel() > 0 || c.Type().Kind() != parquet.ByteArray:
		return nil, fmt.Errorf("column %q is not one string a row: %w", field, ErrText)
	}
	return c, nil
}

func (r *parquetReader) next() (piece, error) {
	for !r.doc.open {
		var v parquet.Value
		err := guardParquet(r.name, func() (err error) {
			v, err = r.value()
			return err
		})
		if err != nil {
			return piece{}, err
		}
		r.row++
		text := ""
		if !v.IsNull() {
			text = string(v.ByteArray())
		}
		if len(text) > maxDocument {
			return piece{}, fmt.Errorf("%s: row %d has %d bytes, at most %d can be read: %w", r.name, r.row, len(text), maxDocument, ErrText)
		}
		if err := checkText(fmt.Sprintf("%s: row %d", r.name, r.row), 1, text); err != nil {
			return piece{}, err
		}
		r.doc = cutter{text: text, cuts: r.cuts, open: true}
	}
	return r.doc.next(), nil
}

// value returns the column's value in the next row, io.EOF behind the last.
func (r *parquetReader) value() (parquet.Value, error) {
	for len(r.queue) == 0 {
		if r.values == nil {
			if err := r.nextPage(); err != nil {
				return parquet.Value{}, err
			}
		}
		n, err := r.values.ReadValues(r.buf[:])
		r.queue = r.buf[:n]
		if errors.Is(err, io.EOF) {
			r.values = nil // the page lives until its last value has been taken
		} else if err != nil {
			return parquet.Value{}, fmt.Errorf("%s: row %d: %w: %w", r.name, r.row+1, err, ErrText)
		} else if n == 0 {
			return parquet.Value{}, fmt.Errorf("%s: row %d: a page gives no values: %w", r.name, r.row+1, ErrText)
		}
	}
	v := r.queue[0]
	r.queue = r.queue[1:]
	return v, nil
}

func (r *parquetReader) nextPage() error {
	for {
		if r.page != nil {
			parquet.Release(r.page)
			r.page = nil
		}
		if r.pages == nil {
			if len(r.groups) == 0 {
				return io.EOF
			}
			r.pages = r.groups[0].ColumnChunks()[r.column].Pages()
		}
		page, err := r.pages.ReadPage()
		if err == nil {
			r.page, r.values = page, page.Values()
			return nil
		}
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: row %d: %w: %w", r.name, r.row+1, err, ErrText)
		}
		closing := r.pages.Close()
		r.pages, r.groups = nil, r.groups[1:]
		if closing != nil {
			return fmt.Errorf("%s: %w", r.name, closing)
		}
		r.counted(r.share)
	}
}

func (r *parquetReader) Close() error {
	var err error
	if r.pages != nil {
		err = r.pages.Close()
	}
	return errors.Join(err, r.file.Close())
}
