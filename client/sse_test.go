package client

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// events reads all events of a stream, as "name=data".
func events(in io.Reader, most int) (all []string, err error) {
	for r := newSSEReader(in, most); ; {
		e, err := r.next()
		if err != nil {
			return all, err
		}
		all = append(all, e.name+"="+string(e.data))
	}
}

func TestSSE(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want []string
		err  error
	}{
		"nothing":             {"", nil, io.EOF},
		"one":                 {"data: a\n\n", []string{"=a"}, io.EOF},
		"no blank":            {"data:a\n\n", []string{"=a"}, io.EOF},
		"two blanks":          {"data:  a\n\n", []string{"= a"}, io.EOF},
		"lines":               {"data: a\ndata: b\n\n", []string{"=a\nb"}, io.EOF},
		"CRLF":                {"data: a\r\n\r\ndata: b\r\n\r\n", []string{"=a", "=b"}, io.EOF},
		"CR":                  {"data: a\r\rdata: b\r\r", []string{"=a", "=b"}, io.EOF},
		"mark":                {"\ufeffdata: a\n\n", []string{"=a"}, io.EOF},
		"comment":             {": still here\n\ndata: a\n: and here\n\n", []string{"=a"}, io.EOF},
		"name":                {"event: ping\ndata: a\n\ndata: b\n\n", []string{"ping=a", "=b"}, io.EOF},
		"name alone":          {"event: ping\n\ndata: b\n\n", []string{"=b"}, io.EOF},
		"other fields":        {"id: 1\nretry: 9\nevil\ndata: a\n\n", []string{"=a"}, io.EOF},
		"empty data":          {"data\n\ndata:\n\ndata: b\n\n", []string{"=b"}, io.EOF},
		"llama.cpp's error":   {"error: {}\n\n", []string{"error={}"}, io.EOF},
		"no blank line":       {"data: a\n\ndata: b\n", []string{"=a", "=b"}, io.EOF},
		"in a line":           {"data: a\n\ndata: b", []string{"=a"}, io.ErrUnexpectedEOF},
		"longest line":        {"data:" + strings.Repeat("x", 15) + "\n\n", []string{"=" + strings.Repeat("x", 15)}, io.EOF},
		"line too long":       {"data: a\n\ndata:" + strings.Repeat("x", 16) + "\n\n", []string{"=a"}, ErrTooLong},
		"endless line":        {strings.Repeat("x", 1<<20), nil, ErrTooLong},
		"endless event":       {strings.Repeat("data: x\n", 1<<17), nil, ErrTooLong},
		"empty lines of data": {strings.Repeat("data:\n", 1<<17) + "\n", nil, ErrTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := events(strings.NewReader(tc.in), 20)
			if !slices.Equal(got, tc.want) || !errors.Is(err, tc.err) {
				t.Errorf("%q, %v: want %q, %v", got, err, tc.want, tc.err)
			}
		})
	}
}

// TestSSEAtOnce: an event is known when its blank line is there, whatever ends lines;
// nothing that may follow is waited for.
func TestSSEAtOnce(t *testing.T) {
	for _, end := range []string{"\n", "\r", "\r\n"} {
		out, in := io.Pipe()
		r := newSSEReader(out, 100)
		for range 2 {
			go func() { _, _ = in.Write([]byte("data: a" + end + end)) }() // ends when it has been read
			if e, err := r.next(); err != nil || string(e.data) != "a" {
				t.Errorf("%q: %q, %v", end, e.data, err)
			}
		}
		_ = in.Close()
		if _, err := r.next(); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	}
}

// FuzzSSE: a stream means the same in whatever pieces it comes, the same as with LF for
// every end of a line, and nothing is longer than its bound.
func FuzzSSE(f *testing.F) {
	for _, s := range []string{
		"data: {\"choices\":[]}\n\ndata: [DONE]\n\n", "data: a\r\n\r\n: x\r\rerror: b\r\revent: c\ndata: d\ndata\n\n", "\ufeffdata:a\n", "data: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const most = 40
		want, wantErr := events(bytes.NewReader(b), most)
		for _, e := range want {
			if len(e) > len("=")+64+most {
				t.Errorf("an event of %d bytes: %q", len(e), e)
			}
		}
		same := func(what string, in io.Reader) {
			got, err := events(in, most)
			if !slices.Equal(got, want) || (err.Error() != wantErr.Error()) {
				t.Errorf("%s: %q, %v: want %q, %v", what, got, err, want, wantErr)
			}
		}
		same("byte by byte", iotest.OneByteReader(bytes.NewReader(b)))
		same("halves", iotest.HalfReader(bytes.NewReader(b)))
		lf := bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
		same("with LF", bytes.NewReader(lf))
	})
}
