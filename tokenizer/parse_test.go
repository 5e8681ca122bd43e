package tokenizer

import (
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"
)

func rawJSON(s string) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(s), &m); err != nil {
		panic(err)
	}
	return m
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want one that is %q", err, want)
	}
}

const smallFile = `{"version":"1.0","added_tokens":[{"id":4,"content":"<s>","special":true}],"normalizer":null,"pre_tokenizer":null,
	"post_processor":null,"decoder":null,"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"c":3},"merges":["a b"]}}`

func TestParseSmall(t *testing.T) {
	tok, err := Parse([]byte(smallFile), []byte(`{"bos_token":"<s>","eos_token":{"content":"c"},"add_bos_token":true}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.Size(); got != 5 {
		t.Errorf("size %d", got)
	}
	if bos, ok := tok.BOS(); !ok || bos != 4 {
		t.Errorf("bos %d %v", bos, ok)
	}
	if eos := tok.EOS(); len(eos) != 1 || eos[0] != 3 {
		t.Errorf("eos %v", eos)
	}
	ids := tok.Encode(nil, "<s>abc", EncodeOptions{AddSpecial: true, ParseSpecial: true})
	if len(ids) != 4 || ids[0] != 4 || ids[1] != 4 || ids[2] != 2 || ids[3] != 3 {
		t.Errorf("ids %v", ids)
	}
	if s, ok := tok.Token(4); !ok || s != "<s>" || !tok.IsSpecial(4) || tok.IsSpecial(0) || tok.IsSpecial(-1) {
		t.Errorf("token 4 is %q %v", s, ok)
	}
	for _, id := range []int32{-1, 5, 1 << 30} {
		if s, ok := tok.Token(id); ok {
			t.Errorf("id %d is token %q", id, s)
		}
	}
	if _, ok := tok.ID("zz"); ok {
		t.Error("zz is a token")
	}
}

// Each way to break a file has its kind of error and a message that says where.
func TestParseRefuses(t *testing.T) {
	swap := func(from, to string) string {
		if !strings.Contains(smallFile, from) {
			t.Fatalf("nothing to swap: %s", from)
		}
		return strings.Replace(smallFile, from, to, 1)
	}
	for name, tc := range map[string]struct {
		file string
		want error
		says string
	}{
		"empty":               {"", ErrFormat, "tokenizer.json"},
		"not json":            {"hello", ErrFormat, "invalid"},
		"an array":            {"[]", ErrFormat, "object expected"},
		"cut off":             {smallFile[:len(smallFile)/2], ErrFormat, "unexpected EOF"},
		"text behind":         {smallFile + "{}", ErrFormat, "behind"},
		"no model":            {`{"version":"1.0"}`, ErrFormat, "no model"},
		"version":             {swap(`"1.0"`, `"2.0"`), ErrUnsupported, "version"},
		"model twice":         {swap(`"decoder":null`, `"model":{}`), ErrFormat, "twice"},
		"unigram":             {swap(`"BPE"`, `"Unigram"`), ErrUnsupported, "Unigram"},
		"wordpiece":           {swap(`"BPE"`, `"WordPiece"`), ErrUnsupported, "WordPiece"},
		"no vocab":            {swap(`"vocab"`, `"voc"`), ErrFormat, "vocab"},
		"vocab is a list":     {swap(`{"a":0,"b":1,"ab":2,"c":3}`, `["a"]`), ErrFormat, "vocab"},
		"id is text":          {swap(`"a":0`, `"a":"0"`), ErrFormat, "id expected"},
		"id is negative":      {swap(`"a":0`, `"a":-1`), ErrFormat, "whole number"},
		"id is a fraction":    {swap(`"a":0`, `"a":0.5`), ErrFormat, "whole number"},
		"id is huge":          {swap(`"a":0`, `"a":4000000000`), ErrFormat, "below"},
		"id beyond int64":     {swap(`"a":0`, `"a":99999999999999999999`), ErrFormat, "below"},
		"id twice":            {swap(`"b":1`, `"b":0`), ErrFormat, "both"},
		"token twice":         {swap(`"c":3`, `"a":3`), ErrFormat, "both id"},
		"merge of one":        {swap(`"a b"`, `"ab"`), ErrFormat, "merge 0"},
		"merge of three":      {swap(`"a b"`, `"a b c"`), ErrFormat, "merge 0"},
		"merge in a list":     {swap(`"a b"`, `["a","b","c"]`), ErrFormat, "merge 0"},
		"merge to nothing":    {swap(`"a b"`, `"b a"`), ErrFormat, "lacks"},
		"merge of a number":   {swap(`"a b"`, `7`), ErrFormat, "merge 0"},
		"dropout":             {swap(`"merges"`, `"dropout":0.1,"merges"`), ErrUnsupported, "dropout"},
		"suffix":              {swap(`"merges"`, `"end_of_word_suffix":"</w>","merges"`), ErrUnsupported, "end_of_word_suffix"},
		"flag is text":        {swap(`"merges"`, `"byte_fallback":"yes","merges"`), ErrFormat, "byte_fallback"},
		"unk not there":       {swap(`"merges"`, `"unk_token":"<unk>","merges"`), ErrFormat, "unk_token"},
		"added without id":    {swap(`"id":4,`, ``), ErrFormat, "without content or id"},
		"added without text":  {swap(`"content":"<s>",`, ``), ErrFormat, "without content or id"},
		"added id taken":      {swap(`"id":4`, `"id":3`), ErrFormat, "both"},
		"added id huge":       {swap(`"id":4`, `"id":16000000`), ErrFormat, "below"},
		"added id twice":      {swap(`"id":4`, `"id":4,"id":4`), ErrFormat, "twice"},
		"added flag is text":  {swap(`"special":true`, `"special":"yes"`), ErrFormat, "special"},
		"added too long":      {swap(`"<s>"`, `"`+strings.Repeat("<", maxAdded+1)+`"`), ErrUnsupported, "bytes long"},
		"normalizer unknown":  {swap(`"normalizer":null`, `"normalizer":{"type":"Precompiled"}`), ErrUnsupported, "Precompiled"},
		"normalizer is text":  {swap(`"normalizer":null`, `"normalizer":"NFC"`), ErrFormat, "normalizer"},
		"decoder unknown":     {swap(`"decoder":null`, `"decoder":{"type":"WordPiece"}`), ErrUnsupported, "WordPiece"},
		"decoder order":       {swap(`"decoder":null`, `"decoder":{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"ByteFallback"}]}`), ErrUnsupported, "ByteFallback"},
		"pre unknown":         {swap(`"pre_tokenizer":null`, `"pre_tokenizer":{"type":"UnicodeScripts"}`), ErrUnsupported, "UnicodeScripts"},
		"pattern broken":      {swap(`"pre_tokenizer":null`, `"pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"}`), ErrUnsupported, "pattern"},
		"pattern missing":     {swap(`"pre_tokenizer":null`, `"pre_tokenizer":{"type":"Split","behavior":"Isolated"}`), ErrFormat, "pattern"},
		"behavior":            {swap(`"pre_tokenizer":null`, `"pre_tokenizer":{"type":"Split","pattern":{"String":"a"},"behavior":"Odd"}`), ErrFormat, "Odd"},
		"template lacks":      {swap(`"post_processor":null`, `"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}},{"Sequence":{"id":"A"}}],"special_tokens":{}}`), ErrFormat, "special_tokens"},
		"template without A":  {swap(`"post_processor":null`, `"post_processor":{"type":"TemplateProcessing","single":[],"special_tokens":{}}`), ErrFormat, "sequence A"},
		"template id":         {swap(`"post_processor":null`, `"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}},{"Sequence":{"id":"A"}}],"special_tokens":{"x":{"ids":[99]}}}`), ErrFormat, "99"},
		"sequences too deep":  {swap(`"normalizer":null`, `"normalizer":`+strings.Repeat(`{"type":"Sequence","normalizers":[`, 9)+strings.Repeat(`]}`, 9)), ErrUnsupported, "deep"},
		"nesting without end": {strings.Repeat(`{"model":`, 20000), ErrFormat, "depth"},
		"invalid utf-8":       {swap(`"c":3`, "\"\xff\":3"), ErrFormat, "UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(tc.file), nil)
			wantError(t, err, tc.want)
			if !strings.Contains(err.Error(), tc.says) {
				t.Errorf("message %q does not say %q", err, tc.says)
			}
			if len(err.Error()) > 600 {
				t.Errorf("message of %d bytes", len(err.Error()))
			}
		})
	}
	for name, config := range map[string]string{
		"cut off": `{"bos`, "bos unknown": `{"bos_token":"<nope>"}`, "bos is a number": `{"bos_token":3}`, "twice": `{"a":1,"a":2}`,
	} {
		_, err := Parse([]byte(smallFile), []byte(config))
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "tokenizer_config.json") {
			t.Errorf("config, %s: got error %v", name, err)
		}
	}
}

