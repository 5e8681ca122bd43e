package tokenizer

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// asGGUF turns a trained tokenizer.json into the metadata that a GGUF file of it would have.
func asGGUF(t testing.TB, kind, model, pre string) GGUF {
	t.Helper()
	var file struct {
		Added []struct {
			ID      int32
			Content string
			Special bool
		} `json:"added_tokens"`
		Model struct {
			Vocab  map[string]int32
			Merges []any
		}
	}
	if err := json.Unmarshal(tokenizerFile(t, kind), &file); err != nil {
		t.Fatal(err)
	}
	n := len(file.Model.Vocab)
	for _, a := range file.Added {
		n = max(n, int(a.ID)+1)
	}
	g := GGUF{Model: model, Pre: pre, Tokens: make([]string, n), Types: make([]int32, n), BOS: -1, EOS: -1, UNK: -1, PAD: -1}
	for s, id := range file.Model.Vocab {
		g.Tokens[id], g.Types[id] = s, typeNormal
		if _, ok := byteToken(s); ok && model == "llama" {
			g.Types[id] = typeByte
		}
	}
	for _, a := range file.Added {
		g.Tokens[a.ID], g.Types[a.ID] = a.Content, typeUser
		if a.Special {
			g.Types[a.ID] = typeControl
		}
	}
	if model == "llama" {
		g.Scores = make([]float32, n)
		for i := range g.Scores {
			g.Scores[i] = -float32(i) // tokens were learned in the order of their ids
		}
		return g
	}
	for _, m := range file.Model.Merges {
		if pair, ok := m.([]any); ok {
			m = pair[0].(string) + " " + pair[1].(string)
		}
		g.Merges = append(g.Merges, m.(string))
	}
	return g
}

// The metadata of a file gives the same ids as tokenizer.json, for each byte-level family.
func TestGGUFByteLevel(t *testing.T) {
	g := readGolden(t)
	for kind, pre := range map[string]string{"gpt2": "gpt-2", "llama3": "llama-bpe", "qwen2": "qwen2", "smollm2": "smollm"} {
		want := load(t, kind)
		got, err := FromGGUF(asGGUF(t, kind, "gpt2", pre))
		if err != nil {
			t.Fatal(kind, err)
		}
		if got.Size() != want.Size() {
			t.Errorf("%s: size %d, want %d", kind, got.Size(), want.Size())
		}
		for _, text := range append(g.Texts, oddTexts...) {
			for _, parse := range []bool{false, true} {
				opts := EncodeOptions{ParseSpecial: parse}
				a, b := got.Encode(nil, text, opts), want.Encode(nil, text, opts)
				if !slices.Equal(a, b) {
					t.Errorf("%s: %q: got %v, want %v", kind, text, a, b)
				}
				if x, y := got.Decode(a, true), want.Decode(a, true); x != y {
					t.Errorf("%s: %q: text %q, want %q", kind, text, x, y)
				}
			}
		}
	}
}

// spSlowly is the definition of the model "llama": of all neighbours that spell a token, those that spell the one with
// the highest score become it, the leftmost first; what is no token at the end is written in bytes.
func spSlowly(g GGUF, ids map[string]int32, text string) (out []int32) {
	text = strings.ReplaceAll(" "+text, " ", metaspace)
	var parts []string
	for i := 0; i < len(text); {
		_, n := utf8.DecodeRuneInString(text[i:])
		parts = append(parts, text[i:i+n])
		i += n
	}
	for {
		best, at := float32(math.Inf(-1)), -1
		for i := range len(parts) - 1 {
			if id, ok := ids[parts[i]+parts[i+1]]; ok && g.Scores[id] > best {
				best, at = g.Scores[id], i
			}
		}
		if at < 0 {
			break
		}
		parts = slices.Replace(parts, at, at+2, parts[at]+parts[at+1])
	}
	for _, p := range parts {
		if id, ok := ids[p]; ok {
			out = append(out, id)
			continue
		}
		for _, b := range []byte(p) {
			out = append(out, byteID(g, b))
		}
	}
	return out
}

func byteID(g GGUF, b byte) int32 {
	for i, s := range g.Tokens {
		if c, ok := byteToken(s); ok && c == b {
			return int32(i)
		}
	}
	return -1
}

func TestGGUFScores(t *testing.T) {
	g := asGGUF(t, "sp", "llama", "")
	// Equal scores go from left to right; a token whose characters are no tokens merges all the same.
	for i := range g.Scores {
		if i%5 == 0 {
			g.Scores[i] = -300
		}
	}
	for i := 3990; i < 4000; i++ {
		g.Tokens[i] = string(rune(0x16A0+i-3990)) + string(rune(0x16A1+i-3990))
	}
	tok, err := FromGGUF(g)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]int32{}
	for i, s := range g.Tokens {
		if g.Types[i] == typeNormal {
			ids[s] = int32(i)
		}
	}
	seed := uint64(6)
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	texts := []string{"ᚠᚡ ᚠ ᚢᚣᚤ", "the whale", "  a  b", "\n", "日本", "<s>", "\xffa\xc3"}
	for range 200 {
		var b strings.Builder
		for range 1 + r.IntN(20) {
			if r.IntN(6) == 0 {
				b.WriteRune(rune(0x16A0 + r.IntN(12)))
			} else {
				b.WriteString(strings.ReplaceAll(g.Tokens[259+r.IntN(3700)], metaspace, " "))
			}
		}
		texts = append(texts, b.String())
	}
	for _, text := range texts {
		want := spSlowly(g, ids, text)
		got := tok.Encode(nil, text, EncodeOptions{})
		if !slices.Equal(got, want) {
			t.Errorf("%q:\n got %v %q\nwant %v %q", text, got, tokens(tok, got), want, tokens(tok, want))
		}
		if back := string(tok.DecodeBytes(nil, got, false)); back != text {
			t.Errorf("%q came back as %q", text, back)
		}
	}
}

