package eval

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
)

// Summary is what results come to. Scores are means in per cent, rounded to two digits as the benchmarks' own are.
type Summary struct {
	Version  int               `json:"nosa_eval"`
	Run      map[string]string `json:"run"`
	Settings []SettingSummary  `json:"settings"`
}

// SettingSummary is one setting's part.
type SettingSummary struct {
	Setting
	Name  string `json:"name"`
	Cells []Cell `json:"cells"` // by task, then by length
}

// Cell is a task at a length.
type Cell struct {
	Task    string  `json:"task"`
	Length  int     `json:"length"`
	Samples int     `json:"samples"`
	Score   float64 `json:"score"` // of measures: 0

	Groups map[string]Share `json:"groups,omitempty"` // parts of the task
	Depths []DepthShare     `json:"depths,omitempty"` // of the NIAH grid

	PrefillSpeed float64 `json:"prefill_ts,omitempty"`    // tokens per second, all samples together
	DecodeSpeed  float64 `json:"decode_ts,omitempty"`     // of a sample
	KVBytes      float64 `json:"kv_bytes,omitempty"`      // held by a sample, on average
	KVFullBytes  float64 `json:"kv_full_bytes,omitempty"` // as much text, with full attention and no policy
	KVShare      float64 `json:"kv_share,omitempty"`      // of all samples together
	HitRate      float64 `json:"hit_rate,omitempty"`      // of selected blocks in slots

	Perplexity *Perplexity `json:"perplexity,omitempty"`
	Fidelity   *Fidelity   `json:"fidelity,omitempty"`
	Locality   *Locality   `json:"locality,omitempty"`
}

// Share is a score of some samples.
type Share struct {
	Score   float64 `json:"score"`
	Samples int     `json:"samples"`
}

// DepthShare is that of a depth, 0 to 1.
type DepthShare struct {
	Depth float64 `json:"depth"`
	Share
}

// tally adds scores up.
type tally struct {
	sum float64
	n   int
}

func (t *tally) add(score float64) { t.sum, t.n = t.sum+score, t.n+1 }

func (t tally) share() Share { return Share{percent(t.sum, t.n), t.n} }

// percent is a mean in per cent to two digits, halves to even, as Python rounds.
func percent(sum float64, n int) float64 {
	if n == 0 {
		return 0
	}
	return math.RoundToEven(sum/float64(n)*100*100) / 100
}

// Summarise adds records up, in an order that does not depend on that in which they came.
func Summarise(run map[string]string, records []Record) *Summary {
	sorted := slices.Clone(records)
	slices.SortStableFunc(sorted, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Method, b.Method), cmp.Compare(a.Policy, b.Policy), cmp.Compare(order(a.Task), order(b.Task)),
			cmp.Compare(a.Task, b.Task), cmp.Compare(a.Length, b.Length), cmp.Compare(a.Index, b.Index))
	})
	s := &Summary{Version: version, Run: run}
	for len(sorted) > 0 {
		first, n := sorted[0].key(), 1
		first.index = 0
		for ; n < len(sorted); n++ {
			k := sorted[n].key()
			if k.index = 0; k != first {
				break
			}
		}
		if m := len(s.Settings); m == 0 || s.Settings[m-1].Setting != first.Setting {
			s.Settings = append(s.Settings, SettingSummary{Setting: first.Setting, Name: first.Name()})
		}
		last := &s.Settings[len(s.Settings)-1]
		last.Cells = append(last.Cells, cellOf(sorted[:n]))
		sorted = sorted[n:]
	}
	return s
}

// order is a task's place among all.
func order(task string) int {
	if i := slices.Index(TaskNames(), task); i >= 0 {
		return i
	}
	return math.MaxInt
}

