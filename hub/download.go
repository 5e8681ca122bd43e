package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
)

const (
	chunk      = 256 << 10
	movedBytes = 1 << 20 // a try that brought so much starts the count of tries anew
)

// declared completes what the manifest left open with the headers of the file's own address.
func (p *pull) declared(ctx context.Context, f File) (File, error) {
	if f.Size >= 0 && f.Digest != "" {
		return f, nil
	}
	err := p.c.retry(ctx, f.Path, func() (bool, error) {
		a, err := p.c.send(ctx, http.MethodHead, p.c.resolveURL(p.ref, p.rec.Commit, f.Path), nil, true)
		if err != nil {
			return false, err
		}
		defer a.Close()
		digest, size := linked(a)
		if size < 0 && a.StatusCode == http.StatusOK && a.home {
			size = a.ContentLength
		}
		if f.Digest == "" {
			f.Digest = digest
		}
		if f.Size < 0 && size >= 0 && size <= maxSize {
			f.Size = size
		}
		if f.Size < 0 || f.Digest == "" {
			return false, wrong("%s gives no size or no digest, so nothing could be checked: use a mirror that passes X-Linked-Size and X-Linked-Etag on: %w", p.c.endpoint.Host, ErrProtocol)
		}
		return true, nil
	})
	return f, err
}

// linked reads the hub's own headers on a file: the digest and size of the file itself, wherever its bytes lie.
func linked(a *answer) (digest string, size int64) {
	size = -1
	etag := a.hub.Get("X-Linked-Etag")
	if etag == "" && a.home {
		etag = a.hub.Get("ETag")
	}
	etag = strings.Trim(strings.TrimPrefix(etag, "W/"), `"`)
	if validDigest(etag) {
		digest = etag
	}
	if n, err := strconv.ParseInt(a.hub.Get("X-Linked-Size"), 10, 64); err == nil && n >= 0 {
		size = n
	}
	return digest, size
}

// missing is how much of f must still come over the network.
func (p *pull) missing(f File) int64 {
	if st, err := p.root.Stat(path.Join(p.rec.Commit, f.Path)); err == nil && st.Size() == f.Size {
		return 0
	}
	if p.twin(f) != "" {
		return 0
	}
	if st, err := p.root.Stat(partialName(f)); err == nil {
		return max(f.Size-st.Size(), 0)
	}
	return f.Size
}

// partialName is where f grows. The path takes part in it: two files of a model may have the same contents.
func partialName(f File) string {
	sum := sha256.Sum256([]byte(f.Path))
	return partialDir + "/" + f.Digest + "-" + hex.EncodeToString(sum[:4]) + ".partial"
}

// fetch brings one file under its final name, by the cheapest way: it is there, another commit has it, or download.
func (p *pull) fetch(ctx context.Context, f File) error {
	final := path.Join(p.rec.Commit, f.Path)
	if err := p.root.MkdirAll(path.Dir(final), 0o755); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	if !p.present(f, final) && !p.linkTwin(f, final) {
		d, err := p.begin(f)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		err = p.c.retry(ctx, f.Path, func() (bool, error) { return d.try(ctx) })
		if cerr := d.file.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			err = p.root.Rename(partialName(f), final)
		}
		if err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.rec.add(recordFile(f))
	err := writeRecord(p.root, p.rec)
	p.mu.Unlock()
	if err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	p.report(f, f.Size, true)
	return nil
}

// present tells whether f is here and right. A file that the record does not know, left by a pull that ended between
// two lines, is hashed.
func (p *pull) present(f File, final string) bool {
	st, err := p.root.Lstat(final)
	if err != nil || !st.Mode().IsRegular() || st.Size() != f.Size {
		return false
	}
	p.mu.Lock()
	known, ok := p.rec.find(f.Path)
	p.mu.Unlock()
	if ok && known.Digest == f.Digest {
		return true
	}
	r, err := p.root.Open(final)
	if err != nil {
		return false
	}
	defer release(r)
	h := newHash(f)
	_, err = io.Copy(h, r)
	return err == nil && hex.EncodeToString(h.Sum(nil)) == f.Digest
}

// twin gives the path of a verified file of another commit with the same contents, "" if there is none.
func (p *pull) twin(f File) string {
	for _, rec := range p.twins {
		for _, o := range rec.Files {
			name := path.Join(rec.Commit, o.Path)
			if o.Digest != f.Digest || o.Size != f.Size {
				continue
			}
			if st, err := p.root.Lstat(name); err == nil && st.Mode().IsRegular() && st.Size() == f.Size {
				return name
			}
		}
	}
	return ""
}

// linkTwin shares a twin's bytes on disk. Where links are not possible the file is fetched instead.
func (p *pull) linkTwin(f File, final string) bool {
	name := p.twin(f)
	if name == "" {
		return false
	}
	err := p.root.Link(name, final)
	if errors.Is(err, os.ErrExist) { // there, but wrong: present would have taken it otherwise
		if err = p.root.Remove(final); err == nil {
			err = p.root.Link(name, final)
		}
	}
	return err == nil
}

// download is a file on its way. It outlives single tries: what they brought is hashed once.
type download struct {
	p    *pull
	of   File
	file *os.File
	hash hash.Hash
	off  int64 // bytes written and hashed
}

