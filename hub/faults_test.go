package hub

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nosa/hub/hubtest"
)

// on limits a fault to some requests: the first n (0: all) that match.
func on(match func(hubtest.Seen) bool, n int32, f http.HandlerFunc) hubtest.Fault {
	var hits atomic.Int32
	return func(w http.ResponseWriter, r *http.Request, at hubtest.Seen, truth http.Handler) bool {
		if !match(at) || n > 0 && hits.Add(1) > n {
			return false
		}
		f(w, r)
		return true
	}
}

func api(s hubtest.Seen) bool     { return strings.HasPrefix(s.Path, "/api/") }
func cdn(s hubtest.Seen) bool     { return s.CDN }
func resolve(s hubtest.Seen) bool { return strings.Contains(s.Path, "/resolve/") }
func small(s hubtest.Seen) bool   { return strings.HasSuffix(s.Path, "config.json") }
func ranged(s hubtest.Seen) bool  { return s.CDN && s.Range != "" }

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, s) } // the client may have gone
}

// changed lets the truth answer and edits what it said.
func changed(match func(hubtest.Seen) bool, n int32, edit func(h http.Header, code int, body []byte) (int, []byte)) hubtest.Fault {
	var hits atomic.Int32
	return func(w http.ResponseWriter, r *http.Request, at hubtest.Seen, truth http.Handler) bool {
		if !match(at) || n > 0 && hits.Add(1) > n {
			return false
		}
		rec := httptest.NewRecorder()
		truth.ServeHTTP(rec, r)
		code, body := edit(rec.Header(), rec.Code, rec.Body.Bytes())
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(code)
		_, _ = w.Write(body) // more or less than announced: net/http complains, which is the point
		return true
	}
}

// cutAfter breaks the connection of large files after n bytes.
func cutAfter(n int) hubtest.Fault {
	return changed(cdn, 0, func(h http.Header, code int, body []byte) (int, []byte) { return code, body[:min(n, len(body))] })
}

func drop(w http.ResponseWriter, r *http.Request) {
	if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
		_ = conn.Close()
	}
}

func headers(edit func(http.Header)) func(http.Header, int, []byte) (int, []byte) {
	return func(h http.Header, code int, body []byte) (int, []byte) { edit(h); return code, body }
}

func flip(h http.Header, code int, body []byte) (int, []byte) {
	b := bytes.Clone(body)
	b[len(b)/2] ^= 0x40
	return code, b
}

