package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"nosa/bench"
	"nosa/builtin"
	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/engine"
	"nosa/weights"
)

// BenchGroup is `nosa bench MODEL` and the commands that measure one thing.
type BenchGroup struct {
	Model   BenchCmd        `cmd:"" default:"withargs" hidden:"" help:"Measure how fast a model runs on this machine."`
	Prefill BenchPrefillCmd `cmd:"" help:"Measure the prompt of one long sequence on a GPU."`
	Decode  BenchDecodeCmd  `cmd:"" help:"Measure decode steps of many long sequences on a GPU."`
	Train   BenchTrainCmd   `cmd:"" help:"Measure training steps."`
	Serve   BenchServeCmd   `cmd:"" help:"Measure how a server of the OpenAI API answers under load."`
}

// BenchCmd measures how fast a model runs on this machine.
type BenchCmd struct {
	ModelFlags `embed:""`
	Attention  struct{} `kong:"-"` // takes the place of the flag that names one method

	Methods []string `name:"attention" default:"auto" enum:"auto,full,infllmv2,dma,nosa" help:"Methods to measure, separated by commas: ${enum}."`
	Shape   string   `placeholder:"NAME[:DTYPE]" help:"In place of MODEL: random weights of the size 135m, 1b, 1.1b, 3b or 8b, in q8_0, q4_0, f16, bf16 or f32."`
	Prompt  []int    `default:"512" placeholder:"N,…" help:"Prompt lengths, in tokens; 0: no prefill (${default})."`
	Gen     int      `default:"64" placeholder:"N" help:"Tokens to generate; 0: no decode (${default})."`
	Depth   []int    `default:"0" placeholder:"N,…" help:"Tokens that are in the cache beforehand (${default})."`
	Batch   []int    `default:"1" placeholder:"N,…" help:"Sequences that are decoded together (${default})."`
	Repeat  int      `default:"5" placeholder:"N" help:"Runs of each test (${default})."`
	Text    string   `placeholder:"FILE" help:"Text to run over, - for standard input; by default the tokens are pseudo-random."`

	Compare     string        `placeholder:"PATH" help:"llama.cpp's llama-bench, or its folder: run it on the same file, in turn with ours."`
	CompareFA   string        `name:"compare-fa" default:"both" enum:"both,0,1" help:"Its flash attention: ${enum}; of both, the faster one counts."`
	PeerRepeat  int           `name:"peer-repeat" placeholder:"N" help:"Processes of it for a test at 8192 tokens and more, each of which takes several samples; by default one a sample."`
	PeerTimeout time.Duration `name:"peer-timeout" default:"1h" placeholder:"T" help:"For one process of it (${default})."`
}

// Help names the commands beside it.
func (c *BenchCmd) Help() string {
	return "nosa bench serve measures a server under load, nosa bench prefill and nosa bench decode prompts and steps on a GPU, nosa bench train steps of training: see their own --help."
}

// Run implements the command.
func (c *BenchCmd) Run(ctx context.Context, g *Globals) (err error) {
	o, err := c.options()
	if err != nil {
		return err
	}
	config := bench.Config{
		Sweep:  bench.Sweep{Prompts: c.Prompt, Gen: c.Gen, Depths: c.Depth, Batches: c.Batch},
		KVType: o.KVType.String(), Threads: c.Threads, Repeat: c.Repeat,
	}
	if err := c.check(config.Sweep); err != nil {
		return err
	}
	if config.Threads == 0 {
		config.Threads = cpu.Threads()
	}
	if c.Compare != "" {
		if config.Peer, err = c.peer(config.Threads); err != nil {
			return err
		}
	}
	if c.Shape != "" {
		folder, err := c.random(ctx, g)
		defer func() { _ = os.RemoveAll(folder) }() // in the system's folder for what is temporary
		if err != nil {
			return err
		}
	}
	dev, err := c.openDevice(g)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	config.Numerics = c.Numerics
	if d, ok := dev.(interface{ Numerics() string }); ok { // which auto is on this device
		config.Numerics = d.Numerics()
	}
	defer func() {
		for _, l := range config.Lanes {
			err = errors.Join(err, l.Engine.Close())
		}
	}()
	if err := c.lanes(ctx, g, dev, o, &config); err != nil {
		return err
	}
	return c.measure(ctx, g, config)
}

// check refuses what needs no model to be refused.
func (c *BenchCmd) check(s bench.Sweep) error {
	switch {
	case c.Shape != "" && c.Model != builtin.Name:
		return usage("MODEL and --shape: give one of them")
	case c.Repeat < 1 || c.Repeat > 1000:
		return usage("--repeat %d: want 1 to 1000", c.Repeat)
	case c.PeerRepeat < 0:
		return usage("--peer-repeat %d: want 1 or more", c.PeerRepeat)
	case c.PeerTimeout <= 0:
		return usage("--peer-timeout %s: want more than nothing", c.PeerTimeout)
	case c.Compare == "" && (c.PeerRepeat > 0 || c.CompareFA != "both"):
		return usage("--compare-fa and --peer-repeat belong to --compare")
	case c.Compare != "" && c.Shape == "" && c.Model == builtin.Name:
		return usage("--compare: llama-bench reads a file, and %s is none: write it to one with `nosa convert %s FILE.gguf --plain`", builtin.Name, builtin.Name)
	}
	if c.Shape != "" {
		if _, _, err := bench.ParseShape(c.Shape); err != nil {
			return usage("--shape: %v", err)
		}
	}
	if err := s.Check(); err != nil {
		return usage("%v", err)
	}
	return nil
}

