package server

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"net/http"
	"path"
	"time"
)

//go:embed page
var pageFS embed.FS

// pageFiles serves the page at / and its files. There is no secret in them: what they
// show comes from paths that need a key.
var pageFiles = newPage()

// pagePolicy lets the page run its own scripts and talk to this server, and nothing
// else: what a model writes is text in it and never markup.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// page is its files by name.
type page map[string]pageFile

type pageFile struct {
	kind, tag string
	data      []byte
}

var pageKinds = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

func newPage() page {
	files, err := pageFS.ReadDir("page")
	if err != nil {
		panic(err) // it is in the binary
	}
	p := page{}
	for _, f := range files {
		data, err := pageFS.ReadFile(path.Join("page", f.Name()))
		kind := pageKinds[path.Ext(f.Name())]
		if err != nil || kind == "" {
			panic(fmt.Sprintf("page/%s can not be served: %v", f.Name(), err))
		}
		p[f.Name()] = pageFile{kind, fmt.Sprintf(`"%x"`, sha256.Sum256(data)), data}
	}
	return p
}

func (p page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	if name == "" {
		name = "index.html"
	}
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	f, ok := p[name]
	if !ok {
		writeJSON(w, http.StatusNotFound, &apiError{Kind: kindInvalid, Message: "there is no " + r.Method + " " + r.URL.Path})
		return
	}
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", f.tag)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime)) // not of a recorder in a test
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(f.data))
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
}
