package weights

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"nosa/dtype"
)

func TestSafetensors(t *testing.T) {
	file := safetensorsFile(stHeader, make([]byte, 24))
	entries, err := parseSafetensors(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 3 || entries[0].Name != "b" || entries[1].Type != dtype.F32 || len(entries[0].Data) != 8 ||
		!slices.Equal(entries[0].Shape, []int{2, 2}) || entries[2].Type != dtype.Invalid || entries[2].stored != "F8_E4M3" {
		t.Errorf("%+v", entries)
	}
	for n := range file {
		if _, err := parseSafetensors(file[:n]); !errors.Is(err, ErrTruncated) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(file), err)
		}
	}
}

func TestSafetensorsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		header string
		data   int
		says   string
	}{
		"not JSON":      {"hello", 0, "does not begin with {"},
		"space first":   {" {}", 0, "does not begin with {"},
		"empty header":  {"", 0, "does not begin with {"},
		"two objects":   {"{}{}", 0, "something follows"},
		"duplicate":     {`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2, "duplicate"},
		"duplicate key": {`{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}`, 1, "duplicate"},
		"no object":     {`{"a":7}`, 0, "want an object"},
		"no dtype":      {`{"a":{"shape":[1],"data_offsets":[0,1]}}`, 1, "missing"},
		"dtype number":  {`{"a":{"dtype":3,"shape":[1],"data_offsets":[0,1]}}`, 1, "want a string"},
		"one offset":    {`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1]}}`, 1, "begin and an end"},
		"offsets back":  {`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}`, 1, "begin and an end"},
		"fraction":      {`{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}`, 1, "want an integer"},
		"negative":      {`{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, 1, "want an integer"},
		"text shape":    {`{"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}}`, 1, "want an integer"},
		"huge number":   {`{"a":{"dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,1]}}`, 1, "want an integer"},
		"many dims":     {`{"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}}`, 1, "more than 8"},
		"overflow":      {`{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0, "elements"},
		"wide overflow": {`{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}}`, 0, "takes"},
		"wrong size":    {`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 4, "takes 2 × 4"},
		"overlap":       {`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}`, 6, "inside the tensor before"},
		"gap":           {`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[1],"data_offsets":[5,6]}}`, 6, "1 unused bytes"},
		"behind end":    {`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 3, "which has 3"},
		"rest":          {`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 5, "1 bytes behind"},
		"invalid UTF-8": {"{\"\xff\":{}}", 0, "UTF-8"},
		"deep":          {`{"__metadata__":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}", 0, "depth"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseSafetensors(safetensorsFile(tc.header, make([]byte, tc.data)))
			if !errors.Is(err, ErrFormat) || !strings.Contains(fmt.Sprint(err), tc.says) {
				t.Errorf("got %v, want an ErrFormat that says %q", err, tc.says)
			}
		})
	}
	if _, err := parseSafetensors(append(le.AppendUint64(nil, maxHeader+1), '{')); !errors.Is(err, ErrFormat) {
		t.Errorf("header over the limit: %v", err)
	}
}

func one(name string) []byte {
	return safetensorsFile(fmt.Sprintf(`{%q:{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, name), []byte{42})
}

func TestFolder(t *testing.T) {
	dir := folder(t, map[string]any{
		"config.json": `{"model_type":"llama","hidden_size":4}`, "model.safetensors": safetensorsFile(stHeader, make([]byte, 24)),
		"tokenizer.json": "{}",
	})
	c := mustOpen(t, dir)
	if got := c.Names(); !slices.Equal(got, []string{"a", "b", "odd"}) {
		t.Errorf("names %q", got)
	}
	if _, err := c.Tensor("odd"); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "F8_E4M3") {
		t.Errorf("a number format that is not read: %v", err)
	}
	if d := c.Describe(); d.Architecture != "llama" || d.Parameters != 11 || d.Types[0].Type != "F32" {
		t.Errorf("%+v", d)
	}
	if b, err := c.File("tokenizer.json"); err != nil || string(b) != "{}" {
		t.Errorf("tokenizer.json: %q, %v", b, err)
	}
	for name, want := range map[string]error{
		"none.json": os.ErrNotExist, "../x": os.ErrInvalid, "": os.ErrInvalid, "a/b": os.ErrInvalid, "..": os.ErrInvalid,
	} {
		if _, err := c.File(name); !errors.Is(err, want) {
			t.Errorf("File(%q): %v, want %v", name, err, want)
		}
	}
	if c.Metadata() != nil || c.Interleaved() {
		t.Error("a folder with GGUF's properties")
	}
}

func TestFolderShards(t *testing.T) {
	index := map[string]any{"metadata": map[string]any{"total_size": 2}, "weight_map": map[string]string{
		"x": "m-1.safetensors", "y": "m-2.safetensors"}}
	files := map[string]any{
		"config.json": "{}", "model.safetensors.index.json": index, "m-1.safetensors": one("x"), "m-2.safetensors": one("y"),
		"other.safetensors": one("z"),
	}
	c := mustOpen(t, folder(t, files))
	if got := c.Names(); !slices.Equal(got, []string{"x", "y"}) || c.Bytes() != 2 {
		t.Errorf("names %q, %d bytes", got, c.Bytes())
	}
	// A whole model wins over an index beside it, as in transformers.
	files["model.safetensors"] = one("whole")
	if got := mustOpen(t, folder(t, files)).Names(); !slices.Equal(got, []string{"whole"}) {
		t.Errorf("names %q", got)
	}
}

