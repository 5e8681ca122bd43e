package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"nosa/bench/prefill"
)

// BenchPrefillCmd measures prompts on a GPU.
type BenchPrefillCmd struct {
	Shape   string       `default:"8b" placeholder:"NAME" help:"Random weights of this size: 1b, 3b and 8b have two KV heads of 128, as the NOSA models (${default})."`
	Weights []string     `default:"bf16" placeholder:"DTYPE,…" help:"Their formats: bf16, q8_0, q4_0, f16 or f32 (${default})."`
	Method  []string     `default:"full,infllmv2,nosa" enum:"full,infllmv2,dma,nosa" help:"Attention, separated by commas: ${enum} (${default})."`
	KVDtype []string     `name:"kv-dtype" default:"bf16" enum:"f32,bf16,f16,q8,q4" help:"Formats of full KV blocks: ${enum} (${default})."`
	Context []TokenCount `default:"32K,128K" placeholder:"N,…" help:"Tokens of the prompt, such as 32768 or 32K (${default})."`
	Chunk   TokenCount   `default:"2048" placeholder:"N" help:"Tokens of a pass (${default})."`
	Same    int          `default:"1" placeholder:"N" help:"So many neighbours are the same token. Random tokens select blocks that have little in common, which those of a text do not (${default})."`
	Runs    int          `default:"3" placeholder:"N" help:"Runs of each (${default})."`
	Parts   bool         `help:"One more run, in which the parts of a pass are timed."`
	Device  string       `default:"cuda" help:"cuda[:n]."`
}

// Help says what the command is for.
func (c *BenchPrefillCmd) Help() string {
	return "Every combination of --context, --method, --weights and --kv-dtype is measured: one sequence from nothing to its last token's logits, all of its blocks on the device. It needs an NVIDIA GPU."
}

// Run implements the command.
func (c *BenchPrefillCmd) Run(ctx context.Context, g *Globals) (err error) {
	settings, err := c.settings()
	if err != nil {
		return err
	}
	kind, number, numbered := strings.Cut(c.Device, ":")
	if kind != "cuda" {
		return usage("--device %s: prompts are measured on a GPU: use cuda[:n], or nosa bench --gen 0", c.Device)
	}
	n, err := gpuNumber(number, numbered)
	if err != nil {
		return err
	}
	runner, err := prefill.Open(n)
	if err != nil {
		return fmt.Errorf("--device %s: %w: nosa bench prefill needs an NVIDIA GPU", c.Device, err)
	}
	defer func() { err = errors.Join(err, runner.Close()) }()
	return c.measure(ctx, g, runner, settings)
}

// settings turns the flags into what is measured.
func (c *BenchPrefillCmd) settings() ([]prefill.Setting, error) {
	w := prefill.Sweep{Shape: c.Shape, Methods: c.Method, Weights: c.Weights, KVTypes: c.KVDtype,
		Common: prefill.Setting{Chunk: int(c.Chunk), Same: c.Same, Runs: c.Runs, Parts: c.Parts}}
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
func (c *BenchPrefillCmd) measure(ctx context.Context, g *Globals, runner prefill.Runner, settings []prefill.Setting) error {
	var machine *prefill.Machine
	var results []*prefill.Result
	bar := newProgress(g, "prefill", int64(len(settings)), "settings")
	defer bar.Finish()
	begun := int64(0)
	err := prefill.Run(ctx, runner, prefill.Config{
		Settings: settings,
		Begin: func(s prefill.Setting) {
			bar.Note(begun, int64(len(settings)), s.String())
			begun++
		},
		Emit: func(v any) error {
			if g.JSON {
				return writeJSON(g.Stdout, v)
			}
			switch v := v.(type) {
			case *prefill.Machine:
				machine = v
			case *prefill.Result:
				results = append(results, v)
			}
			return nil
		},
	})
	bar.Finish()
	if !g.JSON {
		writePrefill(g.Stdout, machine, results)
	}
	return err
}

// writePrefill prints the machine, every setting, and the parts where they were timed.
func writePrefill(out *Output, machine *prefill.Machine, results []*prefill.Result) {
	if len(results) == 0 {
		return
	}
	out.Printf("%s\n", out.fold(fmt.Sprintf("%s; tensor cores do %.0f TFLOP/s at most", machine.Device, machine.Peak/1e12)))
	s := results[0].Setting
	about := fmt.Sprintf("%s with random weights, median of %d runs, %d tokens a pass", s.Shape, s.Runs, s.Chunk)
	if s.Same > 1 {
		about += fmt.Sprintf(", in runs of %d that are alike", s.Same)
	}
	out.Printf("%s\n\n", out.fold(about))
	t := newTable("context", "attention", "weights", "KV", "s", "min", "max", "tokens/s", "TFLOP", "TFLOP/s", "at least s", "reached")
	for _, r := range results {
		if r.Error != "" {
			continue
		}
		t.row(tokens(r.Context), r.Method, r.Weights, r.KVType, fmt.Sprintf("%.3f", r.Seconds), fmt.Sprintf("%.3f", r.Min), fmt.Sprintf("%.3f", r.Max), speed(r.Speed),
			fmt.Sprintf("%.1f", r.FLOP.Sum()/1e12), fmt.Sprintf("%.1f", r.Rate/1e12), fmt.Sprintf("%.3f", r.Roofline), fmt.Sprintf("%.0f %%", 100*r.Fraction))
	}
	t.write(out)
	for _, r := range results {
		if r.Error != "" {
			out.Printf("%s\n", out.fold(fmt.Sprintf("%s: %s", r.Setting, r.Error)))
		}
	}
	for _, r := range results {
		if len(r.Parts) == 0 {
			continue
		}
		sum := 0.0
		for _, p := range r.Parts {
			sum += p.Seconds
		}
		out.Printf("\n%s, in a run of %.3f s:\n\n", r.Setting, sum)
		t := newTable("part", "s", "share", "TFLOP/s")
		for _, p := range r.Parts {
			rate := "-"
			if flop := map[string]float64{"products": r.FLOP.Products, "attention": r.FLOP.Attention, "scores": r.FLOP.Scores}[p.Name]; flop > 0 {
				rate = fmt.Sprintf("%.1f", flop/p.Seconds/1e12)
			}
			t.row(p.Name, fmt.Sprintf("%.3f", p.Seconds), fmt.Sprintf("%.1f %%", 100*p.Seconds/sum), rate)
		}
		t.write(out)
	}
}
