package eval

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// rulerGolden is what RULER's own code made and scored: scripts/oracles/eval_ruler.py.
type rulerGolden struct {
	Essay         string
	Squad, Hotpot json.RawMessage
	Samples       []struct {
		Task                string
		Size, Length, Index int
		SHA256              string
		Bytes               int
		Answers             []string
		Draws               [][]any
	}
	Scores []struct {
		Text      string
		Answers   []string
		All, Part float64
	}
}

func readRuler(t *testing.T) *rulerGolden {
	t.Helper()
	data, err := os.ReadFile("testdata/ruler.json")
	if err != nil {
		t.Fatal(err)
	}
	g := &rulerGolden{}
	if err := json.Unmarshal(data, g); err != nil {
		t.Fatal(err)
	}
	return g
}

// replay hands out draws that were made before, and fails where others are asked for.
type replay struct {
	t     *testing.T
	draws [][]any
}

func (r *replay) next(kind string, n int) []any {
	r.t.Helper()
	if len(r.draws) == 0 {
		r.t.Fatalf("%s of %d is drawn, and there are no more draws", kind, n)
	}
	d := r.draws[0]
	r.draws = r.draws[1:]
	if d[0] != kind || int(d[1].(float64)) != n {
		r.t.Fatalf("%s of %d is drawn, want %v of %v with %d more", kind, n, d[0], d[1], len(r.draws))
	}
	return d[2:]
}

func (r *replay) Below(n int) int { return int(r.next("below", n)[0].(float64)) }

func (r *replay) Bits() uint64 {
	v, err := strconv.ParseUint(r.next("bits", 0)[0].(string), 10, 64)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

func (r *replay) Shuffle(n int) []int { return r.list(r.next("shuffle", n)) }

func (r *replay) Sample(n, k int) []int {
	out := r.list(r.next("sample", n))
	if len(out) != k {
		r.t.Fatalf("%d of %d are drawn, want %d", k, n, len(out))
	}
	return out
}

func (r *replay) list(values []any) []int {
	out := make([]int, len(values))
	for i, v := range values {
		out[i] = int(v.(float64))
	}
	return out
}

// numbered are n words such as a07.
func numbered(format string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(format, i)
	}
	return out
}

// Handed the draws of RULER's generators, ours write RULER's prompts, byte for byte, and expect its answers.
func TestRulerGenerators(t *testing.T) {
	g := readRuler(t)
	squad, err := parseSquad(g.Squad)
	if err != nil {
		t.Fatal(err)
	}
	hotpot, err := parseHotpot(g.Hotpot)
	if err != nil {
		t.Fatal(err)
	}
	words := lexicon{numbered("a%02d", 90), numbered("n%02d", 90)}
	tasks := map[string]int{}
	for _, s := range g.Samples {
		tasks[s.Task]++
		t.Run(fmt.Sprintf("%s/%d/%d", s.Task, s.Length, s.Size), func(t *testing.T) {
			r := &replay{t, s.Draws}
			var m made
			switch s.Task {
			case "vt":
				m = vartrackSample(r, s.Size, 5)
			case "cwe":
				if m, err = commonWords(r, numbered("w%04d", 2000), numbered("w%04d", 3000), s.Length, s.Size); err != nil {
					t.Fatal(err)
				}
			case "fwe":
				m = frequentWords(r, s.Size, (s.Length-fweTokens)/50)
			case "qa_1":
				m = squad.text(r, s.Index, s.Size)
			case "qa_2":
				m = hotpot.text(r, s.Index, s.Size)
			default:
				m = rulerNeedles[s.Task].text(r, words, strings.Fields(g.Essay), s.Size)
			}
			text := m.text + m.prefix
			sum := sha256.Sum256([]byte(text))
			if hex.EncodeToString(sum[:]) != s.SHA256 {
				t.Errorf("%d bytes, RULER's prompt has %d:\n%.300s\n…\n%s", len(text), s.Bytes, text, text[max(0, len(text)-300):])
			}
			if strings.Join(m.answers, "|") != strings.Join(s.Answers, "|") {
				t.Errorf("answers %q, RULER's are %q", m.answers, s.Answers)
			}
			if len(r.draws) > 0 {
				t.Errorf("%d draws are left", len(r.draws))
			}
		})
	}
	for _, name := range rulerTasks {
		if tasks[name] < 2 {
			t.Errorf("%s: %d samples, want 2 at least", name, tasks[name])
		}
	}
}

// Scores are RULER's own.
func TestRulerScores(t *testing.T) {
	for _, s := range readRuler(t).Scores {
		if all := percent(matchAll(s.Answers, s.Text), 1); all != s.All {
			t.Errorf("%q, all of %q: %v, RULER says %v", s.Text, s.Answers, all, s.All)
		}
		if part := percent(matchBest(s.Answers, s.Text), 1); part != s.Part {
			t.Errorf("%q, one of %q: %v, RULER says %v", s.Text, s.Answers, part, s.Part)
		}
	}
}