// faults is what servers do. want nil: the pull succeeds all the same.
var faults = map[string]struct {
	fault hubtest.Fault
	want  error
}{
	"api: 500 once":                {on(api, 1, status(500)), nil},
	"api: 503 always":              {on(api, 0, status(503)), ErrUnavailable},
	"api: 429 then well":           {on(api, 1, status(429, "Retry-After", "0")), nil},
	"api: 429 for an hour":         {on(api, 0, status(429, "Retry-After", "3600")), ErrUnavailable},
	"api: rate limit for an hour":  {on(api, 0, status(429, "RateLimit", `"api";r=0;t=3600`)), ErrUnavailable},
	"api: connection dropped once": {on(api, 1, drop), nil},
	"api: connection dropped":      {on(api, 0, drop), ErrUnavailable},
	"api: garbage once":            {on(api, 1, text("<html>sorry</html>")), nil},
	"api: garbage":                 {on(api, 0, text("<html>sorry</html>")), ErrProtocol},
	"api: empty":                   {on(api, 0, text("")), ErrProtocol},
	"api: cut JSON":                {on(api, 0, text(`{"sha":"`)), ErrProtocol},
	"api: traversal":               {on(api, 0, text(manifestJSON(`{"rfilename":"config.json"}`, `{"rfilename":"../../../evil.json"}`))), ErrProtocol},
	"api: absolute path":           {on(api, 0, text(manifestJSON(`{"rfilename":"/etc/evil"}`))), ErrProtocol},
	"api: huge":                    {on(api, 0, endless), ErrProtocol},
	"api: 418":                     {on(api, 0, status(418)), ErrProtocol},
	"api: 206":                     {on(api, 0, status(206)), ErrProtocol},
	"api: 416":                     {on(api, 0, status(416)), ErrProtocol},
	"api: 304":                     {on(api, 0, status(304)), ErrProtocol},
	"api: gzip not asked for":      {changed(api, 0, headers(func(h http.Header) { h.Set("Content-Encoding", "gzip") })), ErrProtocol},
	"api: redirect loop": {on(api, 0, func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		http.Redirect(w, r, fmt.Sprintf("%s?n=%d", r.URL.Path, n+1), http.StatusFound)
	}), ErrProtocol},
	"api: redirect nowhere":         {on(api, 0, status(302)), ErrProtocol},
	"api: redirect to a file":       {on(api, 0, status(302, "Location", "file:///etc/passwd")), ErrProtocol},
	"api: redirect with a password": {on(api, 0, status(302, "Location", "http://me:pw@127.0.0.1/")), ErrProtocol},
	"api: endless headers": {on(api, 0, func(w http.ResponseWriter, r *http.Request) {
		for i := range 40_000 {
			w.Header().Set(fmt.Sprintf("X-Filler-%d", i), strings.Repeat("x", 400))
		}
	}), ErrUnavailable},
	"api: a terminal's escapes in the message": {on(api, 0, status(404, "X-Error-Code", "RepoNotFound", "X-Error-Message", "\x9b2J"+strings.Repeat("no ", 1000))), ErrNotFound},
	"api: a message of JSON":                   {on(api, 0, jsonError(403, strings.Repeat("no\n", 5000))), ErrAccess},

	"hub: another commit":           {changed(resolve, 0, headers(func(h http.Header) { h.Set("X-Repo-Commit", hubtest.Commit("other")) })), ErrProtocol},
	"hub: another digest":           {changed(resolve, 0, headers(func(h http.Header) { h.Set("X-Linked-Etag", `"`+strings.Repeat("ab", 32)+`"`) })), ErrDigest},
	"hub: another digest once":      {changed(resolve, 1, headers(func(h http.Header) { h.Set("X-Linked-Etag", `"`+strings.Repeat("ab", 32)+`"`) })), nil},
	"hub: another size":             {changed(resolve, 0, headers(func(h http.Header) { h.Set("X-Linked-Size", "7") })), ErrProtocol},
	"hub: file gone":                {on(resolve, 0, status(404, "X-Error-Code", "EntryNotFound")), ErrNotFound},
	"hub: small file flipped once":  {changed(small, 1, flip), nil},
	"hub: small file flipped":       {changed(small, 0, flip), ErrDigest},
	"hub: small file, page instead": {on(small, 0, text("<html>log in to the airport's network</html>")), ErrProtocol},

	"cdn: 503 twice":              {on(cdn, 2, status(503)), nil},
	"cdn: 503 always":             {on(cdn, 0, status(503)), ErrUnavailable},
	"cdn: signature ran out once": {on(cdn, 1, status(403)), nil},
	"cdn: signature never good":   {on(cdn, 0, status(403)), ErrUnavailable},
	"cdn: dropped":                {on(cdn, 0, drop), ErrUnavailable},
	"cdn: flipped byte once":      {changed(cdn, 1, flip), nil},
	"cdn: flipped byte":           {changed(cdn, 0, flip), ErrDigest},
	"cdn: short, length right once": {changed(cdn, 1, func(h http.Header, code int, b []byte) (int, []byte) {
		return code, b[:len(b)/2]
	}), nil},
	"cdn: short, no length once": {changed(cdn, 1, func(h http.Header, code int, b []byte) (int, []byte) {
		h.Del("Content-Length")
		return code, b[:len(b)/2]
	}), nil},
	"cdn: short, never more": {changed(cdn, 0, func(h http.Header, code int, b []byte) (int, []byte) {
		h.Del("Content-Length")
		return code, b[:min(len(b), 4000)] // beyond net/http's buffer, or it would announce the length
	}), ErrUnavailable},
	"cdn: too long": {changed(cdn, 0, func(h http.Header, code int, b []byte) (int, []byte) {
		h.Del("Content-Length")
		return code, append(bytes.Clone(b), 'x')
	}), ErrProtocol},
	"cdn: endless": {on(cdn, 0, endless), ErrProtocol},
	"cdn: wrong length": {changed(cdn, 0, func(h http.Header, code int, b []byte) (int, []byte) {
		h.Set("Content-Length", strconv.Itoa(len(b)-1))
		return code, b[:len(b)-1]
	}), ErrProtocol},
	"cdn: 206 to a whole request": {changed(cdn, 0, func(h http.Header, code int, b []byte) (int, []byte) {
		h.Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(b)-1, len(b)))
		return 206, b
	}), ErrProtocol},
	"cdn: gzip not asked for": {changed(cdn, 0, headers(func(h http.Header) { h.Set("Content-Encoding", "br") })), ErrProtocol},
	"cdn: back to the hub":    {on(cdn, 0, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.String(), http.StatusFound) }), ErrProtocol},
	"cdn: not found":          {on(cdn, 0, status(404)), ErrUnavailable},
	"cdn: 204":                {on(cdn, 0, status(204)), ErrProtocol},
}

