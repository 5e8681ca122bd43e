package hub

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"nosa/hub/hubtest"
)

// noise is n bytes that no server could guess.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b) // it never fails
	return b
}

// tinyModel is a model in two shards, with files that must not come along.
func tinyModel() []hubtest.File {
	shard := func(i int) string { return fmt.Sprintf("model-%05d-of-00002.safetensors", i) }
	index, err := json.Marshal(map[string]any{"metadata": map[string]int{"total_size": 1}, "weight_map": map[string]string{"a": shard(1), "b": shard(2), "c": shard(1)}})
	if err != nil {
		panic(err)
	}
	return []hubtest.File{
		{Path: "config.json", Data: []byte(`{"model_type":"llama"}`)},
		{Path: "generation_config.json", Data: []byte{}},
		{Path: "tokenizer.json", Data: noise(1, 70_000), Large: true},
		{Path: indexFile, Data: index},
		{Path: shard(1), Data: noise(2, 700_000), Large: true},
		{Path: shard(2), Data: noise(3, 300_000), Large: true},
		{Path: "pytorch_model.bin", Data: noise(4, 1000), Large: true},
		{Path: "modeling_evil.py", Data: []byte("import os")},
		{Path: "README.md", Data: []byte("# tiny")},
	}
}

const tinyFiles = 6 // of tinyModel, those that a pull brings

// client is a client of the test hub, with an empty store and no patience.
func client(t testing.TB, h *hubtest.Hub, change func(*Config)) *Client {
	t.Helper()
	cfg := Config{Endpoint: h.URL, Dir: t.TempDir(), HTTP: &http.Client{Transport: &http.Transport{}}, Retries: 3, Idle: 5 * time.Second}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.backoff = time.Millisecond
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// sound checks the promise of the store: every file under a final name is what the hub has, whatever happened.
func sound(t testing.TB, c *Client, name, commit string, truth []hubtest.File) (whole int) {
	t.Helper()
	dir := filepath.Join(c.cfg.Dir, modelsDir, filepath.FromSlash(name), commit)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(truth, func(f hubtest.File) bool { return f.Path == filepath.ToSlash(rel) })
		if i < 0 {
			t.Errorf("%s is in the store, but not in the model", rel)
			return nil
		}
		got, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, truth[i].Data) {
			t.Errorf("%s: %d bytes under the final name, which are not the model's %d", rel, len(got), len(truth[i].Data))
		}
		whole++
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return whole
}

func TestPull(t *testing.T) {
	h := hubtest.New(t)
	files := tinyModel()
	commit := h.Put("org/tiny", files...)
	c := client(t, h, nil)
	var last Progress
	calls := 0
	dir, err := c.Pull(t.Context(), "org/tiny", Options{}, func(p Progress) { last = p; calls++ })
	if err != nil {
		t.Fatal(err)
	}
	if n := sound(t, c, "org/tiny", commit, files); n != tinyFiles {
		t.Errorf("%d files came, want %d", n, tinyFiles)
	}
	if last.Got != last.Total || last.Here != tinyFiles || last.Files != tinyFiles || calls < tinyFiles {
		t.Errorf("progress ended with %+v after %d calls", last, calls)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "..", partialDir)); err != nil || len(left) != 0 {
		t.Errorf("partial files are left: %v, %v", left, err)
	}
	if found, err := c.Lookup("org/tiny"); err != nil || found != dir {
		t.Errorf("Lookup gives %q, %v; want %q", found, err, dir)
	}

	h.Requests()
	if _, err := c.Pull(t.Context(), "org/tiny", Options{}, nil); err != nil {
		t.Fatal(err)
	}
	if seen := h.Requests(); len(seen) != 1 {
		t.Errorf("a second pull made %d requests, want the manifest's alone: %+v", len(seen), seen)
	}
	if _, err := c.Pull(t.Context(), "org/tiny@"+commit, Options{}, nil); err != nil {
		t.Fatal(err)
	}
	if seen := h.Requests(); len(seen) != 0 {
		t.Errorf("a commit that is here made requests: %+v", seen)
	}
}

