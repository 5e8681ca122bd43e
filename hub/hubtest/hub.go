// Package hubtest is a hub for tests: the part of the Hugging Face hub's protocol that package hub relies on, served
// from memory by two hosts on the loopback interface, one for the hub and one for its content network. Tests put
// faults between a request and its true answer.
//
// It answers as the hub does: large files are redirected to signed addresses at the other host, small ones are served
// at once; a model that does not exist is 401 for somebody without a token; digests and sizes are in X-Linked-Etag,
// X-Linked-Size and ETag. The reference client of the hub downloads from it, which is how that was checked
// (scripts/oracles/hub_client.py).
package hubtest

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// File is one file of a commit.
type File struct {
	Path  string
	Data  []byte
	Large bool // stored as a large file: SHA-256, and a redirect to the content network

	digest string // once it is known
}

// Digest is what the hub knows the file by.
func (f File) Digest() string {
	if f.digest != "" {
		return f.digest
	}
	if f.Large {
		sum := sha256.Sum256(f.Data)
		return hex.EncodeToString(sum[:])
	}
	h := sha1.New()
	h.Write(fmt.Appendf(nil, "blob %d\x00", len(f.Data)))
	h.Write(f.Data)
	return hex.EncodeToString(h.Sum(nil))
}

// Model is a repository: its commits, and the branches and tags that point to them.
type Model struct {
	Commits   map[string][]File
	Revisions map[string]string
	Token     string // needed to see it; "": public
	Gated     bool   // seen by everybody, given to nobody
}

// Seen is a request that has arrived.
type Seen struct {
	CDN                        bool
	Method, Path, Query, Range string
	Authorization              string
}

// Fault may answer a request in the place of the true handler, which it can also call with a changed writer. It
// returns false to leave the request to the next fault, or to the truth.
type Fault func(w http.ResponseWriter, r *http.Request, at Seen, truth http.Handler) bool

// Hub is the pair of hosts.
type Hub struct {
	URL, CDN string // addresses of the two
	Bare     bool   // a mirror that lists names alone: no sizes, no digests

	mu     sync.Mutex
	models map[string]*Model
	moved  map[string]string
	faults []Fault
	seen   []Seen
}

// Commit makes the id of a commit out of a word.
func Commit(word string) string {
	sum := sha1.Sum([]byte(word))
	return hex.EncodeToString(sum[:])
}

// Offline makes a hub that has addresses but listens nowhere: its handlers are called by a transport of the test.
func Offline(hub, cdn string) *Hub {
	return &Hub{URL: hub, CDN: cdn, models: map[string]*Model{}, moved: map[string]string{}}
}

// New starts a hub that ends with the test.
func New(tb testing.TB) *Hub {
	tb.Helper()
	h := Offline("", "")
	site := httptest.NewServer(http.HandlerFunc(h.ServeHub))
	tb.Cleanup(site.Close)
	cdn := httptest.NewServer(http.HandlerFunc(h.ServeCDN))
	tb.Cleanup(cdn.Close)
	h.URL, h.CDN = site.URL, cdn.URL
	return h
}

// Put adds a model with one commit, the tip of main, and returns the commit.
func (h *Hub) Put(name string, files ...File) string {
	var all bytes.Buffer
	files = slices.Clone(files)
	for i, f := range files {
		files[i].digest = f.Digest()
		fmt.Fprintf(&all, "%s %s\n", f.Digest(), f.Path)
	}
	commit := Commit(name + all.String())
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.models[name]
	if m == nil {
		m = &Model{Commits: map[string][]File{}, Revisions: map[string]string{}}
		h.models[name] = m
	}
	m.Commits[commit] = files
	m.Revisions["main"] = commit
	return commit
}

// Change edits a model's settings.
func (h *Hub) Change(name string, edit func(*Model)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	edit(h.models[name])
}

// Rename makes an old name redirect to a new one, as the hub does after a model has moved.
func (h *Hub) Rename(from, to string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moved[from] = to
}

// Inject puts a fault before the truth. The last one injected is asked first.
func (h *Hub) Inject(f Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = slices.Insert(h.faults, 0, f)
}

// Heal takes all faults away.
func (h *Hub) Heal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = nil
}

// Requests gives what has arrived since the last call.
func (h *Hub) Requests() []Seen {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.seen
	h.seen = nil
	return s
}

// ServeHub answers as the hub's own host.
func (h *Hub) ServeHub(w http.ResponseWriter, r *http.Request) { h.serve(w, r, false, h.hub) }

// ServeCDN answers as the content network.
func (h *Hub) ServeCDN(w http.ResponseWriter, r *http.Request) { h.serve(w, r, true, h.cdn) }

func (h *Hub) serve(w http.ResponseWriter, r *http.Request, cdn bool, truth http.HandlerFunc) {
	at := Seen{CDN: cdn, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Range: r.Header.Get("Range"), Authorization: r.Header.Get("Authorization")}
	h.mu.Lock()
	h.seen = append(h.seen, at)
	faults := slices.Clone(h.faults)
	h.mu.Unlock()
	for _, f := range faults {
		if f(w, r, at, truth) {
			return
		}
	}
	truth(w, r)
}

// refuse answers with the hub's way of saying no.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if code != "" {
		w.Header().Set("X-Error-Code", code)
	}
	w.Header().Set("X-Error-Message", message)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": message}) // the test's client has gone: nothing to tell
}

