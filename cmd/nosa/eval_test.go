package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nosa/eval"
)

// TestEval runs tasks and measures on a tiny model, whose answers are worth nothing, and asks a server of the same model.
func TestEval(t *testing.T) {
	dir := textModel(t)
	book := writeFile(t, strings.Repeat("Call me Ishmael. Some years ago, never mind how long precisely, I went to sea. ", 120))
	out := filepath.Join(t.TempDir(), "out")
	ask := func(args ...string) *eval.Summary {
		t.Helper()
		s := &eval.Summary{}
		parseJSON(t, nosa(t, nil, append([]string{"--json", "-q", "eval", dir, "--lengths", "512", "--samples", "2", "--book", book}, args...)...), s)
		return s
	}
	cells := func(s *eval.Summary, setting string) map[string]eval.Cell {
		t.Helper()
		for _, set := range s.Settings {
			if set.Name == setting {
				m := map[string]eval.Cell{}
				for _, c := range set.Cells {
					m[c.Task] = c
				}
				return m
			}
		}
		t.Fatalf("no %s in %+v", setting, s)
		return nil
	}
	args := []string{"--tasks", "niah,passkey,ppl,fidelity,locality", "--methods", "full,infllmv2", "--topk", "4", "--window", "64", "--out", out}
	first := ask(args...)
	full, sparse := cells(first, "full"), cells(first, "infllmv2")
	for _, m := range []map[string]eval.Cell{full, sparse} {
		for _, name := range []string{"niah", "passkey"} {
			if c := m[name]; c.Samples != 2 || c.KVBytes <= 0 || c.KVShare != 1 || c.PrefillSpeed <= 0 || c.HitRate != 1 {
				t.Errorf("%s: %+v", name, c)
			}
		}
		if c := m["ppl"]; c.Perplexity == nil || c.Perplexity.Tokens != 1022 || c.Perplexity.Perplexity < 1 || c.Perplexity.Word != nil || c.KVShare != 1 {
			t.Errorf("ppl: %+v", c)
		}
	}
	if f := full["fidelity"].Fidelity; f == nil || f.KL != 0 || f.Agree != 1 || f.Tokens != 256 || f.Mass == nil || *f.Mass < 0.999999 {
		t.Errorf("full attention and itself: %+v", f)
	}
	if f := sparse["fidelity"].Fidelity; f == nil || !(f.KL > 0) || f.Tokens != 256 || f.Mass == nil || !(*f.Mass > 0.1 && *f.Mass < 0.999) || len(f.Layers) != 1 {
		t.Errorf("4 of 8 blocks, and full attention: %+v", f)
	}
	l := sparse["locality"].Locality
	if l == nil || len(l.Pools) != 6 || l.Steps != 256 {
		t.Fatalf("locality: %+v", l)
	}
	for i, p := range l.Pools { // 2 samples, 128 steps, 2 heads, 4 blocks
		if p.Selected != 2*128*2*4 || p.Hits <= 0 || i > 1 && p.Hits < l.Pools[i-1].Hits || len(p.Layers) != 1 {
			t.Errorf("pool of %g: %+v", p.Slots, p)
		}
	}
	if _, ok := full["locality"]; ok {
		t.Error("full attention has a locality")
	}
	smaller := cells(ask(append(args, "--policies", "none; streamingllm:recent=128")...), "full+streamingllm:recent=128")
	if c := smaller["niah"]; c.Samples != 2 || !(c.KVShare > 0 && c.KVShare < 0.6) {
		t.Errorf("132 of 512 tokens: %+v", c)
	}
	if f := smaller["fidelity"].Fidelity; f == nil || !(f.KL > 0) || f.Mass != nil {
		t.Errorf("132 of 384 tokens, and full attention: %+v", f)
	}
	for _, name := range []string{"ppl", "locality"} {
		if c, ok := smaller[name]; ok {
			t.Errorf("%s of a policy: %+v", name, c)
		}
	}
	samples := filepath.Join(out, eval.ResultsFile)
	before, err := os.ReadFile(samples)
	if err != nil {
		t.Fatal(err)
	}
	ask(args...)
	if after, err := os.ReadFile(samples); err != nil || string(after) != string(before) {
		t.Errorf("a second run asked again: %v", err)
	}
	r := nosa(t, nil, "eval", dir, "--lengths", "512", "--samples", "2", "--tasks", "passkey", "--out", filepath.Join(t.TempDir(), "new"), "--parallel", "2")
	if r.code != exitDone || !strings.Contains(r.out, "| passkey | 512 |") || !strings.Contains(r.errors, "summary.json") {
		t.Errorf("%+v", r)
	}

	s := serve(t, "--context", "2048")
	for _, chat := range []string{"--chat=false", "--chat"} {
		got := &eval.Summary{}
		parseJSON(t, nosa(t, nil, "--json", "-q", "eval", "--url", s.url, "--lengths", "512", "--samples", "2", "--tasks", "passkey", "--out", filepath.Join(t.TempDir(), "new"), chat), got)
		if c := cells(got, "server")["passkey"]; c.Samples != 2 || c.PrefillSpeed <= 0 {
			t.Errorf("%s: a server: %+v", chat, c)
		}
	}
}

func TestEvalUsage(t *testing.T) {
	dir := textModel(t)
	for name, tc := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"no tasks":        {nil, exitUsage, []string{"--tasks"}},
		"no such task":    {[]string{"--tasks", "dance"}, exitUsage, []string{`"dance"`, "niah"}},
		"no such method":  {[]string{"--tasks", "niah", "--methods", "full,fast"}, exitFailed, []string{"fast"}},
		"lengths":         {[]string{"--tasks", "niah", "--lengths", "4096,many"}, exitUsage, []string{"--lengths", "32K"}},
		"too short":       {[]string{"--tasks", "niah", "--lengths", "20"}, exitUsage, []string{"niah", "20"}},
		"no samples":      {[]string{"--tasks", "niah", "--samples", "0"}, exitUsage, []string{"--samples"}},
		"a book":          {[]string{"--tasks", "ppl"}, exitUsage, []string{"--book"}},
		"no such book":    {[]string{"--tasks", "ppl", "--book", "none"}, exitFailed, []string{"--book none"}},
		"methods, server": {[]string{"--tasks", "niah", "--url", "http://127.0.0.1:1", "--methods", "full"}, exitUsage, []string{"--methods"}},
		"policy, server":  {[]string{"--tasks", "niah", "--url", "http://127.0.0.1:1", "--policy", "snapkv"}, exitUsage, []string{"--policy"}},
		"no such policy":  {[]string{"--tasks", "niah", "--policies", "none;squeeze"}, exitUsage, []string{"squeeze", "snapkv"}},
		"no server":       {[]string{"--tasks", "niah", "--url", "http://127.0.0.1:1"}, exitFailed, []string{"127.0.0.1:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			nosa(t, nil, append([]string{"eval", dir, "-q", "--out", t.TempDir()}, tc.args...)...).refused(t, tc.code, tc.says...)
		})
	}
}
