package hubtest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var python = flag.String("python", "", "Python with huggingface_hub: check the test hub with the hub's own client")

// TestReferenceClient: the hub's own client takes the test hub for a hub, and downloads what it has.
func TestReferenceClient(t *testing.T) {
	if *python == "" {
		t.Skip("give -python to run the hub's own client")
	}
	h := New(t)
	files := []File{
		{Path: "config.json", Data: []byte(`{"model_type":"llama"}`)},
		{Path: "empty.txt"},
		{Path: "sub/model.safetensors", Data: bytes.Repeat([]byte("weights"), 100_000), Large: true},
	}
	commit := h.Put("org/tiny", files...)
	h.Rename("org/old", "org/tiny")
	h.Change("org/tiny", func(m *Model) { m.Revisions["refs/pr/1"] = commit })
	h.Put("org/gated", files...)
	h.Change("org/gated", func(m *Model) { m.Gated = true })
	for _, model := range []string{"org/tiny", "org/old"} {
		dir := filepath.Join(t.TempDir(), "got")
		cmd := exec.CommandContext(t.Context(), *python, "../../scripts/oracles/hub_client.py", model, "refs/pr/1", dir)
		cmd.Env = append(os.Environ(), "HF_ENDPOINT="+h.URL, "HF_HOME="+t.TempDir(), "HF_HUB_DISABLE_PROGRESS_BARS=1", "HF_HUB_DISABLE_TELEMETRY=1")
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if line := fmt.Sprintf("file %s %d ", f.Path, len(f.Data)); !strings.Contains(string(out), line) {
				t.Errorf("the client does not list %q", line)
			}
			if f.Large && !strings.Contains(string(out), f.Digest()) {
				t.Errorf("the client does not know %s by its SHA-256", f.Path)
			}
			got, err := os.ReadFile(filepath.Join(dir, f.Path))
			if err != nil || !bytes.Equal(got, f.Data) {
				t.Errorf("%s: %d bytes, %v", f.Path, len(got), err)
			}
		}
		if n := strings.Count(string(out), "refused "); n != 4 || !strings.Contains(string(out), "commit "+commit) || strings.Contains(string(out), "odd") {
			t.Errorf("%d refusals understood, want 4", n)
		}
	}
}
