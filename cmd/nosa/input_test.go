package main

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// TestIDs: what stands in a file of ids, and what is said of it.
func TestIDs(t *testing.T) {
	for name, tc := range map[string]struct{ text, says string }{
		"empty":           {"", "does not begin with ["},
		"not UTF-8":       {"\xff", "byte 0 is 0xff"},
		"object":          {`{"ids":[1]}`, "does not begin with ["},
		"null":            {"null", "does not begin with ["},
		"no items":        {"[]", "at least 2"},
		"one item":        {"[1]", "at least 2"},
		"ends early":      {"[1, 2", "ends early"},
		"goes on":         {"[1, 2] [3]", "goes on after the array"},
		"no comma":        {"[1 2]", "byte"},
		"fraction":        {"[1, 2.5]", "item 1 is 2.5"},
		"negative":        {"[1, -1]", "item 1 is -1, want a token id from 0 to 31"},
		"beyond":          {"[1, 32]", "item 1 is 32, want a token id from 0 to 31"},
		"beyond integers": {"[1, 99999999999999999999]", "item 1 is 99999999999999999999"},
		"words":           {`[1, "2"]`, "item 1 is no number"},
		"nothings":        {"[1, null]", "item 1 is no number"},
		"deep":            {strings.Repeat("[", 1<<20), "item 0 is no number"},
	} {
		t.Run(name, func(t *testing.T) {
			nosa(t, nil, "score", nosaModel, "--ids", writeFile(t, tc.text)).refused(t, exitFailed, tc.says)
		})
	}
}

func TestReadText(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		file string
		says []string
	}{
		"folder":    {dir, []string{"--prompt-file", dir, "is a folder"}},
		"gone":      {filepath.Join(dir, "gone"), []string{"--prompt-file", "gone", "no such file"}},
		"empty":     {writeFile(t, ""), []string{"--prompt-file", "is empty"}},
		"not UTF-8": {writeFile(t, "Ishmael\xc3("), []string{"--prompt-file", "byte 7 is 0xc3", "UTF-8"}},
		"surrogate": {writeFile(t, "ab\xed\xa0\x80"), []string{"byte 2 is 0xed"}},
	} {
		t.Run(name, func(t *testing.T) {
			nosa(t, nil, "run", textModel(t), "--prompt-file", tc.file).refused(t, exitFailed, tc.says...)
		})
	}
	g := testGlobals(&bytes.Buffer{})
	g.Stdin = strings.NewReader("a replacement \ufffd is a character\n")
	if text, err := readText(t.Context(), g, "--text", "-"); err != nil || !strings.Contains(text, "\ufffd") {
		t.Errorf("%q, %v", text, err)
	}
}

// forever is a file without an end.
type forever struct{ given int }

func (f *forever) Read(p []byte) (int, error) {
	clear(p)
	f.given += len(p)
	return len(p), nil
}

// TestReadEndless: a text without an end costs no more than the limit.
func TestReadEndless(t *testing.T) {
	g := testGlobals(&bytes.Buffer{})
	endless := &forever{}
	g.Stdin = endless
	if _, err := readText(t.Context(), g, "--text", ""); err == nil || !strings.Contains(err.Error(), "64 MiB") {
		t.Errorf("error %v", err)
	}
	if endless.given > maxText+1<<20 {
		t.Errorf("%d bytes were read", endless.given)
	}
}

// TestReadInterrupted: ^C ends a command that waits for somebody to type.
func TestReadInterrupted(t *testing.T) {
	in, typist := io.Pipe()
	defer func() { _ = typist.Close() }()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"tokenize", textModel(t)}, in, &stdout, &stderr, func(string) string { return "" })
	result{code, stdout.String(), stderr.String()}.refused(t, exitFailed, "nosa: interrupted")
}