// peer finds the program that we are compared with.
func (c *BenchCmd) peer(threads int) (*bench.Peer, error) {
	p, err := bench.FindPeer(c.Compare)
	if err != nil {
		return nil, fmt.Errorf("--compare: %w", err)
	}
	if p.Batched == "" && slices.ContainsFunc(c.Batch, func(n int) bool { return n > 1 }) && c.Gen > 0 {
		return nil, fmt.Errorf("--compare %s: there is no llama-batched-bench beside it, which --batch needs: build it, or leave out one of them", c.Compare)
	}
	p.Threads, p.Timeout, p.DeepRuns = threads, c.PeerTimeout, c.PeerRepeat
	switch c.CompareFA {
	case "0":
		p.Flash = []int{0}
	case "1":
		p.Flash = []int{1}
	}
	return p, nil
}

// random writes the model of --shape and puts it in MODEL's place. The folder is
// to be removed.
func (c *BenchCmd) random(ctx context.Context, g *Globals) (folder string, err error) {
	shape, format, err := bench.ParseShape(c.Shape)
	if err != nil {
		return "", err
	}
	if folder, err = os.MkdirTemp("", "nosa-bench-"); err != nil {
		return "", fmt.Errorf("a folder for the weights of --shape: %w", err)
	}
	c.Model = filepath.Join(folder, fmt.Sprintf("random-%s-%s.gguf", shape.Name, format))
	bar := newProgress(g, "random weights", 0, "bytes")
	defer bar.Finish()
	return folder, shape.WriteRandom(ctx, c.Model, format, 1, func(done, total int64) { bar.Note(done, total, "") })
}

// lanes opens an engine for each method, with room for what is measured, after the
// machine itself has been measured.
func (c *BenchCmd) lanes(ctx context.Context, g *Globals, dev compute.Device, o engine.Options, config *bench.Config) error {
	config.Model = filepath.Base(c.Model)
	for i, method := range c.Methods {
		src, err := c.source()
		if err != nil {
			return err
		}
		if err = c.prepare(ctx, g, src, &o, config); err == nil && i == 0 {
			config.Machine, err = bench.Probe(ctx, dev, dev.Info(), config.Threads, engine.Available())
		}
		if err != nil {
			return errors.Join(err, src.Close())
		}
		o.Attention = method
		e, err := engine.Open(dev, src, o, g.Log)
		if err != nil {
			return errors.Join(err, src.Close())
		}
		config.Lanes = append(config.Lanes, &bench.Lane{Engine: e, Options: o, Device: dev.Name()})
		if !g.JSON {
			g.note("%s", planLine(e.Plan(), dev.Info()))
			if note := e.Note(); note != "" {
				g.note("note: %s", note)
			}
		}
	}
	return nil
}

// prepare fits the context to what is measured, and refuses what does not fit
// before anything is loaded.
func (c *BenchCmd) prepare(ctx context.Context, g *Globals, src *engine.Source, o *engine.Options, config *bench.Config) error {
	need := config.Tokens()
	switch {
	case c.Context > 0 && need > c.Context:
		return usage("--context %d: the deepest test has %d tokens: raise it, or lower --depth, --prompt and --gen", c.Context, need)
	case c.Context == 0 && o.RopeType == "" && need > src.Config.MaxPositions:
		return fmt.Errorf("%w: the deepest test has %d tokens, the model was made for %d: lower --depth, --prompt and --gen, or say --context %d",
			engine.ErrContext, need, src.Config.MaxPositions, need)
	}
	o.Context, o.Sequences = max(c.Context, config.Context()), config.Sequences()
	if config.Peer != nil {
		if src.Checkpoint.Format() != weights.FormatGGUF {
			return usage("--compare: %s is a folder, llama-bench reads GGUF files: make one with nosa convert", src.Checkpoint.Path())
		}
		config.Peer.Model = src.Checkpoint.Path()
	}
	if c.Text == "" || config.Text != nil {
		return nil
	}
	text, err := readText(ctx, g, "--text", c.Text)
	if err != nil {
		return err
	}
	if config.Text, err = src.Encode(text, false); err != nil {
		return err
	}
	if len(config.Text) < need {
		return fmt.Errorf("--text %s: has %d tokens, the deepest test needs %d: give a longer text, or lower --depth", c.Text, len(config.Text), need)
	}
	return nil
}

// measure runs everything, and prints what is known also when it ends early.
func (c *BenchCmd) measure(ctx context.Context, g *Globals, config bench.Config) error {
	var report benchReport
	if g.JSON {
		if err := writeJSON(g.Stdout, config.Machine); err != nil {
			return err
		}
	}
	bar := newProgress(g, "bench", 0, "tokens")
	defer bar.Finish()
	config.Progress = bar.Note
	var peerErr error
	config.Warn = func(err error) {
		peerErr = errors.Join(peerErr, err)
		g.note("%s", oneLine(err.Error()))
	}
	config.Emit = func(v any) error {
		if g.JSON {
			return writeJSON(g.Stdout, v)
		}
		report.add(v)
		return nil
	}
	err := bench.Run(ctx, config)
	bar.Finish()
	if !g.JSON {
		report.write(g.Stdout, config)
	}
	if err == nil && peerErr != nil {
		err = fmt.Errorf("the comparison is not complete: %w", peerErr)
	}
	return err
}
