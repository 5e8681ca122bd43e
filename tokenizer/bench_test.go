package tokenizer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// benchTexts are the texts of -corpus DIR, or this package's own source files.
func benchTexts(b *testing.B) map[string]string {
	b.Helper()
	if *corpusDir != "" {
		texts := map[string]string{}
		for _, name := range []string{"english", "python", "translations", "cjk", "noise"} {
			texts[name] = string(readCorpus(b, name+".txt"))
		}
		return texts
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		b.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			b.Fatal(err)
		}
		if !strings.HasPrefix(f, "gen_") {
			all.Write(data)
		}
	}
	return map[string]string{"source": all.String()}
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func benchKinds() []string {
	if *corpusDir != "" {
		return append(slices.Clone(kinds[:5]), "smollm2-real")
	}
	return kinds[:5]
}

// One text whole and the same by lines, as the reference's figures are taken (tokenizers_golden.py speed).
func BenchmarkEncode(b *testing.B) {
	texts := benchTexts(b)
	for _, kind := range benchKinds() {
		tok := loadCorpus(b, kind)
		for _, name := range sortedKeys(texts) {
			text := texts[name]
			lines := strings.SplitAfter(text, "\n")
			b.Run(kind+"/"+name+"/whole", func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				var ids []int32
				cpu := processorTime(b)
				for b.Loop() {
					ids = tok.Encode(ids[:0], text, EncodeOptions{})
				}
				b.ReportMetric(float64(len(ids)), "ids")
				cpu(len(text))
			})
			b.Run(kind+"/"+name+"/lines", func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				var ids []int32
				cpu := processorTime(b)
				for b.Loop() {
					for _, line := range lines {
						ids = tok.Encode(ids[:0], line, EncodeOptions{})
					}
				}
				cpu(len(text))
			})
		}
	}
}

// processorTime starts to measure, and the function it returns reports MB for each second that the processors worked,
// collector and all: the figure that another load of the machine does not change.
func processorTime(b *testing.B) func(size int) {
	b.Helper()
	begin := processorSeconds()
	return func(size int) {
		if took := processorSeconds() - begin; took > 0 {
			b.ReportMetric(float64(size)*float64(b.N)/1e6/took, "MB/cpu-s")
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, kind := range []string{"gpt2", "sp"} {
		tok := load(b, kind)
		text := benchTexts(b)
		name := sortedKeys(text)[0]
		ids := tok.Encode(nil, text[name], EncodeOptions{})
		b.Run(kind, func(b *testing.B) {
			b.SetBytes(int64(len(text[name])))
			for b.Loop() {
				if tok.Decode(ids, true) == "" {
					b.Fatal("no text")
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	data := tokenizerFile(b, "llama3")
	if *corpusDir != "" {
		data = readCorpus(b, "smollm2-real.tokenizer.json")
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(data, nil); err != nil {
			b.Fatal(err)
		}
	}
}
