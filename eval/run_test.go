package eval

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// parrot says every second answer, as far as it is let.
type parrot struct {
	asked  *atomic.Int32
	most   int32 // questions until it fails; 0: no end
	closed *atomic.Int32
}

var errTired = errors.New("the parrot is tired")

func (p parrot) Ask(_ context.Context, s *Sample) (Answer, error) {
	if n := p.asked.Add(1); p.most > 0 && n > p.most {
		return Answer{}, errTired
	}
	a := Answer{Text: "nothing", Prompt: 10 + s.Index, Completion: 3, Prefill: 0.5, Decode: 0.25, KVBytes: 300, KVFullBytes: 400, Selected: 8, Hits: 6}
	if s.Index%2 == 0 {
		a.Text = " " + strings.Join(s.Answers, " ")
	}
	return a, nil
}

func (p parrot) Close() error {
	p.closed.Add(1)
	return nil
}

// config is a run of two settings, by a parrot.
func config(t *testing.T, dir string, parallel int, most int32) (*Config, *atomic.Int32) {
	asked, closed := &atomic.Int32{}, &atomic.Int32{}
	t.Cleanup(func() {
		if asked.Load() > 0 && closed.Load() == 0 {
			t.Error("who answers was not closed")
		}
	})
	return &Config{
		Material: *material(t), Tasks: []string{"niah", "infinite", "qa_1"}, Settings: []Setting{{Method: "full"}, {Method: "nosa", Policy: "think:ratio=0.5"}},
		Lengths: []int{1500, 3000}, Samples: 4, Parallel: parallel, Dir: dir, Facts: map[string]string{"model": "parrot"},
		Answerer: func(context.Context, Setting, int) (Answerer, error) { return parrot{asked, most, closed}, nil },
	}, asked
}

const jobsOfConfig = 2 * 4 * 2 * 4

// A run that fails, or is cut in the middle of a line, goes on where it was, and comes to the same summary as one that did not.
func TestRunGoesOn(t *testing.T) {
	whole := t.TempDir()
	c, asked := config(t, whole, 1, 0)
	var told []int
	c.Progress = func(done, total int, _ string) { told = append(told, done, total) }
	want, err := c.Run(t.Context())
	if err != nil || asked.Load() != jobsOfConfig {
		t.Fatalf("%d questions, %v", asked.Load(), err)
	}
	if !slices.Equal(told[len(told)-2:], []int{jobsOfConfig, jobsOfConfig}) {
		t.Errorf("progress ends with %v", told[len(told)-2:])
	}
	dir := t.TempDir()
	c, _ = config(t, dir, 3, 10)
	if _, err := c.Run(t.Context()); !errors.Is(err, errTired) || !strings.Contains(err.Error(), "full: ") {
		t.Fatalf("a parrot that is tired: %v", err)
	}
	path := filepath.Join(dir, ResultsFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Count(data, []byte("\n"))
	if lines < 8 || lines > 12 { // the header, and 10 at most
		t.Errorf("%d lines after 10 answers", lines)
	}
	if err := os.WriteFile(path, data[:len(data)-5], 0o666); err != nil { // the last line is gone
		t.Fatal(err)
	}
	c, asked = config(t, dir, 3, 0)
	got, err := c.Run(t.Context())
	if err != nil || int(asked.Load()) != jobsOfConfig-(lines-2) {
		t.Fatalf("%d questions after %d lines: %v", asked.Load(), lines-1, err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("another summary:\n%s\n%s", got.Table(), want.Table())
	}
	for _, name := range []string{SummaryFile, TableFile} {
		a, err := os.ReadFile(filepath.Join(whole, name))
		b, err2 := os.ReadFile(filepath.Join(dir, name))
		if err != nil || err2 != nil || !bytes.Equal(a, b) || len(a) == 0 {
			t.Errorf("%s: %v, %v, or another", name, err, err2)
		}
	}
	c, asked = config(t, dir, 1, 0)
	c.Samples = 5 // more of them
	if _, err := c.Run(t.Context()); err != nil || asked.Load() != jobsOfConfig/4 {
		t.Errorf("%d questions, %v", asked.Load(), err)
	}
	c, _ = config(t, dir, 1, 0)
	c.Seed++
	if _, err := c.Run(t.Context()); !errors.Is(err, ErrResults) || !strings.Contains(err.Error(), `seed was "42", and is "43"`) {
		t.Errorf("another seed: %v", err)
	}
}

func TestRunEnds(t *testing.T) {
	c, asked := config(t, t.TempDir(), 2, 0)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	c.Progress = func(done, _ int, _ string) {
		if done == 5 {
			cancel(stop)
		}
	}
	if _, err := c.Run(ctx); !errors.Is(err, stop) || asked.Load() > 8 {
		t.Errorf("%d questions, %v", asked.Load(), err)
	}
}

func TestRunRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"nothing to ask": {func(c *Config) { c.Tasks = nil }, "at least one"},
		"too short":      {func(c *Config) { c.Lengths = []int{1500, 60} }, "ask for longer"},
		"no engine":      {func(c *Config) { c.Tasks = []string{"ppl"} }, "server"},
		"no such task":   {func(c *Config) { c.Tasks = []string{"niah", "dance"} }, "dance"},
	} {
		t.Run(name, func(t *testing.T) {
			c, asked := config(t, t.TempDir(), 1, 0)
			tc.change(c)
			if _, err := c.Run(t.Context()); !errors.Is(err, ErrTask) || !strings.Contains(err.Error(), tc.says) || asked.Load() > 0 {
				t.Errorf("%v, want %q; %d questions", err, tc.says, asked.Load())
			}
		})
	}
}

