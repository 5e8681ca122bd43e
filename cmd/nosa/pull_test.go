package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nosa/hub"
	"nosa/hub/hubtest"
)

// hangingServer accepts requests, tells about each, and never answers.
func hangingServer(t testing.TB, asked chan<- struct{}) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestPull(t *testing.T) {
	h := hubtest.New(t)
	weights := bytes.Repeat([]byte("w"), 100_000)
	h.Put("org/tiny", hubtest.File{Path: "x.gguf", Data: weights, Large: true})
	env := map[string]string{"HF_ENDPOINT": h.URL, "NOSA_HOME": t.TempDir()}
	r := nosa(t, env, "pull", "org/tiny")
	if r.code != exitDone || r.errors != "1 files, 97.7 KiB, of which 97.7 KiB came now, in 0s\n" {
		t.Errorf("pull: %+v", r)
	}
	path := strings.TrimSuffix(r.out, "\n")
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, weights) {
		t.Errorf("%q is not the model: %v", path, err)
	}

	r = nosa(t, env, "pull", "org/tiny", "--json", "--quiet")
	var p pulled
	if err := json.Unmarshal([]byte(r.out), &p); err != nil || p != (pulled{"org/tiny", path}) || r.errors != "" {
		t.Errorf("pull --json: %+v, %v", r, err)
	}
	r = nosa(t, env, "pull", "--list")
	if r.code != exitDone || !strings.Contains(r.out, "org/tiny") || !strings.Contains(r.out, "97.7 KiB") {
		t.Errorf("list: %+v", r)
	}
	r = nosa(t, env, "pull", "--list", "--json")
	var models []hub.Model
	if err := json.Unmarshal([]byte(r.out), &models); err != nil || len(models) != 1 || models[0].Path != path {
		t.Errorf("list --json: %+v, %v", r, err)
	}
	if r := nosa(t, map[string]string{"NOSA_HOME": t.TempDir()}, "pull", "-l", "--json"); r.out != "[]\n" {
		t.Errorf("empty list: %+v", r)
	}

	nosa(t, env, "pull", "org/none").refused(t, exitFailed, "no such model")
	nosa(t, env, "pull", "org/tiny@v9").refused(t, exitFailed, "no such revision")
	nosa(t, env, "pull", "org/tiny:y.gguf").refused(t, exitFailed, "org/tiny:x.gguf")
	nosa(t, env, "pull", "org/tiny", "--include", "[").refused(t, exitUsage, "pattern")
	nosa(t, nil, "pull", "org/tiny").refused(t, exitFailed, "NOSA_HOME")
	nosa(t, map[string]string{"HF_ENDPOINT": "ftp://x", "NOSA_HOME": t.TempDir()}, "pull", "org/tiny").refused(t, exitUsage, "http://")
}

// TestPullDamagedStore: what can be listed is, and the damage is named.
func TestPullDamagedStore(t *testing.T) {
	h := hubtest.New(t)
	h.Put("org/a", hubtest.File{Path: "x.gguf", Data: []byte("x"), Large: true})
	commit := h.Put("org/b", hubtest.File{Path: "x.gguf", Data: []byte("y"), Large: true})
	env := map[string]string{"HF_ENDPOINT": h.URL, "NOSA_HOME": t.TempDir()}
	for _, m := range []string{"org/a", "org/b"} {
		if r := nosa(t, env, "pull", m); r.code != exitDone {
			t.Fatalf("%+v", r)
		}
	}
	if err := os.WriteFile(filepath.Join(env["NOSA_HOME"], "models/org/b", commit+".json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := nosa(t, env, "pull", "-l")
	if r.code != exitFailed || !strings.Contains(r.out, "org/a") || strings.Contains(r.out, "org/b") || !strings.Contains(r.errors, "org/b") {
		t.Errorf("%+v", r)
	}
}
