package tokenizer

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// pushAll joins what a stream gives, and checks that every piece is whole characters.
func pushAll(t *testing.T, s *Stream, ids []int32) string {
	t.Helper()
	var b strings.Builder
	for _, id := range ids {
		piece := s.Push(id)
		if !utf8.ValidString(piece) {
			t.Fatalf("id %d of %v gives half a character: %q", id, ids, piece)
		}
		b.WriteString(piece)
	}
	b.WriteString(s.Flush())
	return b.String()
}

func streamKinds(t testing.TB) map[string]*Tokenizer {
	toks := map[string]*Tokenizer{}
	for _, kind := range kinds {
		toks[kind] = load(t, kind)
	}
	for name, decoder := range map[string]string{
		"no decoder": `null`,
		"metaspace":  `{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":true}`,
		"trim": `{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},
			{"type":"Fuse"},{"type":"Strip","content":" ","start":2,"stop":3}]}`,
		"each": `{"type":"Sequence","decoders":[{"type":"Strip","content":"▁","start":1,"stop":1},{"type":"ByteFallback"}]}`,
	} {
		tok, err := Parse(patched(t, tokenizerFile(t, "sp"), rawJSON(`{"decoder":`+decoder+`}`), nil), nil)
		if err != nil {
			t.Fatal(name, err)
		}
		toks[name] = tok
	}
	return toks
}

// The pieces of a stream, joined, are what Decode makes of all ids, for any ids, those that are no tokens among them.
func FuzzStream(f *testing.F) {
	f.Add([]byte{0, 0, 1, 2, 3, 4, 200, 1, 10, 0}, true)
	f.Add([]byte("some ids of two bytes each"), false)
	toks := streamKinds(f)
	f.Fuzz(func(t *testing.T, data []byte, skip bool) {
		for kind, tok := range toks {
			ids := make([]int32, 0, len(data)/2)
			for i := 0; i+1 < len(data); i += 2 {
				ids = append(ids, (int32(data[i])|int32(data[i+1])<<8)%int32(tok.Size()+2)-1)
			}
			s := tok.NewStream(skip)
			want := tok.Decode(ids, skip)
			if got := pushAll(t, s, ids); got != want {
				t.Fatalf("%s: %v: stream %q, decode %q", kind, ids, got, want)
			}
			if got := pushAll(t, s, ids); got != want {
				t.Fatalf("%s: %v: the stream's second text %q, decode %q", kind, ids, got, want)
			}
		}
	})
}

// The decoder that trims both ends does what the reference's does to the joined text.
func TestTrim(t *testing.T) {
	toks := streamKinds(t)
	r := rand.New(rand.NewPCG(9, 0))
	tok, plain := toks["trim"], toks["sp"]
	space, _ := tok.ID(metaspace)
	a, _ := tok.ID("a")
	for range 500 {
		ids := make([]int32, r.IntN(14))
		for i := range ids {
			ids[i] = space
			if r.IntN(4) == 0 {
				ids[i] = a
			}
		}
		joined := string(plain.DecodeBytes(nil, append([]int32{a, space}, ids...), false))[2:]
		want := trimEnds(joined, " ", 2, 0)
		if strings.Trim(want, " ") == "" {
			want = ""
			if n := len(joined) - 5; n > 0 {
				want = strings.Repeat(" ", n)
			}
		} else {
			want = trimEnds(want, " ", 0, 3)
		}
		if got := tok.Decode(ids, false); got != want {
			t.Fatalf("%q: got %q, want %q", joined, got, want)
		}
	}
}

func TestStreamHoldsBack(t *testing.T) {
	tok := load(t, "gpt2")
	ids := tok.Encode(nil, "🙂", EncodeOptions{})
	if len(ids) < 2 {
		t.Fatal("the character is one token: choose another")
	}
	s := tok.NewStream(false)
	for i, id := range ids {
		want := ""
		if i == len(ids)-1 {
			want = "🙂"
		}
		if got := s.Push(id); got != want {
			t.Errorf("after id %d: got %q, want %q", i, got, want)
		}
	}
	s.Push(ids[0])
	if got := s.Flush(); got != "\ufffd" {
		t.Errorf("half a character at the end: got %q", got)
	}
	if got := s.Flush(); got != "" {
		t.Errorf("a second flush: got %q", got)
	}
}

// A row of byte tokens that is no character as a whole: what is whole is kept, each other byte is U+FFFD, and nothing
// waits for the end of the row.
func TestByteTokens(t *testing.T) {
	tok := load(t, "sp")
	row := func(s string) (ids []int32) {
		for _, b := range []byte(s) {
			ids = append(ids, tok.model.bytes[b])
		}
		return ids
	}
	s := tok.NewStream(false)
	got := ""
	for _, id := range row("🙂") {
		got += s.Push(id)
	}
	if got != "🙂" {
		t.Errorf("the row's character came as %q before the row ended", got)
	}
	if more := pushAll(t, s, row("\xf0\x9f")); more != "\ufffd\ufffd" {
		t.Errorf("the broken end of the row: %q", more)
	}
	if got := tok.Decode(row("\xe4\xbd"), false); got != "\ufffd\ufffd" {
		t.Errorf("a row without a character: %q", got)
	}
	if got := tok.DecodeBytes(nil, row("\xe4\xbda\xff"), false); string(got) != "\xe4\xbda\xff" {
		t.Errorf("exact bytes: %q", got)
	}
}

// The space at the seam of a prompt and its continuation stays, and so does a character that the prompt began.
func TestPrime(t *testing.T) {
	tok := load(t, "sp")
	prompt := tok.Encode(nil, "the whale", EncodeOptions{AddSpecial: true})
	more := tok.Encode(nil, "and the sea", EncodeOptions{})
	s := tok.NewStream(true)
	if got := pushAll(t, s, more); got != "and the sea" {
		t.Errorf("alone: %q", got)
	}
	s = tok.NewStream(true)
	s.Prime(prompt)
	if got := pushAll(t, s, more); got != " and the sea" {
		t.Errorf("after a prompt: %q", got)
	}
	b := load(t, "gpt2")
	ids := b.Encode(nil, "x🙂y", EncodeOptions{})
	s = b.NewStream(true)
	s.Prime(ids[:2])
	if got := pushAll(t, s, ids[2:]); got != "🙂y" {
		t.Errorf("after half a character: %q", got)
	}
}