// The summary's numbers, by hand.
func TestSummary(t *testing.T) {
	score := func(v float64) *float64 { return &v }
	records := []Record{
		{Setting: Setting{Method: "full"}, Task: "niah", Length: 9, Index: 1, Score: score(1), Depth: score(1), PromptTokens: 100, CachedTokens: 20, PrefillSeconds: 2, CompletionTokens: 5, DecodeSeconds: 0.5, KVBytes: 10, KVFullBytes: 40, Selected: 10, Hits: 5},
		{Setting: Setting{Method: "full"}, Task: "niah", Length: 9, Index: 0, Score: score(0), Depth: score(0), PromptTokens: 40, PrefillSeconds: 1, CompletionTokens: 5, DecodeSeconds: 0.5, KVBytes: 20, KVFullBytes: 20},
		{Setting: Setting{Method: "full"}, Task: "niah", Length: 9, Index: 2, Score: score(1), Depth: score(0)},
		{Setting: Setting{Method: "full"}, Task: "longbench_v2", Length: 9, Score: score(1), Groups: []string{"easy", "short"}},
		{Setting: Setting{Method: "full"}, Task: "longbench_v2", Length: 9, Index: 1, Score: score(0), Groups: []string{"hard", "short"}},
	}
	s := Summarise(nil, records)
	slices.Reverse(records)
	if again := Summarise(nil, records); !reflect.DeepEqual(s, again) {
		t.Error("the order of the records matters")
	}
	c := s.Settings[0].Cells[0]
	if c.Task != "niah" || c.Score != 66.67 || c.Samples != 3 || c.PrefillSpeed != 40 || c.DecodeSpeed != 8 || c.KVBytes != 10 || c.KVShare != 0.5 || c.HitRate != 0.5 ||
		!slices.Equal(c.Depths, []DepthShare{{0, Share{50, 2}}, {1, Share{100, 1}}}) {
		t.Errorf("%+v", c)
	}
	c = s.Settings[0].Cells[1]
	if c.Score != 50 || !maps.Equal(c.Groups, map[string]Share{"easy": {100, 1}, "hard": {0, 1}, "short": {50, 2}}) {
		t.Errorf("%+v", c)
	}
	if table := s.Table(); !strings.Contains(table, "| niah | 9 | 66.67 (3) |") || !strings.Contains(table, "| niah | 9 | 10 (50.0 %) |") {
		t.Error(table)
	}
	all := SettingSummary{}
	for i, name := range rulerTasks {
		all.Cells = append(all.Cells, Cell{Task: name, Length: 5, Score: float64(i)}, Cell{Task: name, Length: 6 + i, Score: 1})
	}
	if !maps.Equal(all.Averages(), map[int]float64{5: 6}) {
		t.Errorf("averages %v", all.Averages())
	}
}