// begin opens f's partial file and hashes what an earlier pull left in it.
func (p *pull) begin(f File) (*download, error) {
	file, err := p.root.OpenFile(partialName(f), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	d := &download{p: p, of: f, file: file, hash: newHash(f)}
	n, err := io.Copy(d.hash, file)
	d.off = n
	if err == nil && n > f.Size {
		err = d.restart()
	}
	if err != nil {
		_ = file.Close() // nothing was written
		return nil, err
	}
	p.report(f, d.off, false)
	return d, nil
}

// newHash is git's object id for 40 digits, which hashes a header with the size first, and SHA-256 for 64.
func newHash(f File) hash.Hash {
	if len(f.Digest) == sha256.Size*2 {
		return sha256.New()
	}
	h := sha1.New()
	h.Write(fmt.Appendf(nil, "blob %d\x00", f.Size))
	return h
}

// restart throws away what has arrived.
func (d *download) restart() error {
	d.hash, d.off = newHash(d.of), 0
	if err := d.file.Truncate(0); err != nil {
		return err
	}
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	d.p.report(d.of, 0, false)
	return nil
}

// try brings what is missing and checks the whole. It returns nil only for a file that is complete, right and on disk.
func (d *download) try(ctx context.Context) (moved bool, err error) {
	start := d.off
	if d.off < d.of.Size {
		if err := d.receive(ctx); err != nil {
			return d.off-start >= movedBytes, err
		}
	}
	if sum := hex.EncodeToString(d.hash.Sum(nil)); sum != d.of.Digest {
		return false, d.again("digest %s, want %s: %w", sum, d.of.Digest, ErrDigest)
	}
	return true, d.file.Sync()
}

// again starts from the beginning because the bytes, or the server's idea of them, can not be trusted.
func (d *download) again(format string, args ...any) error {
	if err := d.restart(); err != nil {
		return err
	}
	return wrong(format, args...)
}

// receive asks for the rest of the file and appends it.
func (d *download) receive(ctx context.Context) error {
	header := http.Header{}
	if d.off > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", d.off))
	}
	a, err := d.p.c.send(ctx, http.MethodGet, d.p.c.resolveURL(d.p.ref, d.p.rec.Commit, d.of.Path), header, false)
	if err != nil {
		return err
	}
	defer a.Close()
	if err := d.agrees(a); err != nil {
		return err
	}
	host := a.Request.URL.Host
	switch {
	case a.StatusCode == http.StatusOK:
		if d.off > 0 { // ranges are not for this server: it sends all of it
			if err := d.restart(); err != nil {
				return err
			}
		}
	case a.StatusCode == http.StatusPartialContent && d.off > 0:
		want := fmt.Sprintf("bytes %d-%d/%d", d.off, d.of.Size-1, d.of.Size)
		if got := a.Header.Get("Content-Range"); got != want {
			return d.again("%s: sent range %q, asked for %q: %w", host, clip(got), want, ErrProtocol)
		}
	default:
		return d.again("%s: status %d for the range from %d: %w", host, a.StatusCode, d.off, ErrProtocol)
	}
	if n := a.ContentLength; n >= 0 && n != d.of.Size-d.off {
		return d.again("%s: sends %d bytes, want %d: %w", host, n, d.of.Size-d.off, ErrProtocol)
	}
	return d.append(a.Body, host)
}

// agrees holds the hub's headers against what was declared: a commit's files do not change.
func (d *download) agrees(a *answer) error {
	digest, size := linked(a)
	switch commit := a.hub.Get("X-Repo-Commit"); {
	case commit != "" && commit != d.p.rec.Commit:
		return d.again("the hub answers for commit %s, asked for %s: %w", clip(commit), d.p.rec.Commit, ErrProtocol)
	case digest != "" && digest != d.of.Digest:
		return d.again("the hub has digest %s now, it declared %s: %w", digest, d.of.Digest, ErrDigest)
	case size >= 0 && size != d.of.Size:
		return d.again("the hub has %d bytes now, it declared %d: %w", size, d.of.Size, ErrProtocol)
	}
	return nil
}

// append copies a body to the end of the file, up to the declared size and not one byte further.
func (d *download) append(body io.Reader, host string) error {
	buf := make([]byte, chunk)
	for {
		n, rerr := body.Read(buf)
		if d.off+int64(n) > d.of.Size {
			return d.again("%s: sends more than the declared %d bytes: %w", host, d.of.Size, ErrProtocol)
		}
		if n > 0 {
			if _, err := d.file.Write(buf[:n]); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			d.hash.Write(buf[:n])
			d.off += int64(n)
			d.p.report(d.of, d.off, false)
		}
		switch {
		case errors.Is(rerr, io.EOF) && d.off == d.of.Size:
			return nil
		case errors.Is(rerr, io.EOF):
			return passing("%s: the transfer ended after %d of %d bytes: %w", host, d.off, d.of.Size, ErrUnavailable)
		case rerr != nil:
			return passing("%s: after %d of %d bytes: %w: %w", host, d.off, d.of.Size, rerr, ErrUnavailable)
		}
	}
}
