package tokenizer

import (
	"slices"
	"strings"
	"sync"
	"testing"
)

// oddTexts are seeds for everything that takes text.
var oddTexts = []string{
	"", " ", "Hello, world", "it's 12345 ½ x", "日本語 한국어", "👩‍👩‍👧 🇩🇪", "e\u0301 \u0301", "\xff\xfe", "a\xc3", "\xe4\xbd\xa0\xe4\xbd", "\xed\xa0\x80",
	"\xf0\x9f\x98", "\x00\x01\n\r\n\t  x  ", "<s>a</s><|endoftext|><|im_start|>", "▁a ▁▁b", "<0x41>", "\ufffd", "  a  ", "ſ'ſ",
	strings.Repeat("x", 200), strings.Repeat(" ", 70), "word\u00a0word\u3000",
}

// lossy is text as the reference would see it: as Python's and Rust's lossy decoding make it of bytes.
func lossy(s string) string {
	st := &Stream{t: &Tokenizer{decoder: &decoder{byteLevel: true}}, pending: []byte(s)}
	return string(st.characters(nil, true))
}

func TestLossy(t *testing.T) {
	// The third column of Unicode's table of best practice, as Python's decode("utf-8", "replace") gives it.
	for in, want := range map[string]string{
		"a\xf1\x80\x80\xe1\x80\xc2b\x80c\x80\xbfd": "a\ufffd\ufffd\ufffdb\ufffdc\ufffd\ufffdd",
		"\xe4\xbd":         "\ufffd",
		"\xf0\x9f\x98x":    "\ufffdx",
		"\xed\xa0\x80":     "\ufffd\ufffd\ufffd",
		"\xc0\xaf":         "\ufffd\ufffd",
		"\xf4\x90\x80\x80": "\ufffd\ufffd\ufffd\ufffd",
		"\ufffd":           "\ufffd",
	} {
		if got := lossy(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// Byte-level vocabularies give back every byte string, valid or not; Decode gives what the lossy decoding of it is.
// Vocabularies by characters give back valid text, and their byte tokens stray bytes.
func FuzzEncodeDecode(f *testing.F) {
	for _, s := range oddTexts {
		f.Add(s)
	}
	toks := map[string]*Tokenizer{}
	for _, kind := range kinds {
		toks[kind] = load(f, kind)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for kind, tok := range toks {
			for _, opts := range []EncodeOptions{{}, {ParseSpecial: true}, {AddSpecial: true}} {
				ids := tok.Encode(nil, s, opts)
				for _, id := range ids {
					if _, ok := tok.Token(id); !ok {
						t.Fatalf("%s: id %d of %q is no token", kind, id, s)
					}
				}
				if opts.AddSpecial {
					n := len(tok.template.prefix)
					if !slices.Equal(ids[:n], tok.template.prefix) {
						t.Fatalf("%s: %q starts with %v, want %v", kind, s, ids[:min(n, len(ids))], tok.template.prefix)
					}
					ids = ids[n:]
				}
				if !opts.ParseSpecial {
					if i := slices.IndexFunc(ids, func(id int32) bool { return tok.IsSpecial(id) && id != tok.model.unk }); i >= 0 {
						t.Fatalf("%s: %q has special token %d", kind, s, ids[i])
					}
				}
				want := s
				switch kind {
				case "qwen2":
					if n := form(0).normalize(s, nil); n != s {
						continue // what is composed stays composed
					}
				case "sp":
					// ▁ is written as a space, and one space goes from the start.
					if opts.ParseSpecial && strings.ContainsAny(s, "<") {
						continue // a space is put before the text after each special token
					}
					want = strings.ReplaceAll(s, metaspace, " ")
				case "sp-any":
					want = strings.ReplaceAll(s, metaspace, " ")
				}
				if got := string(tok.DecodeBytes(nil, ids, false)); kind != "sp-any" && got != want {
					t.Fatalf("%s: %q became %v and %q", kind, s, ids, got)
				}
				if got := tok.Decode(ids, false); kind[:2] != "sp" && got != lossy(want) {
					t.Fatalf("%s: %q became %v and %q, want %q", kind, s, ids, got, lossy(want))
				}
			}
		}
	})
}

// TryEncode says when a pattern was stopped, and the ids are still the text's.
func TestPatternTooLong(t *testing.T) {
	data := patched(t, tokenizerFile(t, "gpt2"), rawJSON(`{"pre_tokenizer":{"type":"Sequence","pretokenizers":[
		{"type":"Split","pattern":{"Regex":"(x+x+)+y"},"behavior":"Isolated","invert":false},
		{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]}}`), nil)
	tok, err := Parse(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range tok.words.steps {
		if _, ok := s.(cutter); !ok {
			continue
		}
		text := strings.Repeat("x", 64)
		ids, err := tok.TryEncode(nil, text, EncodeOptions{})
		wantError(t, err, ErrPattern)
		if strings.Contains(err.Error(), text) {
			t.Errorf("the message repeats the text: %v", err)
		}
		if got := tok.Decode(ids, false); got != text {
			t.Errorf("got %q", got)
		}
	}
	if _, err := tok.TryEncode(nil, "xxy and more", EncodeOptions{}); err != nil {
		t.Errorf("after an error: %v", err)
	}
}

func TestConcurrent(t *testing.T) {
	tok := load(t, "qwen2")
	text := strings.Repeat(strings.Join(oddTexts, " "), 20)
	want := tok.Encode(nil, text, EncodeOptions{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if got := tok.Encode(nil, text, EncodeOptions{}); !slices.Equal(got, want) {
					t.Error("ids differ between goroutines")
				}
			}
		})
	}
	wg.Wait()
}

// What is in dst stays, and a text in two halves at a boundary gives the same as each by itself.
func TestEncodeAppends(t *testing.T) {
	tok := load(t, "llama3")
	dst := tok.Encode([]int32{-7}, "one", EncodeOptions{})
	dst = tok.Encode(dst, " two", EncodeOptions{})
	want := append(append([]int32{-7}, tok.Encode(nil, "one", EncodeOptions{})...), tok.Encode(nil, " two", EncodeOptions{})...)
	if !slices.Equal(dst, want) {
		t.Errorf("got %v, want %v", dst, want)
	}
}

// Words that share a place in the cache displace each other and stay right.
func TestCache(t *testing.T) {
	tok := load(t, "gpt2")
	var sc scratch
	sc.words = newWordCache()
	bare := scratch{}
	for i := range 60000 {
		word := strings.Repeat(string(rune('a'+i%26)), 1+i%35) + string(rune('a'+i%7)) + string(rune(0x4E00+i%5000))
		got, want := tok.model.encode(nil, word, &sc), tok.model.encode(nil, word, &bare)
		if !slices.Equal(got, want) {
			t.Fatalf("%q: got %v from the cache, want %v", word, got, want)
		}
	}
}

// Added tokens that take the white space beside them look at each space a few times, not once for each token.
func TestStripsLinear(t *testing.T) {
	tok, err := Parse(patched(t, tokenizerFile(t, "gpt2"), rawJSON(`{"added_tokens":[
		{"id":0,"content":"<|endoftext|>","special":true},
		{"id":4000,"content":" ","normalized":false,"rstrip":true},
		{"id":4001,"content":"\t","normalized":false,"lstrip":true,"rstrip":true},
		{"id":4002,"content":"\n","normalized":false,"lstrip":true,"single_word":true}]}`), nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []string{" ", "\t", "\n", " \t", "a \n"} {
		text := strings.Repeat(piece, 1<<20/len(piece))
		if ids := tok.Encode(nil, text, EncodeOptions{}); len(ids) == 0 {
			t.Errorf("%q: no ids", piece)
		}
	}
}
