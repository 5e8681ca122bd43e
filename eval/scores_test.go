package eval

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"testing"
)

// scoresGolden is what LongBench's and InfiniteBench's own code says: scripts/oracles/eval_scores.py.
type scoresGolden struct {
	LongBench []struct {
		Set, Text, Answer string
		Classes           []string
		Score             float64
	}
	Means []struct {
		Set     string
		Mean    float64
		Lengths []int
		E       map[string]float64
	}
	Choices       []struct{ Text, Choice string }
	InfiniteBench []struct {
		Task, Text, Answer string
		Score              float64
	}
	Generators struct {
		Passkey []struct {
			Key, SHA256, Input string
			Line, Lines        int
		}
		KV []struct {
			Order                 []int
			At                    int
			SHA256, Input, Answer string
		}
		Pairs [][2]string
	}
}

func readScores(t *testing.T) *scoresGolden {
	t.Helper()
	data, err := os.ReadFile("testdata/scores.json")
	if err != nil {
		t.Fatal(err)
	}
	g := &scoresGolden{}
	if err := json.Unmarshal(data, g); err != nil {
		t.Fatal(err)
	}
	return g
}

// Scores of single answers are LongBench's own, but for the last bit of a float64.
func TestLongBenchScores(t *testing.T) {
	g := readScores(t)
	sets, positive := map[string]int{}, map[string]int{}
	for _, c := range g.LongBench {
		got := longScores[c.Set](c.Answer, c.Text, &Sample{classes: c.Classes})
		if math.Abs(got-c.Score) > 1e-15 {
			t.Errorf("%s: text %q, answer %q, classes %q: %v, LongBench says %v", c.Set, c.Text, c.Answer, c.Classes, got, c.Score)
		}
		if sets[c.Set]++; c.Score > 0 {
			positive[c.Set]++
		}
	}
	for _, set := range []string{"hotpotqa", "gov_report", "trec", "passage_count", "passage_retrieval_en", "passage_retrieval_zh", "lcc"} {
		if sets[set] < 20 || positive[set] < 5 || positive[set] == sets[set] {
			t.Errorf("%s: %d samples, %d of them with a score: too few", set, sets[set], positive[set])
		}
	}
}

// Means of a set, and of LongBench-E's buckets, are LongBench's own to the two digits that it gives.
func TestLongBenchMeans(t *testing.T) {
	g := readScores(t)
	for _, m := range g.Means {
		var all tally
		buckets := map[string]*tally{"0-4k": {}, "4-8k": {}, "8k+": {}}
		n := 0
		for _, c := range g.LongBench {
			if c.Set == m.Set {
				s := &Sample{Answers: []string{c.Answer}, classes: c.Classes}
				score := (&longBench{name: m.Set, set: m.Set}).Score(s, c.Text)
				all.add(score)
				buckets[longBucket(m.Lengths[n])].add(score)
				n++
			}
		}
		if got := all.share().Score; got != m.Mean {
			t.Errorf("%s: %v, LongBench says %v", m.Set, got, m.Mean)
		}
		for name, b := range buckets {
			if got := b.share().Score; got != m.E[name] {
				t.Errorf("%s, %s: %v, LongBench says %v", m.Set, name, got, m.E[name])
			}
		}
	}
}

func TestLongBenchChoices(t *testing.T) {
	for _, c := range readScores(t).Choices {
		if got := choice(c.Text); got != c.Choice {
			t.Errorf("%q: %q, LongBench v2 says %q", c.Text, got, c.Choice)
		}
	}
}

func TestInfiniteBenchScores(t *testing.T) {
	score := map[string]func([]string, string) float64{"passkey": firstInteger, "kv_retrieval": wordOf}
	for _, c := range readScores(t).InfiniteBench {
		if got := score[c.Task]([]string{c.Answer}, c.Text); got != c.Score {
			t.Errorf("%s: text %q, answer %q: %v, InfiniteBench says %v", c.Task, c.Text, c.Answer, got, c.Score)
		}
	}
}

// Texts and questions are InfiniteBench's, byte for byte, where they have the same keys in the same order.
func TestInfiniteBenchGenerators(t *testing.T) {
	g := readScores(t).Generators
	same := func(text, want string) bool {
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:]) == want
	}
	for _, p := range g.Passkey {
		if text := passContext(p.Key, p.Line, p.Lines); !same(text, p.SHA256) || p.Input != passQuestion[1:] {
			t.Errorf("passkey %s at line %d: another text, or question %q", p.Key, p.Line, p.Input)
		}
	}
	for i, kv := range g.KV {
		text, question := kvContext(picked(g.Pairs, kv.Order), kv.At)
		if !same(text, kv.SHA256) || question != kv.Input || g.Pairs[kv.Order[kv.At]][1] != kv.Answer {
			t.Errorf("pairs %d: another text, or question %q, want %q", i, question, kv.Input)
		}
	}
	if len(g.Passkey) < 5 || len(g.KV) < 10 {
		t.Error("too few samples")
	}
}
