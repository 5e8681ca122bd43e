package tokenizer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// kinds are the trained tokenizers in testdata (scripts/oracles/tokenizers_golden.py).
var kinds = []string{"gpt2", "llama3", "qwen2", "smollm2", "sp", "any", "sp-any"}

type goldenFile struct {
	Texts []string `json:"texts"`
	Cases []struct {
		Name    string                     `json:"name"`
		Base    string                     `json:"base"`
		JSON    map[string]json.RawMessage `json:"json"`
		Model   map[string]json.RawMessage `json:"model"`
		Added   json.RawMessage            `json:"added_tokens"`
		IDs     [][2][]int32               `json:"ids"`
		Hashes  string                     `json:"hashes"`
		Every   string                     `json:"every"`   // hash of the ids of everyPoint
		Words   string                     `json:"words"`   // hash of the lengths of its words
		Decoded [][3]json.RawMessage       `json:"decoded"` // ids, text without special tokens, text with them
	} `json:"cases"`
}

func readGolden(t testing.TB) goldenFile {
	t.Helper()
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var g goldenFile
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func tokenizerFile(t testing.TB, kind string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", kind+".tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func load(t testing.TB, kind string) *Tokenizer {
	t.Helper()
	tok, err := Parse(tokenizerFile(t, kind), nil)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// patched returns a tokenizer.json with members replaced.
func patched(t testing.TB, data []byte, top, model map[string]json.RawMessage) []byte {
	t.Helper()
	var file map[string]json.RawMessage
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	for k, v := range top {
		file[k] = v
	}
	if len(model) > 0 {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(file["model"], &m); err != nil {
			t.Fatal(err)
		}
		for k, v := range model {
			m[k] = v
		}
		file["model"], _ = json.Marshal(m)
	}
	out, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func idBytes(ids []int32) []byte {
	b := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint32(b, uint32(id))
	}
	return b
}

func digestIDs(ids []int32) string {
	h := sha256.Sum256(idBytes(ids))
	return hex.EncodeToString(h[:4])
}

// Every tokenizer and every other setting of it gives the reference's ids for every text, with the template and special
// tokens and without both, and the reference's text for ids.
func TestGolden(t *testing.T) {
	g := readGolden(t)
	every := everyPoint()
	for _, c := range g.Cases {
		t.Run(c.Name, func(t *testing.T) {
			if string(c.Added) != "" && string(c.Added) != "null" {
				if c.JSON == nil {
					c.JSON = map[string]json.RawMessage{}
				}
				c.JSON["added_tokens"] = c.Added
			}
			tok, err := Parse(patched(t, tokenizerFile(t, c.Base), c.JSON, c.Model), nil)
			if err != nil {
				t.Fatal(err)
			}
			hashes := strings.Fields(c.Hashes)
			for i, text := range g.Texts {
				special := tok.Encode(nil, text, EncodeOptions{AddSpecial: true, ParseSpecial: true})
				plain := tok.Encode(nil, text, EncodeOptions{})
				if c.IDs != nil {
					want := c.IDs[i]
					if want[1] == nil {
						want[1] = want[0]
					}
					if !slices.Equal(special, want[0]) {
						t.Errorf("text %d %q, special:\n got %v\nwant %v", i, text, special, want[0])
					}
					if !slices.Equal(plain, want[1]) {
						t.Errorf("text %d %q:\n got %v\nwant %v", i, text, plain, want[1])
					}
				}
				if got := digestIDs(special) + digestIDs(plain); got != hashes[i] {
					t.Errorf("text %d %q: got %q %q of hash %s, want %s", i, text, tokens(tok, special), tokens(tok, plain),
						got, hashes[i])
				}
			}
			if c.Every != "" {
				if got := sum(idBytes(tok.Encode(nil, every, EncodeOptions{}))); got != c.Every {
					t.Errorf("the text of every code point: ids of hash %s, want %s", got, c.Every)
				}
			}
			if c.Words != "" {
				var lengths []int32
				var sc scratch
				tok.words.split(every, true, &sc, func(word string) { lengths = append(lengths, int32(len(word))) })
				if got := sum(idBytes(lengths)); got != c.Words {
					t.Errorf("the text of every code point: words of hash %s, want %s", got, c.Words)
				}
			}
			for _, d := range c.Decoded {
				var ids []int32
				var skipped, full string
				for k, to := range []any{&ids, &skipped, &full} {
					if err := json.Unmarshal(d[k], to); err != nil {
						t.Fatal(err)
					}
				}
				if byteRowBroken(tok, ids) {
					continue // the documented difference; TestByteTokens
				}
				if got := tok.Decode(ids, true); got != skipped {
					t.Errorf("decode %v without specials: got %q, want %q", ids, got, skipped)
				}
				if got := tok.Decode(ids, false); got != full {
					t.Errorf("decode %v: got %q, want %q", ids, got, full)
				}
			}
		})
	}
}

// everyPoint is the text of every code point that the script makes as every_short.
func everyPoint() string {
	var b strings.Builder
	add := func(from, to, step rune) {
		for c := from; c < to; c += step {
			if utf8.ValidRune(c) {
				fmt.Fprintf(&b, "a%ca1%c1 %c\u0334\u0301'", c, c, c)
			}
		}
	}
	add(0, 0x20000, 1)
	add(0x20000, 0xE0000, 37)
	add(0xE0000, 0xE0200, 1)
	add(0xE0200, 0x110000, 37)
	return b.String()
}

func tokens(t *Tokenizer, ids []int32) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i], _ = t.Token(id)
	}
	return out
}

// byteRowBroken reports whether ids have a row of byte tokens that is not UTF-8 as a whole but has a character in it.
func byteRowBroken(t *Tokenizer, ids []int32) bool {
	var row []byte
	broken := func() bool {
		whole := string(row)
		row = row[:0]
		if strings.ToValidUTF8(whole, "") == whole {
			return false
		}
		return strings.ToValidUTF8(whole, "") != ""
	}
	for _, id := range ids {
		if b, ok := t.decoder.byteTokens[id]; ok {
			row = append(row, b)
		} else if broken() {
			return true
		}
	}
	return broken()
}