// cellOf adds the samples of a task, length and setting up.
func cellOf(records []Record) Cell {
	c := Cell{Task: records[0].Task, Length: records[0].Length, Samples: len(records)}
	var all tally
	groups, depths := map[string]*tally{}, map[float64]*tally{}
	of := func(t *tally) *tally {
		if t == nil {
			return &tally{}
		}
		return t
	}
	var prefilled, decoded, prefill, decode, held, full float64
	var selected, hits int64
	var losses []*Loss
	var fidelities []*Fidelity
	var localities []*Locality
	for _, r := range records {
		if r.Score != nil {
			all.add(*r.Score)
			for _, g := range r.Groups {
				groups[g] = of(groups[g])
				groups[g].add(*r.Score)
			}
			if r.Depth != nil && r.Task == "niah" {
				depths[*r.Depth] = of(depths[*r.Depth])
				depths[*r.Depth].add(*r.Score)
			}
		}
		prefilled, prefill = prefilled+float64(r.PromptTokens-r.CachedTokens), prefill+r.PrefillSeconds
		decoded, decode = decoded+float64(max(r.CompletionTokens-1, 0)), decode+r.DecodeSeconds
		held, full = held+float64(r.KVBytes), full+float64(r.KVFullBytes)
		selected, hits = selected+r.Selected, hits+r.Hits
		if r.Loss != nil {
			losses = append(losses, r.Loss)
		}
		if r.Fidelity != nil {
			fidelities = append(fidelities, r.Fidelity)
		}
		if r.Locality != nil {
			localities = append(localities, r.Locality)
		}
	}
	c.Score = all.share().Score
	for g, t := range groups {
		if c.Groups == nil {
			c.Groups = map[string]Share{}
		}
		c.Groups[g] = t.share()
	}
	for d, t := range depths {
		c.Depths = append(c.Depths, DepthShare{d, t.share()})
	}
	slices.SortFunc(c.Depths, func(a, b DepthShare) int { return cmp.Compare(a.Depth, b.Depth) })
	n := float64(len(records))
	c.KVBytes, c.KVFullBytes = held/n, full/n
	c.PrefillSpeed, c.DecodeSpeed, c.KVShare = over(prefilled, prefill), over(decoded, decode), over(held, full)
	c.HitRate = over(float64(hits), float64(selected))
	if losses != nil {
		c.Perplexity = perplexityOf(losses)
	}
	if fidelities != nil {
		c.Fidelity = fidelityOf(fidelities)
	}
	if localities != nil {
		c.Locality = localityOf(localities)
	}
	return c
}

func over(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Averages are the means of RULER's thirteen by length, of those lengths that all of them have a score for.
func (s *SettingSummary) Averages() map[int]float64 {
	sums := map[int]*tally{}
	for _, c := range s.Cells {
		if slices.Contains(rulerTasks, c.Task) {
			if sums[c.Length] == nil {
				sums[c.Length] = &tally{}
			}
			sums[c.Length].add(c.Score)
		}
	}
	out := map[int]float64{}
	for length, t := range sums {
		if t.n == len(rulerTasks) {
			out[length] = t.sum / float64(t.n)
		}
	}
	return out
}

// write puts the summary and its table into a folder, in the place of those that are there.
func (s *Summary) write(dir string) error {
	data, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{SummaryFile: append(data, '\n'), TableFile: []byte(s.Table())} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path+".new", text, 0o666); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return nil
}

// mostSummary bounds a summary that is read.
const mostSummary = 64 << 20

// ErrSummary is returned for what is no summary.
var ErrSummary = errors.New("no summary of nosa eval")

// ReadSummary reads a summary, and refuses one whose numbers nothing can be drawn of.
func ReadSummary(in io.Reader) (*Summary, error) {
	data, err := io.ReadAll(io.LimitReader(in, mostSummary+1))
	if err != nil {
		return nil, err
	}
	if len(data) > mostSummary {
		return nil, fmt.Errorf("it has more than %d MiB: %w", mostSummary>>20, ErrSummary)
	}
	s := &Summary{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSummary, err)
	}
	if s.Version != version {
		return nil, fmt.Errorf("it has version %d, want %d: %w", s.Version, version, ErrSummary)
	}
	for _, set := range s.Settings {
		for _, c := range set.Cells {
			if c.Length < 0 || c.Samples < 0 || c.Score < 0 || c.Score > 100 || c.KVShare < 0 || c.DecodeSpeed < 0 {
				return nil, fmt.Errorf("%s, %s at %d: a number is out of range: %w", set.Name, c.Task, c.Length, ErrSummary)
			}
			for _, d := range c.Depths {
				if !(d.Depth >= 0 && d.Depth <= 1 && d.Score >= 0 && d.Score <= 100) {
					return nil, fmt.Errorf("%s, %s at %d: depth %g, score %g: %w", set.Name, c.Task, c.Length, d.Depth, d.Score, ErrSummary)
				}
			}
		}
	}
	return s, nil
}
