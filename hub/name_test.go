package hub

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseRef(t *testing.T) {
	commit := strings.Repeat("0a", 20)
	for name, want := range map[string]Ref{
		"HuggingFaceTB/SmolLM2-135M":         {"HuggingFaceTB", "SmolLM2-135M", "main", ""},
		"a/b@v1.0":                           {"a", "b", "v1.0", ""},
		"a/b@refs/pr/7":                      {"a", "b", "refs/pr/7", ""},
		"a/b@" + commit:                      {"a", "b", commit, ""},
		"a/b:model-q8_0.gguf":                {"a", "b", "main", "model-q8_0.gguf"},
		"a/b:Q8_0/model-00001-of-00002.gguf": {"a", "b", "main", "Q8_0/model-00001-of-00002.gguf"},
		"a/b@dev:x.gguf":                     {"a", "b", "dev", "x.gguf"},
		"_a/b_":                              {"_a", "b_", "main", ""},
		strings.Repeat("o", 96) + "/" + "Qwen2.5-7B": {strings.Repeat("o", 96), "Qwen2.5-7B", "main", ""},
	} {
		got, err := ParseRef(name)
		if err != nil || got != want {
			t.Errorf("ParseRef(%q) = %+v, %v; want %+v", name, got, err, want)
		}
	}
}

func TestParseRefRefuses(t *testing.T) {
	for why, name := range map[string]string{
		"empty": "", "no owner": "gpt2", "two slashes": "a/b/c", "empty owner": "/b", "empty model": "a/",
		"parent": "../b", "parent model": "a/..", "dots inside": "a/b..c", "dashes": "a/b--c", "git": "a/b.git",
		"leading dot": "a/.b", "trailing dash": "a/b-", "space": "a/b c", "newline": "a/b\n", "unicode": "a/bé",
		"backslash": `a\b/c`, "long": strings.Repeat("o", 97) + "/b", "percent": "a/b%2e",
		"empty revision": "a/b@", "revision climbs": "a/b@../../x", "revision absolute": "a/b@/etc", "revision dots": "a/b@x/../y",
		"revision ends in slash": "a/b@x/", "long revision": "a/b@" + strings.Repeat("r", 201), "many slashes": "a/b@" + strings.Repeat("r/", 90) + "r",
		"revision question": "a/b@x?y", "empty file": "a/b:", "file climbs": "a/b:../x.gguf", "file absolute": "a/b:/x.gguf",
		"file hidden": "a/b:.x.gguf", "file hidden below": "a/b:d/.x.gguf", "other ending": "a/b:x.safetensors", "two files": "a/b:x.gguf:y.gguf",
		"file nul": "a/b:x\x00.gguf", "long file": "a/b:" + strings.Repeat("f", 260) + ".gguf", "just colon": ":", "just at": "@",
	} {
		r, err := ParseRef(name)
		if !errors.Is(err, ErrName) {
			t.Errorf("%s: ParseRef(%q) = %+v, %v; want ErrName", why, name, r, err)
			continue
		}
		oneLine(t, err)
	}
}

// FuzzParseRef: what is accepted prints as a name that means the same, and all its parts stay inside the store.
func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"a/b", "a/b@v1:x.gguf", "a/b@refs/pr/1", "../..", "a/b:../x.gguf", "a/b@x%2Fy"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRef(s)
		if err != nil {
			oneLine(t, err)
			return
		}
		again, err := ParseRef(r.String())
		if err != nil || again != r {
			t.Fatalf("%q is %+v, but %q is %+v, %v", s, r, r, again, err)
		}
		for _, part := range []string{r.Owner, r.Name, refPath(r.Revision), r.File} {
			if part != "" && !harmlessPath(part) || strings.Contains(part, "..") && part != r.File {
				t.Fatalf("%q gives the path %q", s, part)
			}
		}
	})
}

// oneLine checks that an error is fit to be shown: a line of printable text, neither empty nor endless.
func oneLine(t testing.TB, err error) {
	t.Helper()
	s := err.Error()
	if s == "" || len(s) > 4000 || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		t.Errorf("error is not one clear line: %q", s)
	}
}
