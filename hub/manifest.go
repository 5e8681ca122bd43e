package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxManifest = 32 << 20 // bytes of a manifest's JSON; a model with 1,000 files has some 300 KiB
	maxFiles    = 100_000  // files that a manifest may list
	maxSize     = 1 << 45  // bytes of one file; maxFiles of them still add up in an int64
)

// File is one file of a commit, as the hub declares it.
type File struct {
	Path   string // slash-separated, from the model's root
	Size   int64  // bytes; -1: not declared
	Digest string // SHA-256 (64 hex digits) of a large file, git object id (40) of a small one; "": not declared
}

// Manifest is what the hub says about one revision.
type Manifest struct {
	Commit string // 40 hex digits
	Files  []File
}

// find gives the file with this path.
func (m *Manifest) find(path string) (File, bool) {
	for _, f := range m.Files {
		if f.Path == path {
			return f, true
		}
	}
	return File{}, false
}

// manifest asks the hub for the files of r's revision.
func (c *Client) manifest(ctx context.Context, r Ref) (*Manifest, error) {
	var m *Manifest
	err := c.retry(ctx, r.String(), func() (bool, error) {
		a, err := c.send(ctx, http.MethodGet, c.apiURL(r), nil, false)
		if err != nil {
			return false, err
		}
		defer a.Close()
		if a.StatusCode != http.StatusOK {
			return false, wrong("manifest: unexpected status %s: %w", a.Status, ErrProtocol)
		}
		b, err := io.ReadAll(io.LimitReader(a.Body, maxManifest+1))
		if err != nil {
			return false, passing("manifest: %w: %w", err, ErrUnavailable)
		}
		if m, err = parseManifest(b); err != nil {
			return false, &suspect{err}
		}
		if commitPattern.MatchString(r.Revision) && m.Commit != r.Revision {
			return false, wrong("manifest: is of commit %s, asked for %s: %w", m.Commit, r.Revision, ErrProtocol)
		}
		return true, nil
	})
	return m, err
}

// parseManifest reads the JSON of a revision and checks all that nosa relies on. It walks the tokens, because a list
// of empty objects would take twenty times its size as decoded values.
func parseManifest(b []byte) (*Manifest, error) {
	if len(b) > maxManifest {
		return nil, fmt.Errorf("manifest: more than %d MiB: %w", maxManifest>>20, ErrProtocol)
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(b)) // refuses duplicate names and invalid UTF-8
	m := &Manifest{}
	err := eachField(dec, func(name string) error {
		switch name {
		case "sha":
			return stringValue(dec, &m.Commit)
		case "siblings":
			return m.siblings(dec)
		}
		return dec.SkipValue()
	})
	if err == nil {
		if _, err = dec.ReadToken(); errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			err = fmt.Errorf("more than one value")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("manifest: %s: %w", clip(err.Error()), ErrProtocol)
	}
	if !commitPattern.MatchString(m.Commit) {
		return nil, fmt.Errorf("manifest: sha %q is no commit: %w", clip(m.Commit), ErrProtocol)
	}
	return m, m.check()
}

func (m *Manifest) siblings(dec *jsontext.Decoder) error {
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '[' {
		return orElse(err, "siblings is no list")
	}
	for dec.PeekKind() != ']' {
		if len(m.Files) == maxFiles {
			return fmt.Errorf("more than %d files", maxFiles)
		}
		f, err := sibling(dec)
		if err != nil {
			return err
		}
		m.Files = append(m.Files, f)
	}
	_, err := dec.ReadToken()
	return err
}

// sibling reads one file. Only its name is always there: sizes and digests come with blobs=true, from a hub that
// knows it. An LFS file's blob id is that of its pointer, so its own SHA-256 goes first.
func sibling(dec *jsontext.Decoder) (File, error) {
	f := File{Size: -1}
	var blob, sha string
	large := int64(-1)
	err := eachField(dec, func(name string) error {
		switch name {
		case "rfilename":
			return stringValue(dec, &f.Path)
		case "size":
			return sizeValue(dec, &f.Size)
		case "blobId":
			return stringValue(dec, &blob)
		case "lfs":
			if dec.PeekKind() != '{' {
				return dec.SkipValue() // null: not a large file
			}
			return eachField(dec, func(name string) error {
				switch name {
				case "sha256":
					return stringValue(dec, &sha)
				case "size":
					return sizeValue(dec, &large)
				}
				return dec.SkipValue()
			})
		}
		return dec.SkipValue()
	})
	if err != nil {
		return f, err
	}
	f.Digest = blob
	if sha != "" || large >= 0 {
		f.Digest = sha
		if f.Size >= 0 && large >= 0 && f.Size != large {
			return f, fmt.Errorf("%s: size %d, but %d as a large file", clip(f.Path), f.Size, large)
		}
		f.Size = max(f.Size, large)
	}
	return f, nil
}

// check holds every file against what a git tree can be.
func (m *Manifest) check() error {
	seen := make(map[string]struct{}, len(m.Files))
	for _, f := range m.Files {
		if !harmlessPath(f.Path) {
			return fmt.Errorf("manifest: file name %q is not a path inside the model: %w", clip(f.Path), ErrProtocol)
		}
		if _, twice := seen[f.Path]; twice {
			return fmt.Errorf("manifest: %q is listed twice: %w", clip(f.Path), ErrProtocol)
		}
		seen[f.Path] = struct{}{}
		if f.Digest != "" && !validDigest(f.Digest) {
			return fmt.Errorf("manifest: %s: %q is neither a SHA-256 nor a git object id: %w", clip(f.Path), clip(f.Digest), ErrProtocol)
		}
	}
	return nil
}

func validDigest(s string) bool { return sha256Pattern.MatchString(s) || commitPattern.MatchString(s) }

// eachField walks an object; field reads or skips the value of the name that it is given.
func eachField(dec *jsontext.Decoder, field func(name string) error) error {
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return orElse(err, "want an object")
	}
	for dec.PeekKind() != '}' {
		tok, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if err := field(tok.String()); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// stringValue reads a string; null leaves to as it was.
func stringValue(dec *jsontext.Decoder, to *string) error {
	tok, err := dec.ReadToken()
	switch {
	case err != nil:
		return err
	case tok.Kind() == 'n':
		return nil
	case tok.Kind() != '"':
		return fmt.Errorf("want a string at byte %d", dec.InputOffset())
	}
	*to = tok.String() // a copy
	return nil
}

// sizeValue reads a number of bytes, whole and at most maxSize; null leaves to as it was.
func sizeValue(dec *jsontext.Decoder, to *int64) error {
	tok, err := dec.ReadToken()
	switch {
	case err != nil:
		return err
	case tok.Kind() == 'n':
		return nil
	case tok.Kind() != '0':
		return fmt.Errorf("want a size at byte %d", dec.InputOffset())
	}
	v, err := tok.Float()
	if err != nil || v != math.Trunc(v) || v < 0 || v > maxSize {
		return fmt.Errorf("size %v at byte %d", v, dec.InputOffset())
	}
	*to = int64(v)
	return nil
}

func orElse(err error, words string) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%s", words)
}
