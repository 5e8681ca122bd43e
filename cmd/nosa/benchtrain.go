package main

import (
	"context"
	"errors"
	"fmt"

	benchtrain "nosa/bench/train"
)

// BenchTrainCmd measures training steps.
type BenchTrainCmd struct {
	Shape     string       `default:"135m" placeholder:"NAME" help:"Random weights of this size: 135m, SmolLM2's, or 1b, Llama 3.2's (${default})."`
	Method    []string     `default:"full,infllmv2,dma,nosa" enum:"full,infllmv2,dma,nosa" help:"Attention, separated by commas: ${enum} (${default})."`
	Context   []TokenCount `default:"2K,8K,16K" placeholder:"N,…" help:"Tokens of a document, such as 8192 or 8K (${default})."`
	Rows      TokenCount   `default:"16K" placeholder:"N" help:"Tokens of a pass: as many whole documents as fit, one at least (${default})."`
	Passes    int          `default:"1" placeholder:"N" help:"Passes of a step, whose gradients add up (${default})."`
	HeadRows  TokenCount   `name:"head-rows" default:"4K" placeholder:"N" help:"Rows of logits that exist at once (${default})."`
	Recompute string       `default:"none" enum:"none,cheap,layer" help:"What the backward pass computes again instead of keeping it: ${enum} (${default})."`
	Same      int          `default:"1" placeholder:"N" help:"So many neighbours are the same token. Random tokens select blocks that have little in common, which those of a text do not (${default})."`
	Warm      int          `default:"3" placeholder:"N" help:"Steps before those that are measured (${default})."`
	Steps     int          `default:"10" placeholder:"N" help:"Steps that are measured (${default})."`
	Profile   bool         `help:"One more step, in which the time of each kind of op is taken."`
	Device    string       `default:"cuda" help:"cuda[:n], where activations are bfloat16, or cpu, where they are float32 (${default})."`
	Threads   int          `placeholder:"N" help:"Threads of a CPU; by default one per processor that this process may use."`
}

// Help says what the command is for.
func (c *BenchTrainCmd) Help() string {
	return "Every combination of --context and --method is measured: whole steps, forward, loss, backward and AdamW, over random tokens."
}

// Run implements the command.
func (c *BenchTrainCmd) Run(ctx context.Context, g *Globals) (err error) {
	settings, err := c.settings()
	if err != nil {
		return err
	}
	dev, err := newTrainer(c.Device, c.Threads, g.Getenv(levelVariable))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	return c.measure(ctx, g, benchtrain.On(dev), settings)
}

// settings turns the flags into what is measured.
func (c *BenchTrainCmd) settings() ([]benchtrain.Setting, error) {
	w := benchtrain.Sweep{Shape: c.Shape, Methods: c.Method, Rows: int(c.Rows), Common: benchtrain.Setting{
		Passes: c.Passes, HeadRows: int(c.HeadRows), Recompute: c.Recompute, Same: c.Same, Warm: c.Warm, Steps: c.Steps, Profile: c.Profile}}
	for _, n := range c.Context {
		w.Contexts = append(w.Contexts, int(n))
	}
	settings, err := w.Settings()
	if err != nil {
		return nil, usage("%v", err)
	}
	return settings, nil
}

// measure runs everything, and prints what is known also when it ends early.
func (c *BenchTrainCmd) measure(ctx context.Context, g *Globals, runner benchtrain.Runner, settings []benchtrain.Setting) error {
	var machine *benchtrain.Machine
	var results []*benchtrain.Result
	bar := newProgress(g, "train", int64(len(settings)), "settings")
	defer bar.Finish()
	begun := int64(0)
	err := benchtrain.Run(ctx, runner, benchtrain.Config{
		Settings: settings,
		Begin: func(s benchtrain.Setting) {
			bar.Note(begun, int64(len(settings)), s.String())
			begun++
		},
		Emit: func(v any) error {
			if g.JSON {
				return writeJSON(g.Stdout, v)
			}
			switch v := v.(type) {
			case *benchtrain.Machine:
				machine = v
			case *benchtrain.Result:
				results = append(results, v)
			}
			return nil
		},
	})
	bar.Finish()
	if !g.JSON {
		writeTrained(g.Stdout, machine, results)
	}
	return err
}

// writeTrained prints the machine, every setting, and the parts where they were timed.
func writeTrained(out *Output, machine *benchtrain.Machine, results []*benchtrain.Result) {
	if len(results) == 0 {
		return
	}
	about := machine.Device
	if machine.Peak > 0 {
		about += fmt.Sprintf("; computes %s TFLOP/s in %s at most", speed(machine.Peak/1e12), machine.Activations)
	}
	out.Printf("%s\n", out.fold(about))
	s := results[0].Setting
	out.Printf("%s\n\n", out.fold(fmt.Sprintf("%s with random weights, activations in %s, median of %d steps behind %d; recompute %s, %s rows of logits at once",
		s.Shape, machine.Activations, s.Steps, s.Warm, s.Recompute, tokens(s.HeadRows))))
	t := newTable("context", "attention", "tokens", "ms", "min", "max", "tokens/s", "TFLOP", "TFLOP/s", "at least ms", "reached", "memory")
	for _, r := range results {
		if r.Error != "" {
			continue
		}
		least, reached := "-", "-"
		if r.RooflineMS > 0 {
			least, reached = fmt.Sprintf("%.2f", r.RooflineMS), fmt.Sprintf("%.0f %%", 100*r.Fraction)
		}
		t.row(tokens(r.Context), r.Method, tokens(r.Tokens), fmt.Sprintf("%.2f", r.MS), fmt.Sprintf("%.2f", r.MinMS), fmt.Sprintf("%.2f", r.MaxMS), speed(r.Speed),
			speed(r.FLOP.Sum()/1e12), speed(r.Rate/1e12), least, reached, sizeText(r.Memory))
	}
	t.write(out)
	for _, r := range results {
		if r.Error != "" {
			out.Printf("%s\n", out.fold(fmt.Sprintf("%s: %s", r.Setting, r.Error)))
		}
	}
	for _, r := range results {
		writeTrainParts(out, r)
	}
}

// writeTrainParts prints where the time of a step goes, if its parts were timed.
func writeTrainParts(out *Output, r *benchtrain.Result) {
	if len(r.Parts) == 0 {
		return
	}
	sum := 0.0
	for _, p := range r.Parts {
		sum += p.MS
	}
	out.Printf("\n%s, in a step of %.2f ms:\n\n", r.Setting, r.ProfileMS)
	t := newTable("part", "ms", "share", "TFLOP/s")
	for _, p := range r.Parts {
		rate := "-"
		if p.FLOP > 0 {
			rate = speed(p.FLOP / p.MS / 1e9)
		}
		t.row(p.Name, fmt.Sprintf("%.2f", p.MS), fmt.Sprintf("%.1f %%", 100*p.MS/sum), rate)
	}
	t.write(out)
}