func TestFolderRefused(t *testing.T) {
	index := func(m map[string]string) any { return map[string]any{"weight_map": m} }
	for name, tc := range map[string]struct {
		files map[string]any
		err   error
		says  string
	}{
		"empty":         {nil, ErrNoModel, "config.json"},
		"no weights":    {map[string]any{"config.json": "{}"}, ErrNoModel, "no *.safetensors"},
		"two of them":   {map[string]any{"config.json": "{}", "a.safetensors": one("a"), "b.safetensors": one("b")}, ErrNoModel, "2 files"},
		"empty weights": {map[string]any{"config.json": "{}", "model.safetensors": ""}, ErrTruncated, "is empty"},
		"config":        {map[string]any{"config.json": "[]", "model.safetensors": one("a")}, ErrFormat, "config.json"},
		"config twice":  {map[string]any{"config.json": `{"a":1,"a":2}`, "model.safetensors": one("a")}, ErrFormat, "duplicate"},
		"large config":  {map[string]any{"config.json": make([]byte, maxConfig+1)}, ErrTooLarge, "config.json has"},
		"index outside": {map[string]any{"config.json": "{}", indexFile: index(map[string]string{"a": "../a.safetensors"})}, ErrFormat, "plain name"},
		"index /":       {map[string]any{"config.json": "{}", indexFile: index(map[string]string{"a": "/etc/a.safetensors"})}, ErrFormat, "plain name"},
		"index ending":  {map[string]any{"config.json": "{}", indexFile: index(map[string]string{"a": "a.bin"})}, ErrFormat, "plain name"},
		"index gone":    {map[string]any{"config.json": "{}", indexFile: index(map[string]string{"a": "a.safetensors"})}, os.ErrNotExist, "a.safetensors"},
		"index lies":    {map[string]any{"config.json": "{}", indexFile: index(map[string]string{"a": "a.safetensors"}), "a.safetensors": one("b")}, ErrFormat, `no tensor "a"`},
		"index empty":   {map[string]any{"config.json": "{}", indexFile: "{}"}, ErrFormat, "weight_map"},
		"index twice":   {map[string]any{"config.json": "{}", indexFile: `{"weight_map":{"a":"a.safetensors","a":"b.safetensors"}}`}, ErrFormat, "duplicate"},
		"index number":  {map[string]any{"config.json": "{}", indexFile: `{"weight_map":{"a":1}}`}, ErrFormat, "want a string"},
		"index cut":     {map[string]any{"config.json": "{}", indexFile: `{"weight_map":{"a":`}, ErrFormat, "ends early"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(folder(t, tc.files))
			if !errors.Is(err, tc.err) || !strings.Contains(fmt.Sprint(err), tc.says) {
				t.Errorf("got %v, want %v that says %q", err, tc.err, tc.says)
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}

// Links may stay inside the folder only, circles and special files end in an error, not in waiting.
func TestFolderLinks(t *testing.T) {
	dir := folder(t, map[string]any{"config.json": "{}", "real": one("a")})
	outside := folder(t, map[string]any{"w.safetensors": one("a")})
	at := filepath.Join(dir, "model.safetensors")
	try := func(target string) error {
		t.Helper()
		if err := os.Symlink(target, at); err != nil {
			t.Fatal(err)
		}
		c, err := Open(dir)
		if err == nil {
			err = c.Close()
		}
		if e := os.Remove(at); e != nil {
			t.Fatal(e)
		}
		return err
	}
	if err := try("real"); err != nil {
		t.Errorf("link within the folder: %v", err)
	}
	if err := try(filepath.Join(outside, "w.safetensors")); err == nil || !strings.Contains(err.Error(), "leads out of the folder") {
		t.Errorf("link out of the folder: %v", err)
	}
	if err := try("model.safetensors"); err == nil {
		t.Error("link to itself was opened")
	}
	if err := syscall.Mkfifo(at, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); !errors.Is(err, ErrNoModel) || !strings.Contains(err.Error(), "named pipe") {
		t.Errorf("named pipe: %v", err)
	}
	if _, err := Open(at); !errors.Is(err, ErrNoModel) {
		t.Errorf("named pipe as a GGUF: %v", err)
	}
}

// A file that is cut while it is mapped is noticed, and reading the lost pages is an error under Guard.
func TestTruncatedWhileOpen(t *testing.T) {
	const size = 1 << 20
	header := fmt.Sprintf(`{"a":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}`, size, size)
	dir := folder(t, map[string]any{"config.json": "{}", "model.safetensors": safetensorsFile(header, make([]byte, size))})
	c := mustOpen(t, dir)
	a, err := c.Tensor("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "model.safetensors"), 100); err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); !errors.Is(err, ErrChanged) {
		t.Errorf("Check: %v", err)
	}
	err = Guard(func() error {
		if a.Data[size-1] != 0 {
			t.Error("read something")
		}
		return nil
	})
	if !errors.Is(err, ErrChanged) {
		t.Errorf("Guard: %v", err)
	}
	defer func() {
		if recover() != "other" {
			t.Error("another panic did not pass")
		}
	}()
	_ = Guard(func() error { panic("other") })
}
