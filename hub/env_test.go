package hub

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFromEnv(t *testing.T) {
	home := t.TempDir()
	put := func(path, text string) string {
		t.Helper()
		path = filepath.Join(home, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	put(".cache/huggingface/token", "hf_home\n")
	put("xdg/huggingface/token", "hf_xdg")
	put("hf/token", "  hf_hfhome  \n")
	path := put("elsewhere", "hf_path")
	for name, tc := range map[string]struct {
		env  map[string]string
		want Config
	}{
		"plain":          {map[string]string{}, Config{Dir: filepath.Join(home, ".cache/nosa"), Token: "hf_home"}},
		"variable first": {map[string]string{"HF_TOKEN": " hf_var\n", "HF_TOKEN_PATH": path}, Config{Dir: filepath.Join(home, ".cache/nosa"), Token: "hf_var"}},
		"old variable":   {map[string]string{"HUGGING_FACE_HUB_TOKEN": "hf_old"}, Config{Dir: filepath.Join(home, ".cache/nosa"), Token: "hf_old"}},
		"path":           {map[string]string{"HF_TOKEN_PATH": path, "HF_HOME": filepath.Join(home, "hf")}, Config{Dir: filepath.Join(home, ".cache/nosa"), Token: "hf_path"}},
		"hf home":        {map[string]string{"HF_HOME": filepath.Join(home, "hf")}, Config{Dir: filepath.Join(home, ".cache/nosa"), Token: "hf_hfhome"}},
		"xdg":            {map[string]string{"XDG_CACHE_HOME": filepath.Join(home, "xdg")}, Config{Dir: filepath.Join(home, "xdg/nosa"), Token: "hf_xdg"}},
		"relative xdg":   {map[string]string{"XDG_CACHE_HOME": "xdg"}, Config{Dir: filepath.Join(home, ".cache/nosa"), Token: "hf_home"}},
		"own home":       {map[string]string{"NOSA_HOME": "/data/nosa"}, Config{Dir: "/data/nosa", Token: "hf_home"}},
		"mirror":         {map[string]string{"HF_ENDPOINT": "http://mirror:8080/hf/"}, Config{Endpoint: "http://mirror:8080/hf/", Dir: filepath.Join(home, ".cache/nosa"), Token: "hf_home"}},
		"offline":        {map[string]string{"HF_HUB_OFFLINE": "1"}, Config{Dir: filepath.Join(home, ".cache/nosa"), Token: "hf_home", Offline: true}},
		"no token file":  {map[string]string{"HF_TOKEN_PATH": filepath.Join(home, "none")}, Config{Dir: filepath.Join(home, ".cache/nosa")}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := FromEnv(func(k string) string {
				if v, ok := tc.env[k]; ok {
					return v
				}
				return map[string]string{"HOME": home}[k]
			})
			if err != nil || got != tc.want {
				t.Errorf("got %+v, %v; want %+v", got, err, tc.want)
			}
		})
	}
}

func TestFromEnvRefuses(t *testing.T) {
	dir := t.TempDir()
	long := filepath.Join(dir, "long")
	if err := os.WriteFile(long, []byte(strings.Repeat("x", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, env := range map[string]map[string]string{
		"no home at all":      {},
		"token with newline":  {"HOME": dir, "HF_TOKEN": "hf_a\nHost: evil"},
		"token in any script": {"HOME": dir, "HF_TOKEN": "hf_é"},
		"endless token file":  {"HOME": dir, "HF_TOKEN_PATH": long},
		"token is a folder":   {"HOME": dir, "HF_TOKEN_PATH": dir},
	} {
		cfg, err := FromEnv(func(k string) string { return env[k] })
		if err == nil {
			t.Errorf("%s: got %+v, want an error", name, cfg)
			continue
		}
		oneLine(t, err)
		if tok := env["HF_TOKEN"]; tok != "" && strings.Contains(err.Error(), tok[:4]) {
			t.Errorf("%s: the error shows the token: %v", name, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no folder":   {},
		"no scheme":   {Dir: "d", Endpoint: "huggingface.co"},
		"file":        {Dir: "d", Endpoint: "file:///etc"},
		"no host":     {Dir: "d", Endpoint: "https://"},
		"password":    {Dir: "d", Endpoint: "https://me:secret@mirror"},
		"query":       {Dir: "d", Endpoint: "https://mirror?x=1"},
		"control":     {Dir: "d", Endpoint: "https://mir\x00ror"},
		"token":       {Dir: "d", Token: "a b"},
		"not a mirro": {Dir: "d", Endpoint: "://"},
	} {
		if _, err := New(cfg); !errors.Is(err, ErrName) {
			t.Errorf("%s: got %v, want ErrName", name, err)
		} else {
			oneLine(t, err)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: the error shows the password: %v", name, err)
			}
		}
	}
}

func TestLookupByEnvironment(t *testing.T) {
	t.Setenv("NOSA_HOME", t.TempDir())
	if _, err := Lookup("a/b"); !errors.Is(err, ErrNotPulled) {
		t.Errorf("empty store: %v", err)
	}
	t.Setenv("NOSA_HOME", "")
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	if _, err := Lookup("a/b"); !errors.Is(err, ErrName) {
		t.Errorf("no store: %v", err)
	}
}