// hub serves /api/models/{owner}/{name}/revision/{rev} and /{owner}/{name}/resolve/{rev}/{file}.
func (h *Hub) hub(w http.ResponseWriter, r *http.Request) {
	raw := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	parts := make([]string, len(raw))
	for i, p := range raw {
		s, err := url.PathUnescape(p)
		if err != nil {
			refuse(w, http.StatusBadRequest, "", "bad path")
			return
		}
		parts[i] = s
	}
	api := len(parts) == 6 && parts[0] == "api" && parts[1] == "models" && parts[4] == "revision"
	if api {
		parts = parts[2:]
	}
	if !api && (len(parts) < 5 || parts[2] != "resolve") {
		refuse(w, http.StatusNotFound, "", "no such page")
		return
	}
	name := parts[0] + "/" + parts[1]
	h.mu.Lock()
	to, moved := h.moved[name]
	var m Model
	known := h.models[name]
	if known != nil {
		m = *known
	}
	bare := h.Bare
	h.mu.Unlock()
	if moved {
		w.Header().Set("Location", strings.Replace(r.URL.RequestURI(), name, to, 1)) // relative, as the hub's are
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	auth := r.Header.Get("Authorization")
	switch {
	case known == nil && auth == "":
		refuse(w, http.StatusUnauthorized, "", "Invalid username or password.")
		return
	case known == nil || m.Token != "" && auth != "Bearer "+m.Token:
		if m.Token != "" && auth != "" {
			refuse(w, http.StatusUnauthorized, "", "Invalid credentials in Authorization header")
			return
		}
		refuse(w, http.StatusNotFound, "RepoNotFound", "Repository not found")
		return
	}
	commit := m.Revisions[parts[3]]
	if _, ok := m.Commits[parts[3]]; ok {
		commit = parts[3]
	}
	if commit == "" {
		refuse(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+parts[3])
		return
	}
	if api {
		info(w, name, commit, m.Commits[commit], bare || r.URL.Query().Get("blobs") == "")
		return
	}
	if m.Gated {
		refuse(w, http.StatusForbidden, "GatedRepo", "Access to model "+name+" is restricted.")
		return
	}
	path := strings.Join(parts[4:], "/")
	i := slices.IndexFunc(m.Commits[commit], func(f File) bool { return f.Path == path })
	if i < 0 {
		refuse(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
		return
	}
	h.resolve(w, r, commit, m.Commits[commit][i])
}

// info is the manifest, with some of the fields that nobody here reads.
func info(w http.ResponseWriter, name, commit string, files []File, namesOnly bool) {
	var siblings []map[string]any
	for _, f := range files {
		s := map[string]any{"rfilename": f.Path}
		if !namesOnly {
			s["size"] = len(f.Data)
			s["blobId"] = f.Digest()
			if f.Large {
				pointer := File{Data: fmt.Appendf(nil, "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", f.Digest(), len(f.Data))}
				s["blobId"] = pointer.Digest()
				s["lfs"] = map[string]any{"sha256": f.Digest(), "size": len(f.Data), "pointerSize": len(pointer.Data)}
			}
		}
		siblings = append(siblings, s)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Repo-Commit", commit)
	_ = json.NewEncoder(w).Encode(map[string]any{ // the test's client has gone: nothing to tell
		"_id": "621ffdc136468d709f17d0e8", "id": name, "modelId": name, "sha": commit, "private": false, "gated": false,
		"tags": []string{"safetensors", "text-generation"}, "cardData": map[string]any{"license": "apache-2.0"},
		"siblings": siblings, "createdAt": "2024-01-01T00:00:00.000Z",
	})
}

// resolve serves a small file, or says where the bytes of a large one are.
func (h *Hub) resolve(w http.ResponseWriter, r *http.Request, commit string, f File) {
	w.Header().Set("X-Repo-Commit", commit)
	if !f.Large {
		w.Header().Set("ETag", `"`+f.Digest()+`"`)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.Data))
		return
	}
	w.Header().Set("X-Linked-Etag", `"`+f.Digest()+`"`)
	w.Header().Set("X-Linked-Size", fmt.Sprint(len(f.Data)))
	w.Header().Set("Accept-Ranges", "bytes")
	http.Redirect(w, r, h.CDN+"/repos/"+f.Digest()+"?Expires=1&Signature=abc", http.StatusFound)
}

// cdn serves large files by their digest, under an ETag of its own kind.
func (h *Hub) cdn(w http.ResponseWriter, r *http.Request) {
	digest := strings.TrimPrefix(r.URL.Path, "/repos/")
	if r.URL.Query().Get("Signature") != "abc" {
		http.Error(w, "<Error><Code>AccessDenied</Code></Error>", http.StatusForbidden)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.models {
		for _, files := range m.Commits {
			for _, f := range files {
				if f.Large && f.Digest() == digest {
					w.Header().Set("ETag", `"5f363e0e58a95f06cbe9bbc662c5dfb6-12"`)
					w.Header().Set("Content-Type", "application/octet-stream")
					h.mu.Unlock()
					http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.Data))
					h.mu.Lock()
					return
				}
			}
		}
	}
	http.Error(w, "<Error><Code>NoSuchKey</Code></Error>", http.StatusNotFound)
}
