package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxText is the largest text that is read: ten million tokens and more, far above any context. It bounds what an
// endless file, such as /dev/zero, can make the program take.
const maxText = 64 << 20

// readText reads the file that a flag names, or standard input for "" and "-", whole. The text must be UTF-8. An
// interrupt ends it even where the file does not: a terminal or a pipe that nobody writes to.
func readText(ctx context.Context, g *Globals, flag, name string) (string, error) {
	type read struct {
		text string
		err  error
	}
	where := strings.TrimSpace(flag + " " + name)
	if name == "" || name == "-" {
		where = "standard input"
	}
	done := make(chan read, 1) // the reader may never end; then it lives as long as the process
	go func() {
		text, err := readAll(g, where, name)
		done <- read{text, err}
	}()
	select {
	case r := <-done:
		if r.err == nil {
			r.err = checkUTF8(where, r.text)
		}
		return r.text, r.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func readAll(g *Globals, where, name string) (string, error) {
	in := g.Stdin
	var text strings.Builder
	if name != "" && name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("%s: %w", where, reason(err))
		}
		defer func() { _ = f.Close() }() // it was only read
		info, err := f.Stat()
		switch {
		case err != nil:
			return "", fmt.Errorf("%s: %w", where, reason(err))
		case info.IsDir():
			return "", fmt.Errorf("%s is a folder: name a file", where)
		case info.Size() <= maxText:
			text.Grow(int(info.Size()))
		}
		in = f
	}
	if _, err := io.Copy(&text, io.LimitReader(in, maxText+1)); err != nil {
		return "", fmt.Errorf("%s: %w", where, reason(err))
	}
	if text.Len() > maxText {
		return "", fmt.Errorf("%s: has more than %d MiB, which no model takes: give a part of it", where, maxText>>20)
	}
	return text.String(), nil
}

// reason is an error of the file system without the call and the path, which the caller has named better.
func reason(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	return err
}

// checkUTF8 finds the first byte that belongs to no character.
func checkUTF8(where, text string) error {
	if utf8.ValidString(text) {
		return nil
	}
	for at, r := range text {
		if r == utf8.RuneError && !strings.HasPrefix(text[at:], "\ufffd") {
			return fmt.Errorf("%s: byte %d is 0x%02x, which is not UTF-8: convert the text, with iconv for example", where, at, text[at])
		}
	}
	return nil
}

// readIDs reads a JSON array of token ids below size.
func readIDs(ctx context.Context, g *Globals, name string, size int) ([]int32, error) {
	text, err := readText(ctx, g, "--ids", name)
	if err != nil {
		return nil, err
	}
	bad := func(format string, args ...any) ([]int32, error) {
		return nil, fmt.Errorf("--ids %s: %s, want a JSON array of token ids, such as [1, 15, 7]", name, fmt.Sprintf(format, args...))
	}
	// One item at a time: a slice of all of them would be many times the text.
	in := json.NewDecoder(strings.NewReader(text))
	in.UseNumber()
	if first, err := in.Token(); err != nil || first != json.Delim('[') {
		return bad("does not begin with [")
	}
	var ids []int32
	for in.More() {
		item, err := in.Token()
		if err != nil {
			return bad("byte %d: %v", in.InputOffset(), err)
		}
		number, ok := item.(json.Number)
		if !ok {
			return bad("item %d is no number", len(ids))
		}
		id, err := strconv.ParseInt(number.String(), 10, 32)
		if err != nil || id < 0 || id >= int64(size) {
			return nil, fmt.Errorf("--ids %s: item %d is %s, want a token id from 0 to %d", name, len(ids), printable(number.String(), 40), size-1)
		}
		ids = append(ids, int32(id))
	}
	if _, err := in.Token(); err != nil {
		return bad("ends early")
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return bad("goes on after the array, at byte %d", in.InputOffset())
	}
	return ids, nil
}

// parseIDs reads ids separated by blanks or commas, or a JSON array of them.
func parseIDs(text string, size int) ([]int32, error) {
	fields := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n,[]", r) })
	ids := make([]int32, len(fields))
	for i, s := range fields {
		id, err := strconv.ParseInt(s, 10, 32)
		if err != nil || id < 0 || id >= int64(size) {
			return nil, fmt.Errorf("item %d of the input is %q, want a token id from 0 to %d", i, printable(s, 40), size-1)
		}
		ids[i] = int32(id)
	}
	return ids, nil
}
