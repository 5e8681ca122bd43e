package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"nosa/compute"
	"nosa/train"
	"nosa/train/corpus"
)

// TrainCmd trains a model as a file says.
type TrainCmd struct {
	Config     string `arg:"" optional:"" placeholder:"CONFIG" help:"TOML file that describes the run (docs/train.md). A run that was stopped goes on."`
	HelpConfig bool   `help:"Print every field of CONFIG with its meaning and default."`

	Device  string `default:"cpu" help:"cpu, where activations are float32, or cuda[:n], where they are bfloat16; several, with commas, compute side by side."`
	Threads int    `placeholder:"N" help:"Threads; by default one per processor that this process may use."`
}

// trained is what --json says at the end.
type trained struct {
	Path   string `json:"path"`
	Steps  int    `json:"steps"`
	Tokens int64  `json:"tokens"`
}

// maxTrainConfig is the largest file that is read as a config.
const maxTrainConfig = 1 << 20

// Run implements the command.
func (c *TrainCmd) Run(ctx context.Context, g *Globals) (err error) {
	if c.HelpConfig {
		return train.WriteFields(g.Stdout)
	}
	if c.Config == "" {
		return usage("name a CONFIG: --help-config shows what it says")
	}
	cfg, text, err := readTrainConfig(c.Config)
	if err != nil {
		return err
	}
	devices, err := c.openDevices(g)
	if err != nil {
		return err
	}
	defer func() {
		for _, dev := range devices {
			err = errors.Join(err, dev.Close())
		}
	}()
	job := train.Job{Config: cfg, Text: text, Devices: devices, Note: func(s string) { g.note("%s", s) }}
	feeds, err := c.openFeeds(ctx, g, &job)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, feeds.close()) }()
	return c.train(ctx, g, job)
}

// openDevices opens every device that --device names.
func (c *TrainCmd) openDevices(g *Globals) (devices []compute.Trainer, err error) {
	defer func() {
		if err != nil {
			for _, dev := range devices {
				err = errors.Join(err, dev.Close())
			}
		}
	}()
	for _, name := range strings.Split(c.Device, ",") {
		dev, err := newTrainer(name, c.Threads, g.Getenv(levelVariable))
		if err != nil {
			return devices, err
		}
		devices = append(devices, dev)
	}
	return devices, nil
}

func readTrainConfig(path string) (*train.Config, []byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, reason(err))
	}
	if !info.Mode().IsRegular() || info.Size() > maxTrainConfig {
		return nil, nil, fmt.Errorf("%s: is no file of at most 1 MiB, which a config is", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, reason(err))
	}
	cfg, err := train.Parse(path, text)
	return cfg, text, err
}

// feeds are the data of a run.
type feeds []*train.Feed

func (f feeds) close() error {
	var errs []error
	for _, one := range f {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

// openFeeds tokenises what is not yet, and hands the data to the job.
func (c *TrainCmd) openFeeds(ctx context.Context, g *Globals, job *train.Job) (f feeds, err error) {
	cfg := job.Config
	if len(cfg.Corpus.Train) == 0 {
		return nil, fmt.Errorf("%s: there is no [[corpus.train]], so nothing to train on", c.Config)
	}
	folder := cmp.Or(cfg.Model.Tokenizer, cfg.Model.Path)
	if folder == "" {
		return nil, fmt.Errorf("%s: model.tokenizer names no folder, and texts need one", c.Config)
	}
	if job.Vocabulary, err = corpus.ReadVocabulary(folder); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	open := func(list []train.SourceConfig, heldOut bool) (*train.Feed, error) {
		var bar *progress
		last := ""
		feed, err := train.OpenFeed(ctx, cfg, list, train.FeedOptions{
			Vocabulary: job.Vocabulary, HeldOut: heldOut, Threads: c.Threads,
			Progress: func(what string, done, total int64) {
				if what != last {
					bar.Finish()
					bar, last = newProgress(g, "tokenise "+filepath.Base(what), total, "bytes"), what
				}
				bar.Note(done, total, "")
			},
		})
		bar.Finish()
		if err == nil {
			f = append(f, feed)
		}
		return feed, err
	}
	feed, err := open(cfg.Corpus.Train, false)
	if err != nil {
		return f, err
	}
	job.Train = feed
	if len(cfg.Corpus.Heldout) > 0 {
		if feed, err = open(cfg.Corpus.Heldout, true); err != nil {
			return f, err
		}
		job.Heldout = feed
	}
	return f, nil
}

// train runs the job and tells how it goes.
func (c *TrainCmd) train(ctx context.Context, g *Globals, job train.Job) (err error) {
	var bar *progress
	eval := ""
	job.Report = func(r train.Record) {
		if g.JSON {
			_ = writeJSON(g.Stdout, r) // the error is kept by Stdout, and told at the end
		}
		if r.Eval != nil {
			eval = fmt.Sprintf(", held-out %.3f", *r.Eval)
			return
		}
		bar.Note(r.Tokens, int64(job.Config.Steps())*int64(job.Config.Batch.Tokens), fmt.Sprintf("step %d, loss %.3f%s", r.Step, r.Loss, eval))
	}
	run, err := train.Open(job)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, run.Close()) }()
	all, some := run.Parameters().Count()
	g.note("%d parameters, %d of them trained, from step %d of %d", all, some, run.Steps(), job.Config.Steps())
	bar = newProgress(g, "train", 0, "tokens")
	err = run.Do(ctx)
	bar.Finish()
	if err != nil {
		return err
	}
	path := run.LastCheckpoint()
	if g.JSON {
		return writeJSON(g.Stdout, trained{Path: path, Steps: run.Steps(), Tokens: run.Tokens()})
	}
	g.Stdout.Printf("%s\n", path)
	return nil
}