func endless(w http.ResponseWriter, r *http.Request) {
	b := bytes.Repeat([]byte(" "), 1<<16)
	for range 1 << 12 { // 256 MiB: more than any bound here
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

func jsonError(code int, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, `{"error":%q}`, message) // the client may have gone
	}
}

// TestFaults: under every fault the pull ends, with the right error in one line or well, and the store is sound. When
// the fault is gone, the next pull ends well.
func TestFaults(t *testing.T) {
	for name, tc := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hubtest.New(t)
			files := tinyModel()
			commit := h.Put("org/tiny", files...)
			c := client(t, h, func(cfg *Config) { cfg.HTTP = nil })
			h.Inject(tc.fault)
			_, err := c.Pull(t.Context(), "org/tiny", Options{}, nil)
			if !errors.Is(err, tc.want) || tc.want == nil && err != nil {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if err != nil {
				oneLine(t, err)
				if len(err.Error()) > 700 {
					t.Errorf("an error of %d bytes: %v", len(err.Error()), err)
				}
				if _, err := c.Lookup("org/tiny"); !errors.Is(err, ErrNotPulled) {
					t.Errorf("Lookup of a pull that failed: %v", err)
				}
			}
			sound(t, c, "org/tiny", commit, files)
			h.Heal()
			if _, err := c.Pull(t.Context(), "org/tiny", Options{}, nil); err != nil {
				t.Fatalf("with the fault gone: %v", err)
			}
			if n := sound(t, c, "org/tiny", commit, files); n != tinyFiles {
				t.Errorf("%d files, want %d", n, tinyFiles)
			}
		})
	}
}

// TestResumeFaults: what a server may do to a request for the rest of a file. The first transfer is cut, so that there
// is a rest; all of these end well, by starting anew where the answer was wrong.
func TestResumeFaults(t *testing.T) {
	ranges := func(format string) hubtest.Fault {
		return changed(ranged, 1, headers(func(h http.Header) { h.Set("Content-Range", fmt.Sprintf(format, 400_000, 899_999, 900_000)) }))
	}
	for name, tc := range map[string]struct {
		fault hubtest.Fault
		whole bool // the file comes again from its beginning
	}{
		"well": {on(ranged, 1, status(503)), false},
		"ranges are ignored": {on(ranged, 1, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "900000")
			_, _ = w.Write(noise(1, 900_000))
		}), true},
		"range not satisfiable": {on(ranged, 1, status(416, "Content-Range", "bytes */900000")), true},
		"wrong start":           {ranges("bytes %[1]d9-%[2]d/%[3]d"), true},
		"wrong end":             {ranges("bytes %[1]d-%[2]d9/%[3]d"), true},
		"wrong total":           {ranges("bytes %[1]d-%[2]d/%[3]d9"), true},
		"range is no range":     {ranges("octets"), true},
		"no range":              {changed(ranged, 1, headers(func(h http.Header) { h.Del("Content-Range") })), true},
		"several parts":         {changed(ranged, 1, headers(func(h http.Header) { h.Del("Content-Range"); h.Set("Content-Type", "multipart/byteranges; boundary=x") })), true},
		"rest is of another file": {changed(ranged, 1, func(h http.Header, code int, b []byte) (int, []byte) {
			return code, noise(7, len(b))
		}), true},
		"rest is cut again": {changed(ranged, 1, func(h http.Header, code int, b []byte) (int, []byte) { return code, b[:1000] }), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hubtest.New(t)
			files := []hubtest.File{{Path: "x.gguf", Data: noise(1, 900_000), Large: true}}
			commit := h.Put("org/x", files...)
			c := client(t, h, nil)
			h.Inject(tc.fault)
			h.Inject(changed(cdn, 1, func(_ http.Header, code int, b []byte) (int, []byte) { return code, b[:400_000] }))
			if _, err := c.Pull(t.Context(), "org/x", Options{}, nil); err != nil {
				t.Fatal(err)
			}
			if n := sound(t, c, "org/x", commit, files); n != 1 {
				t.Errorf("%d files, want 1", n)
			}
			whole := 0
			for _, s := range h.Requests() {
				if s.CDN && s.Range == "" {
					whole++
				}
			}
			if name == "ranges are ignored" { // it came whole, but was not asked for like that
				whole++
			}
			if (whole > 1) != tc.whole {
				t.Errorf("the whole file came %d times", whole)
			}
		})
	}
}