// Either writing of merges gives the same ids, and so does a list with the version line of merges.txt.
func TestMergeWritings(t *testing.T) {
	want := load(t, "gpt2")
	var file struct{ Model struct{ Merges []string } }
	if err := json.Unmarshal(tokenizerFile(t, "gpt2"), &file); err != nil {
		t.Fatal(err)
	}
	pairs := make([][]string, len(file.Model.Merges))
	for i, m := range file.Model.Merges {
		pairs[i] = strings.Split(m, " ")
	}
	for name, merges := range map[string]any{"pairs": pairs, "version": append([]string{"#version: 0.2"}, file.Model.Merges...)} {
		raw, err := json.Marshal(merges)
		if err != nil {
			t.Fatal(err)
		}
		tok, err := Parse(patched(t, tokenizerFile(t, "gpt2"), nil, map[string]json.RawMessage{"merges": raw}), nil)
		if err != nil {
			t.Fatal(name, err)
		}
		for _, s := range oddTexts {
			if got, want := digestIDs(tok.Encode(nil, s, EncodeOptions{})), digestIDs(want.Encode(nil, s, EncodeOptions{})); got != want {
				t.Errorf("%s: %q differs", name, s)
			}
		}
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// allowance is the most that reading n bytes may allocate.
func allowance(n int) uint64 { return 4*uint64(n) + 64<<20 }

// Whatever the file says, Parse allocates within its bound, and what it takes can encode and decode.
func FuzzParse(f *testing.F) {
	f.Add([]byte(smallFile), []byte(`{"bos_token":"<s>"}`))
	for _, part := range []string{
		`"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true}`, `"pre_tokenizer":{"type":"Metaspace","replacement":"a"}`,
		`"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"Punctuation"},{"type":"Whitespace"}]}`,
		`"pre_tokenizer":{"type":"Split","pattern":{"Regex":"[ab]|\\s+"},"behavior":"MergedWithNext","invert":true}`,
	} {
		f.Add([]byte(strings.Replace(smallFile, `"pre_tokenizer":null`, part, 1)), []byte(nil))
	}
	for _, part := range []string{
		`"decoder":{"type":"ByteLevel"}`, `"decoder":{"type":"Metaspace","replacement":"a"}`,
		`"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"a"},"content":"b"},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":1}]}`,
	} {
		f.Add([]byte(strings.Replace(smallFile, `"decoder":null`, part, 1)), []byte(`{}`))
	}
	f.Add([]byte(strings.Replace(smallFile, `"normalizer":null`, `"normalizer":{"type":"Sequence","normalizers":[{"type":"NFKC"},{"type":"Lowercase"},{"type":"Strip","strip_left":true},{"type":"Prepend","prepend":"x"}]}`, 1)), []byte(`[]`))
	f.Add([]byte(strings.Replace(smallFile, `"post_processor":null`, `"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}},{"Sequence":{"id":"A"}}],"special_tokens":{"x":{"ids":[1]}}}`, 1)), []byte(`{}`))
	f.Fuzz(func(t *testing.T, file, config []byte) {
		var tok *Tokenizer
		var err error
		if n := allocated(func() { tok, err = Parse(file, config) }); n > allowance(len(file)+len(config)) {
			t.Fatalf("%d bytes allocated for %d", n, len(file)+len(config))
		}
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrUnsupported) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		ids := tok.Encode(nil, "ab <s>ca\u00e9 \xff1", EncodeOptions{AddSpecial: true, ParseSpecial: true})
		for _, id := range ids {
			if id < 0 || int(id) >= tok.Size() {
				t.Fatalf("id %d of %d", id, tok.Size())
			}
		}
		if got, want := pushAll(t, tok.NewStream(true), ids), tok.Decode(ids, true); got != want {
			t.Fatalf("stream %q, decode %q", got, want)
		}
	})
}

// Large files stay within the bound too: many tokens, many merges, many added tokens, one long string.
func TestParseAllocation(t *testing.T) {
	var vocab, added strings.Builder
	n := 200000
	alphabet := "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#"
	name := func(i int) string {
		return string([]byte{alphabet[i&63], alphabet[i>>6&63], alphabet[i>>12&63]})
	}
	var merges strings.Builder
	id := 0
	for i := range 64 {
		vocab.WriteString(`"` + alphabet[i:i+1] + `":` + itoa(id) + ",")
		id++
	}
	for i := range 4096 {
		vocab.WriteString(`"` + name(i)[:2] + `":` + itoa(id) + ",")
		merges.WriteString(`"` + name(i)[:1] + " " + name(i)[1:2] + `",`)
		id++
	}
	for i := range n {
		vocab.WriteString(`"` + name(i) + `":` + itoa(id) + ",")
		merges.WriteString(`"` + name(i)[:1] + " " + name(i)[1:] + `","` + name(i)[:2] + " " + name(i)[2:] + `",`)
		id++
	}
	for i := range 100000 {
		added.WriteString(`{"id":` + itoa(id+i) + `,"content":"<` + itoa(i) + `>"},`)
	}
	trim := func(b *strings.Builder) string { return strings.TrimSuffix(b.String(), ",") }
	for name, file := range map[string]string{
		"vocab": `{"model":{"vocab":{` + trim(&vocab) + `},"merges":[` + trim(&merges) + `]},"added_tokens":[` + trim(&added) + `],
			"pre_tokenizer":{"type":"ByteLevel"},"decoder":{"type":"ByteLevel"}}`,
		"one string":  `{"model":{"vocab":{"` + strings.Repeat("a", 8<<20) + `":0},"merges":[]}}`,
		"one colon":   `{"model":{"vocab":{"` + strings.Repeat(":", 8<<20) + `":0},"merges":[]}}`,
		"same merge":  `{"model":{"vocab":{"a":0,"aa":1},"merges":[` + strings.Repeat(`"a a",`, 1<<20) + `"a a"]}}`,
		"other parts": `{"other":[` + strings.Repeat(`{"a":1},`, 1<<20) + `0],"model":{"vocab":{"a":0},"merges":[]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			data := []byte(file)
			var err error
			used := allocated(func() { _, err = Parse(data, nil) })
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%.1f MB allocated for %.1f MB, %.1f allowed", float64(used)/1e6, float64(len(data))/1e6, float64(allowance(len(data)))/1e6)
			if used > allowance(len(data)) {
				t.Error("too much")
			}
		})
	}
}

func itoa(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}
