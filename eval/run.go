package eval

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
)

// Answer is what came of a question.
type Answer struct {
	Text                       string
	Prompt, Cached, Completion int // tokens; Cached of the prompt were there already
	Prefill, Decode            float64
	KVBytes, KVFullBytes       int64
	Selected, Hits             int64
}

// Answerer answers questions, several side by side.
type Answerer interface {
	Ask(ctx context.Context, s *Sample) (Answer, error)
	Close() error
}

// Config is what is to be evaluated.
type Config struct {
	Material
	Tasks    []string // and measures
	Settings []Setting
	Lengths  []int // tokens of prompt and answer
	Samples  int   // of each task and length
	Margin   int   // tokens of a length that are kept free, as for a chat's template
	Parallel int   // questions at a time; 0: 1
	Dir      string
	// Facts are what all results of a folder have in common, such as the model's name.
	Facts map[string]string

	// Answerer opens what answers by a setting, for texts of so many tokens.
	Answerer func(ctx context.Context, s Setting, longest int) (Answerer, error)
	// Start starts an engine for a measure; nil: there is none, as where a server answers.
	Start Start
	// Progress is told how many samples of how many are done.
	Progress func(done, total int, what string)
}

// The files of a folder of results.
const (
	ResultsFile = "samples.jsonl"
	SummaryFile = "summary.json"
	TableFile   = "table.md"
)

// job is a sample that is left to do.
type job struct {
	Setting
	task          Task   // nil: a measure
	probe         *probe // likewise
	length, index int
}

func (j *job) name() string {
	if j.probe != nil {
		return j.probe.name
	}
	return j.task.Name()
}

// Run does what is left to do, and writes the summary and its table beside the results. When ctx ends, what has been done is
// kept, and a rerun goes on.
func (c *Config) Run(ctx context.Context) (*Summary, error) {
	if c.Samples < 1 || len(c.Settings) == 0 || len(c.Tasks) == 0 || len(c.Lengths) == 0 {
		return nil, fmt.Errorf("want at least one task, setting, length and sample: %w", ErrTask)
	}
	if err := os.MkdirAll(c.Dir, 0o777); err != nil {
		return nil, err
	}
	jobs, err := c.jobs()
	if err != nil {
		return nil, err
	}
	run := maps.Clone(c.Facts)
	if run == nil {
		run = map[string]string{}
	}
	run["seed"] = fmt.Sprint(c.Seed)
	r, err := openResults(filepath.Join(c.Dir, ResultsFile), run)
	if err != nil {
		return nil, err
	}
	err = c.work(ctx, r, jobs)
	if err = errors.Join(err, r.close()); err != nil {
		return nil, err
	}
	s := Summarise(run, r.records)
	return s, s.write(c.Dir)
}

// jobs is all that there is to do, in order.
func (c *Config) jobs() (jobs []job, err error) {
	names, err := c.names(c.Tasks)
	if err != nil {
		return nil, err
	}
	tasks, measures := make([]Task, len(names)), make([]*probe, len(names))
	for i, name := range names {
		if measures[i] = probeOf(name); measures[i] != nil {
			switch {
			case c.Start == nil:
				return nil, fmt.Errorf("%s looks into an engine: a server can not be asked for it: %w", name, ErrTask)
			case c.Book == "":
				return nil, fmt.Errorf("%s reads running text: give --book FILE: %w", name, ErrTask)
			}
			continue
		}
		if tasks[i], err = newTask(name, &c.Material); err != nil {
			return nil, err
		}
	}
	for _, t := range tasks {
		for _, length := range c.Lengths {
			if t == nil {
				break
			}
			if _, err := t.Sample(length-c.Margin, 0); err != nil { // now, and not after hours
				return nil, err
			}
		}
	}
	for _, s := range c.Settings {
		for i := range names {
			most := c.Samples
			if t := tasks[i]; t != nil && t.Most() > 0 {
				most = min(most, t.Most())
			}
			for _, length := range c.Lengths {
				for index := range most {
					jobs = append(jobs, job{s, tasks[i], measures[i], length, index})
				}
			}
		}
	}
	return jobs, nil
}

