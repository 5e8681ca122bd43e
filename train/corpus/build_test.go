package corpus

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
)

// expect is what documents of these texts are.
func expect(v *Vocabulary, list []string) [][]int32 {
	var docs [][]int32
	for _, s := range list {
		if s == "" {
			continue
		}
		var ids []int32
		if v.Begin >= 0 {
			ids = append(ids, v.Begin)
		}
		ids = v.text(ids, s)
		if v.End >= 0 {
			ids = append(ids, v.End)
		}
		docs = append(docs, ids)
	}
	return docs
}

func same(a, b [][]int32) bool { return slices.EqualFunc(a, b, slices.Equal[[]int32]) }

func TestFormats(t *testing.T) {
	v := vocabulary(t, "smollm2")
	list := []string{"Call me Ishmael.", prose(1, 3000), "鲸 \U0001F433\n", "", "<|endoftext|> is text here", prose(2, 500)}
	var lines bytes.Buffer
	for i, s := range list {
		fmt.Fprintf(&lines, `{"id": %d, "other": {"text": "no"}, "body": %s, "n": null}`+"\n", i, must(json.Marshal(s)))
		if i == 1 {
			lines.WriteString("  \n")
		}
	}
	lines.WriteString(`{"body": null}`) // no newline at the end
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "plain.jsonl"), lines.String())
	var packed bytes.Buffer
	g := gzip.NewWriter(&packed)
	must(g.Write(lines.Bytes()))
	g.Close()
	writeFile(t, filepath.Join(dir, "packed.jsonl.gz"), packed.String())
	z := must(zstd.NewWriter(nil))
	writeFile(t, filepath.Join(dir, "packed.jsonl.zst"), string(z.EncodeAll(lines.Bytes(), nil)))
	type inner struct {
		Body *string `parquet:"body,zstd,optional"`
	}
	type row struct {
		ID   int64  `parquet:"id"`
		Body string `parquet:"body,zstd,dict"`
		Sub  inner  `parquet:"sub"`
	}
	var rows []row
	for i, s := range list {
		r := row{int64(i), s, inner{&s}}
		if s == "" {
			r.Sub.Body = nil
		}
		rows = append(rows, r)
	}
	f := must(os.Create(filepath.Join(dir, "rows.parquet")))
	w := parquet.NewGenericWriter[row](f, parquet.MaxRowsPerRowGroup(4), parquet.PageBufferSize(512))
	must(w.Write(rows))
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	want := expect(v, list)
	for _, tc := range []struct{ file, field string }{
		{"plain.jsonl", "body"}, {"packed.jsonl.gz", "body"}, {"packed.jsonl.zst", "body"},
		{"rows.parquet", "body"}, {"rows.parquet", "sub.body"},
	} {
		t.Run(tc.file+" "+tc.field, func(t *testing.T) {
			s := built(t, Options{Vocabulary: v, Path: filepath.Join(dir, tc.file), Field: tc.field})
			if got := documents(t, s); !same(got, want) {
				t.Errorf("got %d documents, want %d, or other ids", len(got), len(want))
			}
			if f := s.Facts(); f.Empty < 1 || f.Bytes != int64(len(strings.Join(list, ""))) || f.Documents != uint64(len(want)) {
				t.Errorf("%+v", f)
			}
		})
	}
	t.Run("text", func(t *testing.T) {
		full := slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == "" })
		dir := texts(t, full...)
		writeFile(t, filepath.Join(dir, "sub", "a.txt"), "\ufeffdeeper")
		for _, name := range []string{"notes.md", ".hidden.txt", ".venv/a.txt"} {
			writeFile(t, filepath.Join(dir, name), "not taken")
		}
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(dir, link); err != nil {
			t.Fatal(err)
		}
		s := built(t, Options{Vocabulary: v, Path: link})
		if got := documents(t, s); !same(got, expect(v, append(full, "deeper"))) {
			t.Errorf("got %d documents", len(got))
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestPieces: a long text is cut, and has the ids of the whole.
func TestPieces(t *testing.T) {
	text := prose(3, 2*pieceBytes+12345)
	for _, name := range []string{"gpt2", "llama3", "qwen2", "smollm2"} {
		t.Run(name, func(t *testing.T) {
			v := vocabulary(t, name)
			if !v.cuts {
				t.Fatal("is not cut")
			}
			s := built(t, Options{Vocabulary: v, Path: texts(t, text)})
			if got := documents(t, s); !same(got, expect(v, []string{text})) {
				t.Error("other ids than in one piece")
			}
			// Every place where the rule allows a cut, not only those that were taken.
			part := text[:1<<12]
			whole := v.text(nil, part)
			for i := range part {
				if cuts := i >= 2 && cuttable(part, i); cuts && !slices.Equal(v.text(v.text(nil, part[:i]), part[i:]), whole) {
					t.Fatalf("%q | %q", part[max(0, i-20):i], part[i:i+20])
				}
			}
		})
	}
}

func TestDeterministic(t *testing.T) {
	var list []string
	for i := range 40 {
		list = append(list, prose(uint64(i), 20000*(i%7+1)))
	}
	dir := texts(t, list...)
	var want []byte
	for _, threads := range []int{1, 2, 7} {
		s := built(t, Options{Path: dir, Threads: threads, ShardTokens: 50000})
		if f := s.Facts(); f.Shards < 4 {
			t.Fatalf("%d shards", f.Shards)
		}
		if err := s.Verify(t.Context()); err != nil {
			t.Error(err)
		}
		if got := folderBytes(t, s.Dir()); want == nil {
			want = got
		} else if !bytes.Equal(got, want) {
			t.Errorf("%d threads: other bytes", threads)
		}
	}
}

// TestInterrupted: a build that was cancelled at any moment goes on, and gives the bytes of one that was not.
func TestInterrupted(t *testing.T) {
	var lines strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&lines, `{"text": %s}`+"\n", must(json.Marshal(prose(uint64(i), 900))))
	}
	input := t.TempDir()
	writeFile(t, filepath.Join(input, "a.jsonl"), lines.String())
	writeFile(t, filepath.Join(input, "b.jsonl"), lines.String()[:strings.Index(lines.String(), "\n")])
	o := Options{Vocabulary: vocabulary(t, "gpt2"), Path: input, Threads: 2, ShardTokens: 100000}
	want := built(t, o)
	dir := filepath.Join(t.TempDir(), "set")
	stops := 0
	for at := int64(1); ; at++ {
		ctx, cancel := context.WithCancel(t.Context())
		var calls atomic.Int64
		o.Progress = func(done, total int64) {
			if done > total || done < 0 {
				t.Errorf("%d of %d bytes", done, total)
			}
			if calls.Add(1) == 2+at {
				cancel()
			}
		}
		s, err := Build(ctx, dir, o)
		cancel()
		if err == nil {
			if !bytes.Equal(folderBytes(t, dir), folderBytes(t, want.Dir())) || s.Digest() != want.Digest() {
				t.Error("other bytes than of a build in one go")
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			break
		}
		if !errors.Is(err, context.Canceled) || IsSet(dir) {
			t.Fatal(err)
		}
		if stops++; stops == 2 { // a damaged shard is made again
			writeFile(t, filepath.Join(filepath.Dir(dir), ".set.building", "shard-00000.tok"), "nothing")
		}
	}
	if stops < 2 {
		t.Errorf("stopped %d times", stops)
	}
	if left := must(os.ReadDir(filepath.Dir(dir))); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestPrepare(t *testing.T) {
	input, folder := texts(t, "one", "two"), t.TempDir()
	reads := 0
	o := Options{Vocabulary: vocabulary(t, "gpt2"), Path: input, Progress: func(int64, int64) { reads++ }}
	prepare := func(o Options) [32]byte {
		t.Helper()
		s, err := Prepare(t.Context(), folder, o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return s.Digest()
	}
	first := prepare(o)
	if n := reads; n == 0 {
		t.Error("nothing was read")
	} else if again := prepare(o); again != first || reads != n {
		t.Error("was built twice")
	}
	writeFile(t, filepath.Join(input, "000.txt"), "one more")
	if prepare(o) == first {
		t.Error("did not see the change")
	}
	other := o
	other.Vocabulary = vocabulary(t, "llama3")
	prepare(other)
	sets := must(os.ReadDir(folder))
	if len(sets) != 3 {
		t.Errorf("%d sets", len(sets))
	}
	// A set is opened where it lies, with its own vocabulary only.
	o.Path = filepath.Join(folder, sets[0].Name())
	other.Path = o.Path
	_, errA := Prepare(t.Context(), folder, o)
	_, errB := Prepare(t.Context(), folder, other)
	if (errA == nil) == (errB == nil) || !errors.Is(errors.Join(errA, errB), ErrVocabulary) {
		t.Error(errA, errB)
	}
	if _, err := Build(t.Context(), o.Path, Options{Vocabulary: o.Vocabulary, Path: input}); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
}

func TestBusy(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "set")
	o := Options{Vocabulary: vocabulary(t, "gpt2"), Path: texts(t, "one")}
	var second error
	o.Progress = func(int64, int64) {
		_, second = Build(context.Background(), dir, Options{Vocabulary: o.Vocabulary, Path: o.Path})
	}
	s, err := Build(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if !errors.Is(second, ErrBusy) {
		t.Error(second)
	}
}

func TestRefuses(t *testing.T) {
	var packed bytes.Buffer
	g := gzip.NewWriter(&packed)
	must(g.Write([]byte(prose(1, 1000))))
	g.Close()
	z := must(zstd.NewWriter(nil)).EncodeAll([]byte(prose(1, 1000)), nil)
	huge := `{"text": "` + strings.Repeat("x", maxDocument) + `"}`
	for name, tc := range map[string]struct{ file, text, want string }{
		"empty":              {"a.txt", "", "a.txt: is empty"},
		"blank":              {"a.txt", " \n\n", "a.txt: holds no text"},
		"only a mark":        {"a.txt", "\ufeff", "a.txt: holds no text"},
		"binary":             {"a.txt", "one\ntwo\nELF\x00\x01", "a.txt: line 3, byte 4: byte 0x00"},
		"not UTF-8":          {"a.txt", "eins\nzw\xf6lf", "a.txt: line 2, byte 3: byte 0xf6 is not UTF-8"},
		"cut character":      {"a.txt", "a\nb鲸"[:5], "a.txt: line 2, byte 2: byte 0xe9"},
		"bad far behind":     {"a.txt", strings.Repeat("word\n", pieceBytes/4) + "\xff", fmt.Sprintf("line %d, byte 1", pieceBytes/4+1)},
		"a line too long":    {"a.txt", "one\n" + strings.Repeat("x", maxDocument+pieceBytes), "a.txt: line 2: "},
		"no JSON":            {"a.jsonl", `{"text": "a"}` + "\n{text}\n", "a.jsonl: line 2: "},
		"no object":          {"a.jsonl", `["text"]`, "a.jsonl: line 1: is not a JSON object"},
		"no field":           {"a.jsonl", `{"texts": "a"}`, `a.jsonl: line 1: has no field "text"`},
		"no string":          {"a.jsonl", "\n\n" + `{"text": 1}`, `a.jsonl: line 3: field "text" is not a string`},
		"two of a name":      {"a.jsonl", `{"text": "a", "text": "b"}`, "a.jsonl: line 1: "},
		"more on a line":     {"a.jsonl", `{"text": "a"} {}`, "a.jsonl: line 1: something follows"},
		"bytes in JSON":      {"a.jsonl", "{\"text\": \"\xff\"}", "a.jsonl: line 1: "},
		"zero in JSON":       {"a.jsonl", `{"text": "a\u0000"}`, "a.jsonl: line 1: "},
		"JSON cut short":     {"a.jsonl", `{"text": "a"`, "a.jsonl: line 1: "},
		"JSON line too long": {"a.jsonl", `{"text": "a"}` + "\n" + huge, "a.jsonl: line 2 is longer than"},
		"no documents":       {"a.jsonl", "\n \n", "a.jsonl: holds no document"},
		"all empty":          {"a.jsonl", `{"text": ""}`, "no document has a text"},
		"no Parquet":         {"a.parquet", "PAR1 nothing of that PAR1", "a.parquet: "},
		"no gzip":            {"a.txt.gz", "plain", "a.txt.gz: "},
		"gzip cut short":     {"a.txt.gz", packed.String()[:packed.Len()-20], "a.txt.gz: "},
		"zstd cut short":     {"a.txt.zst", string(z[:len(z)-20]), "a.txt.zst: "},
		"no zstd":            {"a.jsonl.zst", "plain", "a.jsonl.zst: "},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, "in", tc.file), tc.text)
			_, err := Build(t.Context(), filepath.Join(dir, "set"), Options{Vocabulary: vocabulary(t, "gpt2"), Path: filepath.Join(dir, "in")})
			if !errors.Is(err, ErrText) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if IsSet(filepath.Join(dir, "set")) {
				t.Error("there is a set")
			}
		})
	}
	dir := texts(t, "text")
	v := vocabulary(t, "gpt2")
	for name, tc := range map[string]struct {
		o    Options
		want string
	}{
		"a field of a text": {Options{Path: dir, Field: "text"}, `no field "text"`},
		"unknown format":    {Options{Path: dir, Format: "csv"}, "want text, jsonl or parquet"},
		"nothing there":     {Options{Path: dir, Format: JSONL}, "no file ends with .jsonl"},
		"no such path":      {Options{Path: dir + "/x"}, "no such file"},
		"name unknown":      {Options{Path: writeFile(t, t.TempDir()+"/a.csv", "a")}, "name the format"},
	} {
		tc.o.Vocabulary = v
		if _, err := Build(t.Context(), filepath.Join(t.TempDir(), "set"), tc.o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	writeFile(t, filepath.Join(dir, "b.jsonl"), `{"text": "b"}`)
	if _, err := DetectFormat(dir); err == nil || !strings.Contains(err.Error(), "name the format") {
		t.Error(err)
	}
}

// TestParquetDamaged: a file with bytes changed, left out or put in is read or refused, and no panic of the library gets out.
func TestParquetDamaged(t *testing.T) {
	type row struct {
		Text string `parquet:"text,zstd"`
	}
	var b bytes.Buffer
	if err := parquet.Write(&b, []row{{"one"}, {""}, {"three"}}); err != nil {
		t.Fatal(err)
	}
	v, dir := vocabulary(t, "gpt2"), t.TempDir()
	r := random(1)
	refused := 0
	for range 800 {
		data := bytes.Clone(b.Bytes())
		for range 1 + r.below(4) {
			at := r.below(len(data))
			switch r.below(3) {
			case 0:
				data[at] = byte(r.next())
			case 1:
				data = slices.Delete(data, at, min(at+1+r.below(4), len(data)))
			case 2:
				data = slices.Insert(data, at, byte(r.next()))
			}
		}
		path := writeFile(t, filepath.Join(dir, "a.parquet"), string(data))
		in, err := openReader(input{path: path, size: int64(len(data))}, Options{Vocabulary: v, Format: Parquet, Field: "text"}, func(int64) {})
		for rows := 0; err == nil && rows < 1000; rows++ {
			_, err = in.next()
		}
		if in != nil {
			in.Close()
		}
		if errors.Is(err, io.EOF) {
			continue
		}
		if refused++; !errors.Is(err, ErrText) {
			t.Errorf("%v", err)
		}
	}
	if refused < 400 {
		t.Errorf("%d of 800 were refused", refused)
	}
}