func TestGGUFTemplate(t *testing.T) {
	yes, no := true, false
	for name, tc := range map[string]struct {
		change func(*GGUF)
		want   string
	}{
		"llama starts":       {func(g *GGUF) {}, "<s>▁a"},
		"told not to":        {func(g *GGUF) { g.AddBOS = &no }, "▁a"},
		"told to end":        {func(g *GGUF) { g.AddEOS = &yes }, "<s>▁a</s>"},
		"no start token":     {func(g *GGUF) { g.BOS = -1 }, "▁a"},
		"no space in front":  {func(g *GGUF) { g.AddSpacePrefix = &no }, "<s>a"},
		"space when told to": {func(g *GGUF) { g.AddSpacePrefix = &yes }, "<s>▁a"},
	} {
		g := asGGUF(t, "sp", "llama", "")
		g.BOS, g.EOS, g.UNK = 1, 2, 0
		tc.change(&g)
		tok, err := FromGGUF(g)
		if err != nil {
			t.Fatal(name, err)
		}
		if got := strings.Join(tokens(tok, tok.Encode(nil, "a", EncodeOptions{AddSpecial: true})), ""); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
	g := asGGUF(t, "smollm2", "gpt2", "smollm")
	g.EOS, g.Stop = 2, []int32{0, 2}
	tok, err := FromGGUF(g)
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.EOS(); !slices.Equal(got, []int32{2, 0}) {
		t.Errorf("ends %v, want [2 0]", got)
	}
	if _, ok := tok.BOS(); ok {
		t.Error("a start token that the file does not give")
	}
}

func TestGGUFRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*GGUF)
		want   error
	}{
		"no tokens":      {func(g *GGUF) { g.Tokens, g.Types, g.Scores = nil, nil, nil }, ErrFormat},
		"types short":    {func(g *GGUF) { g.Types = g.Types[1:] }, ErrFormat},
		"scores short":   {func(g *GGUF) { g.Scores = g.Scores[1:] }, ErrFormat},
		"no scores":      {func(g *GGUF) { g.Scores = nil }, ErrFormat},
		"score is NaN":   {func(g *GGUF) { g.Scores[300] = float32(math.NaN()) }, ErrFormat},
		"bos outside":    {func(g *GGUF) { g.BOS = 4000 }, ErrFormat},
		"eos below":      {func(g *GGUF) { g.EOS = -2 }, ErrFormat},
		"stop outside":   {func(g *GGUF) { g.Stop = []int32{-1} }, ErrFormat},
		"unigram":        {func(g *GGUF) { g.Model = "t5" }, ErrUnsupported},
		"wordpiece":      {func(g *GGUF) { g.Model = "bert" }, ErrUnsupported},
		"pre unknown":    {func(g *GGUF) { g.Model, g.Pre = "gpt2", "strange" }, ErrUnsupported},
		"merge broken":   {func(g *GGUF) { g.Model, g.Pre, g.Merges = "gpt2", "gpt-2", []string{"ab"} }, ErrFormat},
		"merge unknown":  {func(g *GGUF) { g.Model, g.Pre, g.Merges = "gpt2", "gpt-2", []string{"a ~~~"} }, ErrFormat},
		"token too long": {func(g *GGUF) { g.Tokens[300] = strings.Repeat("ab", maxPiece) }, ErrUnsupported},
	} {
		g := asGGUF(t, "sp", "llama", "")
		tc.change(&g)
		_, err := FromGGUF(g)
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		wantError(t, err, tc.want)
	}
}

// Every name of a pre-tokeniser has steps that can be made, and the four big families are scanned by hand.
func TestGGUFPres(t *testing.T) {
	for name, pre := range ggufPres {
		p, bytes, err := newPreTokenizer(pre.steps, false)
		if err != nil || !bytes {
			t.Errorf("%s: %v, bytes %v", name, err, bytes)
		}
		if slices.Contains([]string{"gpt-2", "llama-bpe", "qwen2", "smollm", "gpt-4o", "tekken", "qwen35"}, name) && p.scan == nil {
			t.Errorf("%s is not scanned by hand", name)
		}
	}
}

// Tokens of any text and type are taken or refused, and what is taken encodes within its own ids.
func FuzzGGUF(f *testing.F) {
	f.Add("a\nb\nab\n<0x41>\n<s>\n▁\n▁a", []byte{1, 1, 1, 6, 3, 1, 1}, "a b", false)
	f.Add("a\nb\nab\nĠ\nĠa", []byte{1, 1, 1, 1, 4}, "a b\nĠ a", true)
	f.Fuzz(func(t *testing.T, list string, types []byte, mergeList string, byteLevel bool) {
		g := GGUF{Model: "llama", Tokens: strings.Split(list, "\n"), BOS: -1, EOS: -1, UNK: -1, PAD: -1}
		if byteLevel {
			g.Model, g.Pre, g.Merges = "gpt2", "qwen2", strings.Split(mergeList, "\n")
		}
		for i := range g.Tokens {
			kind := int32(typeNormal)
			if i < len(types) {
				kind = int32(types[i] % 8)
			}
			g.Types = append(g.Types, kind)
			g.Scores = append(g.Scores, float32(i%7))
		}
		tok, err := FromGGUF(g)
		if err != nil {
			return
		}
		ids := tok.Encode(nil, "ab a<s>\xff"+list[:min(len(list), 100)], EncodeOptions{ParseSpecial: true})
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
