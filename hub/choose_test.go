package hub

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	shards := []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
	for name, tc := range map[string]struct {
		has     []string
		file    string
		include []string
		want    []string
		err     error
	}{
		"single": {has: []string{"config.json", "model.safetensors", "README.md", "pytorch_model.bin", "modeling.py", "tokenizer.json", "other.safetensors"},
			want: []string{"config.json", "tokenizer.json", "model.safetensors"}},
		"sharded, only what the index names": {has: append([]string{"config.json", indexFile, "consolidated.safetensors", "model.safetensors"}, shards...),
			want: append([]string{"config.json", indexFile}, shards...)},
		"index names more than there is": {has: []string{"config.json", indexFile, shards[0]}, err: ErrProtocol},
		"own names for weights":          {has: []string{"config.json", "b.safetensors", "a.safetensors", "sub/c.safetensors"}, want: []string{"config.json", "a.safetensors", "b.safetensors"}},
		"all that is read": {has: []string{"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"},
			want: append(slices.Clone(always), "model.safetensors")},
		"pickle alone":        {has: []string{"config.json", "pytorch_model.bin"}, err: ErrNotFound},
		"nothing":             {err: ErrNotFound},
		"one GGUF":            {has: []string{"x.gguf", "README.md"}, want: []string{"x.gguf"}},
		"one GGUF and config": {has: []string{"x.gguf", "config.json"}, want: []string{"x.gguf"}},
		"several GGUF":        {has: []string{"x.gguf", "y.gguf"}, err: ErrName},
		"named GGUF":          {has: []string{"x.gguf", "d/y.gguf"}, file: "d/y.gguf", want: []string{"d/y.gguf"}},
		"no such GGUF":        {has: []string{"x.gguf"}, file: "z.gguf", err: ErrNotFound},
		"pattern":             {has: []string{"a.json", "b.json", "c.txt"}, include: []string{"*.json", "a*"}, want: []string{"a.json", "b.json"}},
		"pattern for code":    {has: []string{"m.bin", "m.py"}, include: []string{"m.*"}, err: ErrNotFound},
		"pattern for nothing": {has: []string{"a"}, include: []string{"b"}, err: ErrNotFound},
		"broken pattern":      {has: []string{"a"}, include: []string{"["}, err: ErrName},
		"names alike":         {has: []string{"A.json", "a.json"}, include: []string{"*.json"}, err: ErrName},
		"name in any script":  {has: []string{"ä.json"}, include: []string{"*.json"}, err: ErrName},
	} {
		t.Run(name, func(t *testing.T) {
			m := &Manifest{Commit: someCommit}
			for _, n := range tc.has {
				m.Files = append(m.Files, File{Path: n})
			}
			files, err := m.choose(Ref{Owner: "a", Name: "b", File: tc.file}, tc.include, func(File) ([]string, error) { return shards, nil })
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			if err != nil {
				oneLine(t, err)
			}
			var got []string
			for _, f := range files {
				got = append(got, f.Path)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestChooseHint(t *testing.T) {
	m := &Manifest{Files: []File{{Path: "x-q4.gguf"}, {Path: "x-q8.gguf"}}}
	_, err := m.choose(Ref{Owner: "a", Name: "b", Revision: "v1"}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "a/b@v1:x-q4.gguf") {
		t.Errorf("the error names no file to ask for: %v", err)
	}
}

func TestIndex(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"two":            {`{"metadata":{"total_size":3},"weight_map":{"a":"y.safetensors","b":"x.safetensors","c":"y.safetensors"}}`, []string{"x.safetensors", "y.safetensors"}},
		"empty":          {`{}`, nil},
		"empty map":      {`{"weight_map":{}}`, nil},
		"list":           {`{"weight_map":["x.safetensors"]}`, nil},
		"climbs":         {`{"weight_map":{"a":"../x.safetensors"}}`, nil},
		"absolute":       {`{"weight_map":{"a":"/x.safetensors"}}`, nil},
		"pickle":         {`{"weight_map":{"a":"x.bin"}}`, nil},
		"number":         {`{"weight_map":{"a":1}}`, nil},
		"null":           {`{"weight_map":{"a":null}}`, nil},
		"same key twice": {`{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}`, nil},
		"cut":            {`{"weight_map":{"a":"x.safe`, nil},
		"too large":      {strings.Repeat(" ", maxIndex+1), nil},
	} {
		got, err := parseIndex([]byte(tc.text))
		if !slices.Equal(got, tc.want) || (err == nil) != (tc.want != nil) || err != nil && !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: got %v, %v; want %v", name, got, err, tc.want)
		}
	}
}

// FuzzIndex: every name that is accepted can be a file of the store, each comes once, and memory stays in proportion.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"weight_map":{"a":"y.safetensors","b":"x.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"a":"../x.safetensors"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var files []string
		var err error
		if got := allocated(func() { files, err = parseIndex(b) }); got > 4*uint64(len(b))+allocBound {
			t.Fatalf("%d bytes allocated for %d", got, len(b))
		}
		if err != nil {
			oneLine(t, err)
		}
		for i, n := range files {
			if !validFile(n) || !strings.HasSuffix(n, ".safetensors") || i > 0 && files[i-1] >= n {
				t.Fatalf("accepted %q", files)
			}
		}
	})
}