func TestPullGGUF(t *testing.T) {
	h := hubtest.New(t)
	files := []hubtest.File{{Path: "q8/x.gguf", Data: noise(1, 50_000), Large: true}, {Path: "y.gguf", Data: noise(2, 1000), Large: true}, {Path: "README.md"}}
	commit := h.Put("org/gguf", files...)
	c := client(t, h, nil)
	if _, err := c.Pull(t.Context(), "org/gguf", Options{}, nil); !errors.Is(err, ErrName) {
		t.Errorf("two GGUF files and none named: %v", err)
	}
	x, err := c.Pull(t.Context(), "org/gguf:q8/x.gguf", Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(x); err != nil || !bytes.Equal(got, files[0].Data) {
		t.Errorf("%s is not the file: %v", x, err)
	}
	if found, err := c.Lookup("org/gguf"); err != nil || found != x {
		t.Errorf("the only file here is not found by the model's name: %q, %v", found, err)
	}
	if _, err := c.Lookup("org/gguf:y.gguf"); !errors.Is(err, ErrNotPulled) {
		t.Errorf("a file that is not here: %v", err)
	}
	if _, err := c.Pull(t.Context(), "org/gguf:y.gguf", Options{}, nil); err != nil {
		t.Fatal(err)
	}
	if n := sound(t, c, "org/gguf", commit, files); n != 2 {
		t.Errorf("%d files came, want 2", n)
	}
	if _, err := c.Lookup("org/gguf"); !errors.Is(err, ErrNotPulled) {
		t.Errorf("which of two files the model's name means is open: %v", err)
	}
}

func TestPullRevisions(t *testing.T) {
	h := hubtest.New(t)
	one := tinyModel()
	first := h.Put("org/tiny", one...)
	c := client(t, h, nil)
	if _, err := c.Pull(t.Context(), "org/tiny", Options{}, nil); err != nil {
		t.Fatal(err)
	}
	two := tinyModel()
	two[0].Data = []byte(`{"model_type":"qwen2"}`)
	second := h.Put("org/tiny", two...)
	h.Change("org/tiny", func(m *hubtest.Model) { m.Revisions["refs/pr/1"] = first })
	h.Requests()
	dir, err := c.Pull(t.Context(), "org/tiny", Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(dir) != second {
		t.Errorf("main is at %s, pulled %s", second, dir)
	}
	if n := sound(t, c, "org/tiny", second, two) + sound(t, c, "org/tiny", first, one); n != 2*tinyFiles {
		t.Errorf("%d files in two commits, want %d", n, 2*tinyFiles)
	}
	for _, s := range h.Requests() {
		if s.CDN {
			t.Errorf("a large file came again although the other commit has it: %+v", s)
		}
	}
	old, err := c.Pull(t.Context(), "org/tiny", Options{Revision: "refs/pr/1"}, nil)
	if err != nil || filepath.Base(old) != first {
		t.Errorf("refs/pr/1 gives %s, %v; want %s", old, err, first)
	}
	if found, err := c.Lookup("org/tiny@refs/pr/1"); err != nil || found != old {
		t.Errorf("Lookup of refs/pr/1 gives %q, %v", found, err)
	}
	models, err := c.List()
	if err != nil || len(models) != 2 {
		t.Fatalf("list: %+v, %v", models, err)
	}
	for _, m := range models {
		want := map[string][]string{first: {"refs/pr/1"}, second: {"main"}}[m.Commit]
		if m.Name != "org/tiny" || !slices.Equal(m.Revisions, want) || len(m.Files) != tinyFiles || m.Bytes < 1_000_000 {
			t.Errorf("listed as %+v", m)
		}
	}
}

func TestPullBareMirror(t *testing.T) {
	h := hubtest.New(t)
	h.Bare = true
	files := tinyModel()
	commit := h.Put("org/tiny", files...)
	c := client(t, h, nil)
	if _, err := c.Pull(t.Context(), "org/tiny", Options{}, nil); err != nil {
		t.Fatal(err)
	}
	if n := sound(t, c, "org/tiny", commit, files); n != tinyFiles {
		t.Errorf("%d files came, want %d", n, tinyFiles)
	}
	h.Inject(func(w http.ResponseWriter, r *http.Request, at hubtest.Seen, truth http.Handler) bool {
		if r.Method != http.MethodHead {
			return false
		}
		w.WriteHeader(http.StatusOK) // a plain file server: no digest at all
		return true
	})
	c = client(t, h, nil)
	if _, err := c.Pull(t.Context(), "org/tiny", Options{}, nil); !errors.Is(err, ErrProtocol) {
		t.Errorf("nothing to check against: %v, want ErrProtocol", err)
	}
}

func TestPullInclude(t *testing.T) {
	h := hubtest.New(t)
	h.Put("org/tiny", tinyModel()...)
	c := client(t, h, nil)
	dir, err := c.Pull(t.Context(), "org/tiny", Options{Include: []string{"*.md", "config.json"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadDir(dir)
	if err != nil || len(got) != 2 || got[0].Name() != "README.md" {
		t.Errorf("came: %v, %v", got, err)
	}
	if _, err := c.Pull(t.Context(), "org/tiny:x.gguf", Options{Include: []string{"*"}}, nil); !errors.Is(err, ErrName) {
		t.Errorf("a file and patterns: %v", err)
	}
	if _, err := c.Pull(t.Context(), "org/tiny@v1", Options{Revision: "v2"}, nil); !errors.Is(err, ErrName) {
		t.Errorf("two revisions: %v", err)
	}
}

func TestPullRefused(t *testing.T) {
	h := hubtest.New(t)
	h.Put("org/open", tinyModel()...)
	h.Put("org/gated", tinyModel()...)
	h.Change("org/gated", func(m *hubtest.Model) { m.Gated = true })
	h.Put("org/private", tinyModel()...)
	h.Change("org/private", func(m *hubtest.Model) { m.Token = "hf_right" })
	for name, tc := range map[string]struct {
		model, token string
		want         error
		says         string
	}{
		"no model, nobody":     {"org/none", "", ErrNotFound, "set HF_TOKEN"},
		"no model, somebody":   {"org/none", "hf_x", ErrNotFound, "check the name"},
		"no revision":          {"org/open@v9", "", ErrNotFound, "no such revision"},
		"no file":              {"org/open:x.gguf", "", ErrNotFound, "has no x.gguf"},
		"gated, nobody":        {"org/gated", "", ErrAccess, "then set HF_TOKEN"},
		"gated, somebody":      {"org/gated", "hf_x", ErrAccess, "account of the token"},
		"private, nobody":      {"org/private", "", ErrNotFound, "set HF_TOKEN"},
		"private, wrong token": {"org/private", "hf_wrong", ErrAccess, "does not take the token"},
		"private, right token": {"org/private", "hf_right", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := client(t, h, func(cfg *Config) { cfg.Token = tc.token })
			_, err := c.Pull(t.Context(), tc.model, Options{}, nil)
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if err != nil {
				oneLine(t, err)
				if !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "hf_wrong") {
					t.Errorf("%q does not say %q", err, tc.says)
				}
				if _, err := c.Lookup(tc.model); !errors.Is(err, ErrNotPulled) {
					t.Errorf("Lookup after a refused pull: %v", err)
				}
			}
		})
	}
}

// TestTokenStays: the token is for the hub alone, whatever addresses it hands out.
func TestTokenStays(t *testing.T) {
	h := hubtest.New(t)
	h.Put("org/new", tinyModel()...)
	h.Rename("org/old", "org/new")
	h.Change("org/new", func(m *hubtest.Model) { m.Token = "hf_secret" })
	c := client(t, h, func(cfg *Config) { cfg.Token = "hf_secret" })
	if _, err := c.Pull(t.Context(), "org/old", Options{}, nil); err != nil {
		t.Fatal(err)
	}
	at := map[bool]int{}
	for _, s := range h.Requests() {
		at[s.CDN]++
		if want := "Bearer hf_secret"; s.CDN && s.Authorization != "" || !s.CDN && s.Authorization != want {
			t.Errorf("%+v: authorization %q", s, s.Authorization)
		}
	}
	if at[true] == 0 || at[false] == 0 {
		t.Errorf("requests by host: %v", at)
	}
}

func TestPullResumes(t *testing.T) {
	h := hubtest.New(t)
	files := []hubtest.File{{Path: "x.gguf", Data: noise(1, 900_000), Large: true}}
	commit := h.Put("org/x", files...)
	c := client(t, h, func(cfg *Config) { cfg.Retries = -1 })
	h.Inject(cutAfter(400_000))
	_, err := c.Pull(t.Context(), "org/x", Options{}, nil)
	if !errors.Is(err, ErrUnavailable) {
		t.Fatalf("cut transfer: %v", err)
	}
	oneLine(t, err)
	if n := sound(t, c, "org/x", commit, files); n != 0 {
		t.Errorf("%d files under final names", n)
	}
	h.Heal()
	h.Requests()
	var first Progress
	if _, err := c.Pull(t.Context(), "org/x", Options{}, func(p Progress) {
		if first.Total == 0 {
			first = p
		}
	}); err != nil {
		t.Fatal(err)
	}
	if first.Got != 400_000 {
		t.Errorf("a resumed pull begins at %+v, want 400000 bytes", first)
	}
	for _, s := range h.Requests() {
		if s.CDN && s.Range != "bytes=400000-" {
			t.Errorf("asked for %q", s.Range)
		}
	}
	sound(t, c, "org/x", commit, files)
}

// TestPullHealsDamage: an interrupted store is repaired by pulling again, at the price of the damaged files alone.
func TestPullHealsDamage(t *testing.T) {
	h := hubtest.New(t)
	files := tinyModel()
	commit := h.Put("org/tiny", files...)
	shard := files[4].Path
	partial := partialName(File{Path: shard, Size: int64(len(files[4].Data)), Digest: files[4].Digest()})
	for name, damage := range map[string]func(t *testing.T, dir string){
		"record gone":    func(t *testing.T, dir string) { must(t, os.Remove(dir+".json")) },
		"record garbage": func(t *testing.T, dir string) { must(t, os.WriteFile(dir+".json", []byte("{"), 0o644)) },
		"record climbs": func(t *testing.T, dir string) {
			must(t, os.WriteFile(dir+".json", []byte(`{"commit":"`+commit+`","files":[{"path":"../x"}]}`), 0o644))
		},
		"file gone":  func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, shard))) },
		"file short": func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, shard), 5)) },
		"changed, record gone": func(t *testing.T, dir string) {
			must(t, os.Remove(dir+".json"))
			b := slices.Clone(files[4].Data)
			b[100] ^= 1
			must(t, os.WriteFile(filepath.Join(dir, shard), b, 0o644))
		},
		"partial too long": func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, shard)))
			must(t, os.WriteFile(filepath.Join(dir, "..", partial), noise(9, 800_000), 0o644))
		},
		"partial wrong": func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, shard)))
			must(t, os.WriteFile(filepath.Join(dir, "..", partial), noise(9, 1000), 0o644))
		},
		"partial complete": func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, shard), filepath.Join(dir, "..", partial)))
		},
		"partial complete but wrong": func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, shard)))
			must(t, os.WriteFile(filepath.Join(dir, "..", partial), noise(9, len(files[4].Data)), 0o644))
		},
		"link out of the store": func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, shard)))
			must(t, os.Symlink(filepath.Join(t.TempDir(), "elsewhere"), filepath.Join(dir, shard)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := client(t, h, nil)
			dir, err := c.Pull(t.Context(), "org/tiny", Options{}, nil)
			must(t, err)
			damage(t, dir)
			_, err = c.Pull(t.Context(), "org/tiny", Options{}, nil)
			must(t, err)
			if n := sound(t, c, "org/tiny", commit, files); n != tinyFiles {
				t.Errorf("%d files, want %d", n, tinyFiles)
			}
			if _, err := c.Lookup("org/tiny"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestStoreStays: links planted in the store do not lead a pull out of it.
func TestStoreStays(t *testing.T) {
	h := hubtest.New(t)
	commit := h.Put("org/tiny", tinyModel()...)
	for _, planted := range []string{commit, partialDir, refsDir} {
		c := client(t, h, nil)
		out := t.TempDir()
		dir := filepath.Join(c.cfg.Dir, modelsDir, "org/tiny")
		must(t, os.MkdirAll(dir, 0o755))
		must(t, os.Symlink(out, filepath.Join(dir, planted)))
		_, err := c.Pull(t.Context(), "org/tiny", Options{}, nil)
		if err == nil {
			t.Errorf("%s leads out of the store, and the pull went on", planted)
		}
		if left, err := os.ReadDir(out); err != nil || len(left) != 0 {
			t.Errorf("%s: %v was written outside, %v", planted, left, err)
		}
	}
}

func TestLookupDamaged(t *testing.T) {
	h := hubtest.New(t)
	h.Put("org/tiny", tinyModel()...)
	c := client(t, h, nil)
	if _, err := c.Lookup("org/tiny"); !errors.Is(err, ErrNotPulled) {
		t.Errorf("empty store: %v", err)
	}
	if models, err := c.List(); err != nil || models != nil {
		t.Errorf("empty store: %v, %v", models, err)
	}
	dir, err := c.Pull(t.Context(), "org/tiny", Options{}, nil)
	must(t, err)
	must(t, os.WriteFile(dir+".json", []byte("garbage"), 0o644))
	if _, err := c.Lookup("org/tiny"); !errors.Is(err, ErrStore) {
		t.Errorf("damaged record: %v", err)
	} else {
		oneLine(t, err)
	}
	if models, err := c.List(); !errors.Is(err, ErrStore) || len(models) != 0 {
		t.Errorf("damaged record: %v, %v", models, err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "..", refPath("main")), []byte("../../x"), 0o644))
	if _, err := c.Lookup("org/tiny"); !errors.Is(err, ErrStore) {
		t.Errorf("damaged ref: %v", err)
	}
}

func TestSweep(t *testing.T) {
	h := hubtest.New(t)
	h.Put("org/tiny", tinyModel()...)
	c := client(t, h, nil)
	dir, err := c.Pull(t.Context(), "org/tiny", Options{}, nil)
	must(t, err)
	old, young := filepath.Join(dir, "..", partialDir, "old.partial"), filepath.Join(dir, "..", partialDir, "young.partial")
	must(t, os.WriteFile(old, nil, 0o644))
	must(t, os.WriteFile(young, nil, 0o644))
	long := time.Now().Add(-staleAfter - time.Hour)
	must(t, os.Chtimes(old, long, long))
	_, err = c.Pull(t.Context(), "org/tiny", Options{}, nil)
	must(t, err)
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old partial file is still there: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
}

func TestPullOfflineAndFull(t *testing.T) {
	h := hubtest.New(t)
	files := tinyModel()
	commit := h.Put("org/tiny", files...)
	c := client(t, h, func(cfg *Config) { cfg.Offline = true })
	if _, err := c.Pull(t.Context(), "org/tiny", Options{}, nil); !errors.Is(err, ErrOffline) {
		t.Errorf("offline: %v", err)
	}
	if seen := h.Requests(); len(seen) != 0 {
		t.Errorf("offline, but asked: %v", seen)
	}
	c = client(t, h, nil)
	c.free = func(string) (uint64, error) { return spareBytes + 500_000, nil }
	_, err := c.Pull(t.Context(), "org/tiny", Options{}, nil)
	if !errors.Is(err, ErrSpace) || !strings.Contains(err.Error(), "NOSA_HOME") {
		t.Errorf("full disk: %v", err)
	}
	for _, s := range h.Requests() {
		if s.CDN {
			t.Errorf("fetched although it can not fit: %+v", s)
		}
	}
	sound(t, c, "org/tiny", commit, files)
	must(t, os.WriteFile(filepath.Join(c.cfg.Dir, "file"), nil, 0o644))
	c.cfg.Dir = filepath.Join(c.cfg.Dir, "file")
	if _, err := c.Pull(t.Context(), "org/tiny", Options{}, nil); err == nil || !strings.Contains(err.Error(), "NOSA_HOME") {
		t.Errorf("no folder can be made: %v", err)
	}
}

func TestPlainTokenWarns(t *testing.T) {
	for endpoint, want := range map[string]bool{"http://mirror": true, "https://mirror": false, "http://127.0.0.1:1": false, "http://localhost": false} {
		var text bytes.Buffer
		c, err := New(Config{Dir: "d", Endpoint: endpoint, Token: "hf_x", Log: slog.New(slog.NewTextHandler(&text, nil))})
		must(t, err)
		(&pull{c: c}).warnPlain(t.Context())
		if got := strings.Contains(text.String(), "unencrypted"); got != want || strings.Contains(text.String(), "hf_x") {
			t.Errorf("%s: logged %q", endpoint, text.String())
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