// work does the jobs that have no record yet: a setting's questions side by side, then its measures.
func (c *Config) work(ctx context.Context, r *results, jobs []job) error {
	done, total := 0, len(jobs)
	tell := func(what string) {
		if c.Progress != nil {
			c.Progress(done, total, what)
		}
	}
	left := map[Setting][2][]job{} // questions, measures
	for _, j := range jobs {
		if r.done[key{j.Setting, j.name(), j.length, j.index}] {
			done++
			continue
		}
		l, kind := left[j.Setting], 0
		if j.probe != nil {
			kind = 1
		}
		l[kind] = append(l[kind], j)
		left[j.Setting] = l
	}
	tell("")
	add := func(rec Record) error {
		if err := r.add(rec); err != nil {
			return err
		}
		done++
		tell(rec.Name() + " " + rec.Task)
		return nil
	}
	for _, s := range c.Settings {
		questions, measures := left[s][0], left[s][1]
		delete(left, s) // a setting that is named twice
		if err := c.ask(ctx, s, questions, add); err != nil {
			return err
		}
		skip := func(n int) {
			total -= n
			tell("")
		}
		if err := c.measure(ctx, s, measures, add, skip); err != nil {
			return err
		}
	}
	return nil
}

// ask answers questions, as many at a time as Parallel says.
func (c *Config) ask(ctx context.Context, s Setting, jobs []job, add func(Record) error) (err error) {
	if len(jobs) == 0 {
		return nil
	}
	longest := 0
	for _, j := range jobs {
		longest = max(longest, j.length)
	}
	a, err := c.Answerer(ctx, s, longest)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan job)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range min(max(c.Parallel, 1), len(jobs)) {
		wg.Go(func() {
			for j := range next {
				rec, err := question(ctx, a, &j, c.Margin)
				mu.Lock()
				if err == nil {
					err = add(*rec)
				}
				mu.Unlock()
				if err != nil {
					cancel(fmt.Errorf("%s: %s, length %d, sample %d: %w", s.Name(), j.name(), j.length, j.index, err))
				}
			}
		})
	}
	for _, j := range jobs {
		select {
		case next <- j:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

// question asks one and scores the answer.
func question(ctx context.Context, a Answerer, j *job, margin int) (*Record, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	s, err := j.task.Sample(j.length-margin, j.index)
	if err != nil {
		return nil, err
	}
	got, err := a.Ask(ctx, s)
	if err != nil {
		return nil, err
	}
	score := j.task.Score(s, got.Text)
	rec := &Record{
		Setting: j.Setting, Task: s.Task, Length: j.length, Index: s.Index, Score: &score, Groups: s.Group, Answer: got.Text, Wanted: s.Answers,
		PromptTokens: got.Prompt, CachedTokens: got.Cached, CompletionTokens: got.Completion, PrefillSeconds: got.Prefill, DecodeSeconds: got.Decode,
		KVBytes: got.KVBytes, KVFullBytes: got.KVFullBytes, Selected: got.Selected, Hits: got.Hits,
	}
	if s.Depth >= 0 {
		rec.Depth = &s.Depth
	}
	return rec, nil
}

// measure looks into an engine, one sample after the other; those of one measure and length share it. Where
// there is no more, as behind the end of the book, the rest is skipped.
func (c *Config) measure(ctx context.Context, s Setting, jobs []job, add func(Record) error, skip func(int)) error {
	for len(jobs) > 0 {
		n := 1
		for n < len(jobs) && jobs[n].probe == jobs[0].probe && jobs[n].length == jobs[0].length {
			n++
		}
		if err := c.measureAll(ctx, s, jobs[:n], add, skip); err != nil {
			return fmt.Errorf("%s: %s, length %d: %w", s.Name(), jobs[0].name(), jobs[0].length, err)
		}
		jobs = jobs[n:]
	}
	return nil
}

func (c *Config) measureAll(ctx context.Context, s Setting, jobs []job, add func(Record) error, skip func(int)) (err error) {
	session, err := jobs[0].probe.open(ctx, c, s, jobs[0].length)
	if errors.Is(err, errNoMore) {
		skip(len(jobs))
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	for i, j := range jobs {
		rec := Record{Setting: s, Task: j.name(), Length: j.length, Index: j.index}
		if err := session.sample(ctx, j.index, &rec); errors.Is(err, errNoMore) {
			skip(len(jobs) - i)
			return nil
		} else if err != nil {
			return err
		}
		if err := add(rec); err != nil {
			return err
		}
	}
	return nil
}
