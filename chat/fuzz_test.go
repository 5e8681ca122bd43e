package chat

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// fuzzLimits are small, so that a run is short. They bound what may be
// allocated in all, alive or not, and with it what the tests below allow.
var fuzzLimits = Limits{Steps: 100_000, Depth: 500, Output: 1 << 20, Memory: 8 << 20}

// allowed is how many bytes may be allocated for an input of n bytes.
func allowed(n int) uint64 { return uint64(4*n) + 64<<20 }

// allocated runs f and gives the bytes that were allocated, freed or not.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// known tells whether err is of a kind that the package documents.
func known(err error) bool {
	for _, kind := range []error{ErrSyntax, ErrRefused, ErrLimit, ErrRaised, ErrUndefined, ErrValue, ErrInput} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return err == nil
}

func addSeeds(f *testing.F) {
	paths, err := filepath.Glob("testdata/templates/*.jinja")
	if err != nil || len(paths) == 0 {
		f.Fatalf("found no templates: %v", err)
	}
	for _, p := range paths {
		f.Add(readText(f, p))
	}
	var file struct{ Cases []struct{ Source string } }
	readGolden(f, "testdata/snippets.json", &file)
	for i, c := range file.Cases {
		if strings.Contains(c.Source, "{%") && i < 1000 || i%20 == 0 {
			f.Add(c.Source)
		}
	}
	for _, source := range bombs {
		if len(source) < 1000 {
			f.Add(source)
		}
	}
}

// FuzzParse: a template is read or refused with a documented error, within the
// memory allowed, and what is read once is read again.
func FuzzParse(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, source string) {
		var err error
		if used := allocated(func() { _, err = Parse(source) }); used > allowed(len(source)) {
			t.Errorf("%d bytes were allocated for a template of %d", used, len(source))
		}
		if !known(err) {
			t.Errorf("gave an error of no documented kind: %v", err)
		}
		if _, again := Parse(source); (err == nil) != (again == nil) {
			t.Errorf("the first time gave %v, the second %v", err, again)
		}
	})
}

// FuzzRender: a rendering ends within its limits and the memory allowed, gives
// the same text or error each time, and changes none of its arguments.
func FuzzRender(f *testing.F) {
	addSeeds(f)
	in := fuzzInput(f)
	before, err := json.Marshal(in.Extra)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, source string) {
		tmpl, err := Parse(source)
		if err != nil {
			return
		}
		var text string
		if used := allocated(func() { text, err = tmpl.Render(context.Background(), in) }); used > allowed(len(source)) {
			t.Errorf("%d bytes were allocated for a template of %d", used, len(source))
		}
		if !known(err) {
			t.Errorf("gave an error of no documented kind: %v", err)
		}
		if len(text) > fuzzLimits.Output {
			t.Errorf("gave %d bytes, the limit is %d", len(text), fuzzLimits.Output)
		}
		again, err2 := tmpl.Render(context.Background(), in)
		if again != text || (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Errorf("the first time gave %q, %v, the second %q, %v", text, err, again, err2)
		}
		if after, err := json.Marshal(in.Extra); err != nil || string(after) != string(before) {
			t.Errorf("the arguments became %s, %v", after, err)
		}
	})
}

// fuzzInput is a conversation with some of everything.
func fuzzInput(f *testing.F) Input {
	var cs map[string]json.RawMessage
	readGolden(f, "testdata/conversations.json", &cs)
	in := goldenInput(f, cs["tools called"])
	in.Extra = &Object{}
	var file struct{ Arguments json.RawMessage }
	readGolden(f, "testdata/snippets.json", &file)
	in.Extra = goldenInput(f, file.Arguments).Extra
	in.Limits = fuzzLimits
	in.Now = func() time.Time { return goldenNow() }
	return in
}

// FuzzJSON: what is read is written again as JSON of the same meaning.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,"x",null,true,{}]}`, `[]`, `"\ud83d\ude00"`, `{"a":1,"a":2}`, `1e999`, `[[[[`, `{"role":"user","content":[{"type":"text"}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := DecodeJSON(data)
		if err != nil {
			return
		}
		b, err := marshal(v)
		if err != nil {
			t.Fatalf("%q was read and cannot be written: %v", data, err)
		}
		again, err := DecodeJSON(b)
		if err != nil {
			t.Fatalf("%q became %q: %v", data, b, err)
		}
		if c, err := marshal(again); err != nil || string(c) != string(b) {
			t.Errorf("%q became %q, then %q, %v", data, b, c, err)
		}
		_ = new(Message).UnmarshalJSON(data)
	})
}
