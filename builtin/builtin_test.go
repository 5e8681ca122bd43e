package builtin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"nosa/weights"
)

// most is how large the file may be: twenty megabytes.
const most = 20_000_000

// aboutFile is what scripts/train/builtin writes beside the model.
const aboutFile = "model/builtin.json"

// about has what of builtin.json can be held against the file.
type about struct {
	SHA256     string
	Bytes      int
	Parameters int64
	Config     struct{ Path, SHA256 string }
	Commit     string
	Sets       map[string][]string
}

// TestBuiltin: what is embedded is the model that builtin.json tells of, and is what it is meant to be.
func TestBuiltin(t *testing.T) {
	text, err := fs.ReadFile(files, aboutFile)
	ck, opening := Open()
	if errors.Is(err, fs.ErrNotExist) && errors.Is(opening, ErrNone) {
		t.Skip("this tree has no model inside: scripts/train/builtin puts it there")
	}
	if err = errors.Join(err, opening); err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	var a about
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatal(err)
	}
	data, err := fs.ReadFile(files, modelFile)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != a.SHA256 || len(data) != a.Bytes || len(data) > most {
		t.Errorf("%d bytes with SHA-256 %s: builtin.json says %d and %s, and %d are the limit", len(data), got, a.Bytes, a.SHA256, most)
	}
	if d := ck.Describe(); d.Path != Name || d.Format != weights.FormatGGUF || d.Parameters != a.Parameters || d.Types[0].Type != "Q8_0" {
		t.Errorf("%s in %s with %d parameters, most of them %s; builtin.json says %d", d.Path, d.Format, d.Parameters, d.Types[0].Type, a.Parameters)
	}
	if a.Config.Path == "" || len(a.Config.SHA256) != 64 || len(a.Commit) < 7 || len(a.Sets["train"]) == 0 {
		t.Errorf("builtin.json does not say what the model was made from: %+v", a)
	}
	var c struct {
		Layers  int `json:"num_hidden_layers"`
		Context int `json:"max_position_embeddings"`
		Sparse  *struct {
			TopK  int `json:"topk"`
			Block int `json:"block_size"`
		} `json:"sparse_config"`
	}
	if err := json.Unmarshal(ck.Config(), &c); err != nil {
		t.Fatal(err)
	}
	if c.Sparse == nil || !ck.Has("model.layers.0.self_attn.delta.weight") || !ck.Has("model.layers.0.self_attn.A") {
		t.Errorf("is no nosa: %s", ck.Config())
	} else if c.Context < 16384 || c.Sparse.TopK*c.Sparse.Block > c.Context/8 {
		t.Errorf("selects %d blocks of %d tokens in a context of %d: want 16384 or more, of which it reads an eighth at most", c.Sparse.TopK, c.Sparse.Block, c.Context)
	}
	licences, err := fs.ReadFile(files, "model/README.md")
	if err != nil || !strings.Contains(string(licences), "public domain") {
		t.Errorf("the texts' licences: %v, %q", err, licences)
	}
}

// TestBuiltinRefuses: a binary without the model, and one whose file is damaged, say so.
func TestBuiltinRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		files fs.FS
		err   error
		says  string
	}{
		"absent":   {fstest.MapFS{"model/README.md": {}}, ErrNone, "nosa pull"},
		"empty":    {fstest.MapFS{modelFile: {}}, weights.ErrTruncated, "builtin: magic"},
		"other":    {fstest.MapFS{modelFile: {Data: []byte("version https")}}, weights.ErrNoModel, `builtin: begins with "vers"`},
		"cut":      {fstest.MapFS{modelFile: {Data: []byte("GGUF\x03\x00\x00\x00")}}, weights.ErrTruncated, "number of tensors"},
		"a folder": {fstest.MapFS{modelFile + "/x": {}}, fs.ErrInvalid, "builtin:"},
	} {
		t.Run(name, func(t *testing.T) {
			ck, err := open(tc.files)
			if ck != nil || !errors.Is(err, tc.err) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, want %v with %q", err, tc.err, tc.says)
			}
		})
	}
}