// Windows predict every token of a book once, as lm-eval's do: behind the token that begins a text, then behind the token before; the
// last one is filled up from before.
func TestWindows(t *testing.T) {
	for name, tc := range map[string]struct {
		tokens, predicts int
		want             string
	}{
		"one":   {3, 5, "[99 0 1 2]:1"},
		"exact": {4, 2, "[99 0 1]:1 [1 2 3]:1"},
		"rest":  {5, 2, "[99 0 1]:1 [1 2 3]:1 [2 3 4]:2"},
		"long":  {7, 5, "[99 0 1 2 3 4]:1 [1 2 3 4 5 6]:4"},
	} {
		t.Run(name, func(t *testing.T) {
			book := make([]int32, tc.tokens)
			for i := range book {
				book[i] = int32(i)
			}
			var got []string
			for i := 0; ; i++ {
				ids, from := window(book, 99, i, tc.predicts)
				if ids == nil {
					break
				}
				got = append(got, fmt.Sprintf("%v:%d", ids, from))
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("%v, want %s", got, tc.want)
			}
		})
	}
	l := []*Loss{{NLL: 6, Tokens: 3, Windows: 2, Words: 2, Bytes: 10}, {NLL: 4, Tokens: 2, Windows: 2, Words: 2, Bytes: 10}}
	p := perplexityOf(l)
	if p.Perplexity != math.Exp(2) || p.Word == nil || *p.Word != math.Exp(5) || *p.Byte != math.Exp(1) {
		t.Errorf("%+v", p)
	}
	if p := perplexityOf(l[:1]); p.Word != nil {
		t.Error("a part of a book has a perplexity by words")
	}
	if n := wordCount(" a b\n\nc"); n != 4 { // as len(re.split(r"\s+", …))
		t.Errorf("%d words", n)
	}
}

// A pool keeps what was used last; without a size it keeps each head's last selection.
func TestPool(t *testing.T) {
	kept, lru := NewPool(0, 1, 0), NewPool(1.5, 1, 3)
	for _, chosen := range [][]int32{{0, 1, 9}, {0, 2, 9}, {0, 1, 9}, {0, 1, 9}} {
		kept.Step(0, 0, 9, chosen, true)
		lru.Step(0, 0, 9, chosen, true)
	}
	if got := kept.Layers[0]; got != (Hits{12, 4 + 3 + 1}) { // 9 four times, 0 three times, 1 once
		t.Errorf("the last selection: %+v", got)
	}
	if got := lru.Layers[0]; got != (Hits{12, 4 + 3 + 1}) {
		t.Errorf("3 slots: %+v", got)
	}
	lru = NewPool(2, 1, 4)
	for _, chosen := range [][]int32{{0, 1, 9}, {0, 2, 9}, {0, 1, 9}} {
		lru.Step(0, 0, 9, chosen, true)
	}
	if got := lru.Layers[0]; got != (Hits{9, 3 + 2 + 1}) { // 1 was still there
		t.Errorf("4 slots: %+v", got)
	}
	if want := []Hits{{3, 3}, {}, {}, {1, 0}, {5, 3}}; !slices.Equal(lru.Distances, want) { // the own block; 7, 8 and 9 before it
		t.Errorf("distances %+v, want %+v", lru.Distances, want)
	}
}