// TestRemoteChanges: a file that changes between two pulls begins anew under its new digest.
func TestRemoteChanges(t *testing.T) {
	h := hubtest.New(t)
	h.Put("org/x", hubtest.File{Path: "x.gguf", Data: noise(1, 900_000), Large: true})
	c := client(t, h, func(cfg *Config) { cfg.Retries = -1 })
	h.Inject(cutAfter(400_000))
	if _, err := c.Pull(t.Context(), "org/x", Options{}, nil); err == nil {
		t.Fatal("the cut was not noticed")
	}
	h.Heal()
	now := []hubtest.File{{Path: "x.gguf", Data: noise(2, 900_000), Large: true}}
	commit := h.Put("org/x", now...)
	h.Requests()
	if _, err := c.Pull(t.Context(), "org/x", Options{}, nil); err != nil {
		t.Fatal(err)
	}
	if n := sound(t, c, "org/x", commit, now); n != 1 {
		t.Errorf("%d files, want 1", n)
	}
	for _, s := range h.Requests() {
		if s.Range != "" {
			t.Errorf("continued a file that is another now: %+v", s)
		}
	}
}

// TestManyBreaks: a large file survives more breaks than there are retries, as long as each try brings something.
func TestManyBreaks(t *testing.T) {
	h := hubtest.New(t)
	files := []hubtest.File{{Path: "x.gguf", Data: noise(1, 12*movedBytes), Large: true}}
	commit := h.Put("org/x", files...)
	c := client(t, h, func(cfg *Config) { cfg.Retries = 1 })
	h.Inject(cutAfter(movedBytes + 1))
	if _, err := c.Pull(t.Context(), "org/x", Options{}, nil); err != nil {
		t.Fatal(err)
	}
	sound(t, c, "org/x", commit, files)
}

// TestUnreachable: nobody listens.
func TestUnreachable(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	c, err := New(Config{Endpoint: s.URL, Dir: t.TempDir(), Retries: 1, Idle: time.Second})
	must(t, err)
	c.backoff = time.Millisecond
	if _, err := c.Pull(t.Context(), "org/x", Options{}, nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	} else {
		oneLine(t, err)
	}
}

// TestUntrusted: a host that shows a certificate of nobody's is not asked again, and nothing is sent to it.
func TestUntrusted(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it would report the handshake that failed
	s.StartTLS()
	defer s.Close()
	c, err := New(Config{Endpoint: s.URL, Token: "hf_x", Dir: t.TempDir()})
	must(t, err)
	_, err = c.Pull(t.Context(), "org/x", Options{}, nil)
	if !errors.Is(err, ErrAccess) || !strings.Contains(err.Error(), "SSL_CERT_FILE") || asked.Load() > 0 {
		t.Errorf("got %v after %d requests", err, asked.Load())
	}
	oneLine(t, err)
}
