package eval

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// Whatever is taken for questions can be asked, in any size, and with each document that answers them.
func FuzzQuestions(f *testing.F) {
	f.Add([]byte(`{"data":[{"paragraphs":[{"context":"c","qas":[{"question":"q","answers":[{"text":"a"}]}]},{"context":"d","qas":[]}]}]}`), false)
	f.Add([]byte(`[{"question":"q","answer":"a","context":[["t",["one","two"]],["u",[]]]}]`), true)
	f.Add([]byte(`[{"question":"q","context":[["t"]]}]`), true)
	f.Fuzz(func(t *testing.T, data []byte, hotpot bool) {
		parse := parseSquad
		if hotpot {
			parse = parseHotpot
		}
		set, err := parse(data)
		if err != nil {
			return
		}
		for i, q := range set.questions {
			for _, size := range []int{1, 2, 5} {
				m := set.text(newDraws(1, "fuzz", 0, i), i, size)
				if size >= len(set.documents) && len(q.needed) < size {
					continue // all are there
				}
				for _, n := range q.needed {
					if !strings.Contains(m.text, set.documents[n]) {
						t.Fatalf("question %d with %d documents lacks document %d", i, size, n)
					}
				}
			}
		}
	})
}

// Lines of LongBench's are taken or refused, and what is taken is written and read again as it was.
func FuzzLongItems(f *testing.F) {
	f.Add([]byte(`{"input":"i","context":"c","answers":["a"],"length":7,"all_classes":["x"]}` + "\n" + `{"length":"short"}`))
	f.Add([]byte(`[{"answers":["a"]},{}]`))
	f.Add([]byte(`[{"answers":["a"]},{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		_ = readObjects(bytes.NewReader(data), func(i longItem) error { // what it refuses is of no interest
			if n++; n > len(data) {
				t.Fatalf("%d objects in %d bytes", n, len(data))
			}
			if i.Length != 0 && i.size != "" {
				t.Fatalf("a length of %d and %q", i.Length, i.size)
			}
			return nil
		})
	})
}

// Records that are read can be added up, written, and read again; the lines up to the last whole one are theirs.
func FuzzRecords(f *testing.F) {
	f.Add([]byte(`{"nosa_eval":1,"run":{"seed":"1"}}` + "\n" + `{"method":"full","task":"niah","length":5,"index":0,"score":0.5,"depth":0.5}` + "\n{"))
	f.Add([]byte(`{"nosa_eval":1,"run":{}}` + "\n" + `{"method":"full","task":"ppl","loss":{"nll":1,"tokens":2,"positions":[{"begin":0,"end":64,"nll":1,"count":2}]}}` + "\n"))
	f.Add([]byte(`{"nosa_eval":1,"run":{}}` + "\n" + `{"method":"full","task":"locality","locality":{"pools":[{"layers":[{"selected":1}]}]}}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, records, whole, err := readRecords(bytes.NewReader(data))
		if err != nil {
			return
		}
		if whole > int64(len(data)) || whole > 0 && data[whole-1] != '\n' {
			t.Fatalf("%d whole bytes of %d", whole, len(data))
		}
		_, again, _, err := readRecords(bytes.NewReader(data[:whole]))
		if err != nil || len(again) != len(records) {
			t.Fatalf("%d records, then %d: %v", len(records), len(again), err)
		}
		_ = Summarise(nil, records).Table()
	})
}

// A summary that is taken has scores and depths that can be drawn.
func FuzzSummary(f *testing.F) {
	f.Add([]byte(`{"nosa_eval":1,"settings":[{"name":"full","cells":[{"task":"niah","length":9,"score":50,"depths":[{"depth":0.5,"score":100}]}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ReadSummary(bytes.NewReader(data))
		if err != nil {
			return
		}
		if _, err := json.Marshal(s); err != nil {
			t.Fatal(err)
		}
		_ = s.Table()
	})
}

// Any two texts have scores from 0 to 1, and the same text has the highest.
func FuzzScores(f *testing.F) {
	f.Add("the cat. sat", "a cat sat. on")
	f.Add("", ".")
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a)+len(b) > 2000 {
			return // the longest common subsequence takes time
		}
		for name, score := range map[string]func(answer, text string) float64{
			"f1": qaF1, "rouge": rougeL, "code": codeSimilarity, "count": numberShare, "paragraph": paragraphShare,
			"class": func(answer, text string) float64 { return className(answer, text, []string{answer, "x"}) },
			"all":   func(answer, text string) float64 { return matchAll([]string{answer}, text) },
		} {
			if v := score(a, b); !(v >= 0 && v <= 1) {
				t.Errorf("%s of %q, %q: %g", name, a, b, v)
			}
		}
		if v := ratio(a, a); v != 100 {
			t.Errorf("%q is like itself by %g", a, v)
		}
	})
}
