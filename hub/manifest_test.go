package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

var (
	someCommit = strings.Repeat("c0", 20)
	someSHA1   = strings.Repeat("1a", 20)
	someSHA256 = strings.Repeat("2b", 32)
)

func manifestJSON(siblings ...string) string {
	return `{"id":"a/b","sha":"` + someCommit + `","siblings":[` + strings.Join(siblings, ",") + `],"tags":["x"]}`
}

func TestManifest(t *testing.T) {
	b := manifestJSON(
		`{"rfilename":"config.json","size":12,"blobId":"`+someSHA1+`"}`,
		`{"rfilename":"model.safetensors","size":34,"blobId":"`+someSHA1+`","lfs":{"sha256":"`+someSHA256+`","size":34,"pointerSize":134}}`,
		`{"rfilename":"späße/日本.txt"}`,
		`{"lfs":null,"size":null,"blobId":null,"rfilename":"bare","unknown":{"deep":[1,2,{"x":null}]}}`,
		`{"rfilename":"large","lfs":{"size":1e3,"sha256":"`+someSHA256+`"}}`,
	)
	want := &Manifest{Commit: someCommit, Files: []File{
		{"config.json", 12, someSHA1}, {"model.safetensors", 34, someSHA256}, {"späße/日本.txt", -1, ""}, {"bare", -1, ""}, {"large", 1000, someSHA256},
	}}
	got, err := parseManifest([]byte(b))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestManifestRefuses(t *testing.T) {
	for name, b := range map[string]string{
		"empty":             "",
		"no object":         "[]",
		"null":              "null",
		"garbage":           "<html>busy</html>",
		"cut":               manifestJSON(`{"rfilename":"a"}`)[:60],
		"two values":        manifestJSON() + "{}",
		"no commit":         `{"siblings":[]}`,
		"commit of letters": `{"sha":"main"}`,
		"commit climbs":     `{"sha":"../../../../../../../../etc/cron.d"}`,
		"duplicate sha":     `{"sha":"` + someCommit + `","sha":"` + someSHA1 + `"}`,
		"bad UTF-8":         "{\"sha\":\"" + someCommit + "\",\"x\":\"\xff\"}",
		"siblings object":   `{"sha":"` + someCommit + `","siblings":{}}`,
		"sibling string":    manifestJSON(`"config.json"`),
		"name number":       manifestJSON(`{"rfilename":1}`),
		"no name":           manifestJSON(`{"size":1}`),
		"parent":            manifestJSON(`{"rfilename":"../../.bashrc"}`),
		"parent inside":     manifestJSON(`{"rfilename":"a/../../b"}`),
		"absolute":          manifestJSON(`{"rfilename":"/etc/passwd"}`),
		"backslash":         manifestJSON(`{"rfilename":"..\\..\\x"}`),
		"nul":               manifestJSON(`{"rfilename":"a\u0000b"}`),
		"escape sequence":   manifestJSON(`{"rfilename":"a\u001b[2J"}`),
		"dot":               manifestJSON(`{"rfilename":"."}`),
		"twice":             manifestJSON(`{"rfilename":"a"}`, `{"rfilename":"a"}`),
		"negative":          manifestJSON(`{"rfilename":"a","size":-1}`),
		"fraction":          manifestJSON(`{"rfilename":"a","size":1.5}`),
		"huge":              manifestJSON(`{"rfilename":"a","size":1e300}`),
		"beyond float":      manifestJSON(`{"rfilename":"a","size":1e999}`),
		"size string":       manifestJSON(`{"rfilename":"a","size":"1"}`),
		"sizes differ":      manifestJSON(`{"rfilename":"a","size":1,"lfs":{"size":2,"sha256":"` + someSHA256 + `"}}`),
		"short digest":      manifestJSON(`{"rfilename":"a","lfs":{"size":2,"sha256":"abc"}}`),
		"upper digest":      manifestJSON(`{"rfilename":"a","lfs":{"size":2,"sha256":"` + strings.ToUpper(someSHA256) + `"}}`),
		"digest path":       manifestJSON(`{"rfilename":"a","blobId":"../x"}`),
		"deep":              `{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `,"sha":"` + someCommit + `"}`,
		"too many files":    manifestJSON(manyFiles(maxFiles + 1)...),
		"too large":         strings.Repeat(" ", maxManifest+1),
	} {
		m, err := parseManifest([]byte(b))
		if !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: got %+v, %v; want ErrProtocol", name, m, err)
			continue
		}
		oneLine(t, err)
	}
	if m, err := parseManifest([]byte(manifestJSON(manyFiles(maxFiles)...))); err != nil || len(m.Files) != maxFiles {
		t.Errorf("%d files: %v", maxFiles, err)
	}
}

func manyFiles(n int) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprintf(`{"rfilename":"f%d"}`, i)
	}
	return s
}

// allocated is what f allocates, freed or not.
func allocated(f func()) uint64 {
	var a, b runtime.MemStats
	runtime.ReadMemStats(&a)
	f()
	runtime.ReadMemStats(&b)
	return b.TotalAlloc - a.TotalAlloc
}

const allocBound = 64 << 20

// TestManifestMemory: a list of nothing, a list of lists and one long string take memory in proportion.
func TestManifestMemory(t *testing.T) {
	for name, b := range map[string]string{
		"empty objects": manifestJSON(strings.Split(strings.Repeat("{},", 3<<20)[:9<<20-1], ",")...),
		"long string":   `{"x":"` + strings.Repeat("y", 10<<20) + `","sha":"` + someCommit + `"}`,
		"long name":     manifestJSON(`{"rfilename":"` + strings.Repeat("y", 10<<20) + `"}`),
		"escapes":       manifestJSON(`{"rfilename":"` + strings.Repeat(`\u0041`, 2<<20) + `"}`),
	} {
		if got := allocated(func() { _, _ = parseManifest([]byte(b)) }); got > 4*uint64(len(b))+allocBound {
			t.Errorf("%s: %d MiB allocated for %d MiB", name, got>>20, len(b)>>20)
		}
	}
}

// FuzzManifest: whatever is accepted stays inside the store, says the same when written and read again, and costs no
// more than four times its size and a constant.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(manifestJSON(`{"rfilename":"config.json","size":12,"blobId":"` + someSHA1 + `"}`)))
	f.Add([]byte(manifestJSON(`{"rfilename":"a/b.gguf","lfs":{"sha256":"` + someSHA256 + `","size":5,"pointerSize":1}}`)))
	f.Add([]byte(manifestJSON(`{"rfilename":"../x"}`, `{}`)))
	f.Add([]byte(`{"sha":null,"siblings":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m *Manifest
		var err error
		if got := allocated(func() { m, err = parseManifest(b) }); got > 4*uint64(len(b))+allocBound {
			t.Fatalf("%d bytes allocated for %d", got, len(b))
		}
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatalf("%v is no ErrProtocol", err)
			}
			oneLine(t, err)
			return
		}
		again, err := parseManifest(m.encode(t))
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v\nread again: %+v, %v", m, again, err)
		}
		files, err := m.choose(Ref{Owner: "a", Name: "b", Revision: "main"}, nil, func(File) ([]string, error) { return nil, nil })
		if err != nil {
			oneLine(t, err)
		}
		for _, x := range files {
			if !validFile(x.Path) || runsCode(x.Path) || x.Size > maxSize {
				t.Fatalf("chose %+v", x)
			}
		}
	})
}

func (m *Manifest) encode(t testing.TB) []byte {
	siblings := []map[string]any{}
	for _, f := range m.Files {
		s := map[string]any{"rfilename": f.Path}
		switch {
		case len(f.Digest) == 64:
			s["lfs"] = map[string]any{"sha256": f.Digest}
		case f.Digest != "":
			s["blobId"] = f.Digest
		}
		if f.Size >= 0 {
			s["size"] = f.Size
		}
		siblings = append(siblings, s)
	}
	b, err := json.Marshal(map[string]any{"sha": m.Commit, "siblings": siblings})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
