package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"nosa/train/corpus"
)

// Feed is a Source over collections of texts and needles, mixed by their weights. A change of the
// context begins an order of its own: documents are cut in another way then.
type Feed struct {
	sources []corpus.Source
	sets    []*corpus.Set
	seed    uint64
	context int // 0: not begun
	sampler *corpus.Sampler
	batch   *corpus.Batch
}

// feedState is a Feed's place.
type feedState struct {
	Context int          `json:"context"`
	Sampler corpus.State `json:"sampler"`
}

// FeedOptions say how a Feed is prepared.
type FeedOptions struct {
	Vocabulary *corpus.Vocabulary
	HeldOut    bool // needles with keys that training documents never have
	Threads    int
	Progress   func(what string, done, total int64)
}

// OpenFeed turns what is not tokenised yet into shards, and opens them.
func OpenFeed(ctx context.Context, c *Config, list []SourceConfig, o FeedOptions) (_ *Feed, err error) {
	f := &Feed{seed: c.Seed}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("train: corpus: %w", err), f.Close())
		}
	}()
	shards := c.Corpus.Shards
	if shards == "" {
		shards = filepath.Join(c.Out, "shards")
	}
	for i, s := range list {
		src := corpus.Source{Name: s.Path, Weight: s.Weight}
		if s.Path != "" {
			set, err := corpus.Prepare(ctx, shards, corpus.Options{
				Vocabulary: o.Vocabulary, Path: s.Path, Format: corpus.Format(s.Format), Field: s.Field, Threads: o.Threads,
				Progress: func(done, total int64) {
					if o.Progress != nil {
						o.Progress(s.Path, done, total)
					}
				},
			})
			if err != nil {
				return f, err
			}
			f.sets, src.Set = append(f.sets, set), set
		}
		if s.Needles > 0 {
			needles, err := corpus.NewNeedles(corpus.NeedleConfig{
				Vocabulary: o.Vocabulary, Filler: src.Set, Seed: c.Seed + uint64(i), HeldOut: o.HeldOut, Keys: s.Needles,
				Questions: s.Questions, Digits: s.Digits, Min: s.Shortest, Max: s.Longest, AnswerOnly: s.AnswerOnly,
			})
			if err != nil {
				return f, err
			}
			src = corpus.Source{Name: "needles", Needles: needles, Weight: s.Weight}
		}
		f.sources = append(f.sources, src)
	}
	return f, nil
}

// begin makes the order of a context.
func (f *Feed) begin(context int) (err error) {
	f.context = context
	f.sampler, err = corpus.NewSampler(corpus.SamplerConfig{Seed: f.seed, Context: context, Sources: f.sources})
	return err
}

// Next: see Source.
func (f *Feed) Next(n, context int) (Rows, error) {
	if context != f.context {
		if err := f.begin(context); err != nil {
			return Rows{}, err
		}
	}
	if f.batch == nil || len(f.batch.Tokens) != n {
		f.batch = corpus.NewBatch(n)
	}
	if err := f.sampler.Next(f.batch); err != nil {
		return Rows{}, err
	}
	return Rows{IDs: f.batch.Tokens, Targets: f.batch.Targets, Begins: f.batch.Begins}, nil
}

// State: see Source.
func (f *Feed) State() ([]byte, error) {
	if f.sampler == nil {
		return json.Marshal(feedState{})
	}
	return json.Marshal(feedState{f.context, f.sampler.State()})
}

// Restore: see Source.
func (f *Feed) Restore(state []byte) error {
	var s feedState
	if err := json.Unmarshal(state, &s); err != nil {
		return err
	}
	if s.Context == 0 {
		f.context, f.sampler = 0, nil
		return nil
	}
	if err := f.begin(s.Context); err != nil {
		return err
	}
	return f.sampler.Restore(s.Sampler)
}

// Tokens of all texts.
func (f *Feed) Tokens() (n uint64) {
	for _, s := range f.sets {
		n += s.Tokens()
	}
	return n
}

// Close gives the shards back.
func (f *Feed) Close() error {
	var errs []error
	for _, s := range f.sets {
		errs = append(errs, s.Close())
	}
	f.sets = nil
	return errors.Join(errs...)
}
