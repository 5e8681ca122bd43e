package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"nosa/bench/decode"
)

// BenchDecodeCmd measures decode steps on a GPU.
type BenchDecodeCmd struct {
	Shape    string       `default:"8b" placeholder:"NAME" help:"Random weights of this size: 1b, 3b and 8b have two KV heads of 128, as the NOSA models (${default})."`
	Weights  []string     `default:"bf16" placeholder:"DTYPE,…" help:"Their formats: bf16, q8_0, q4_0, f16 or f32 (${default})."`
	System   []string     `default:"full,infllmv2,nosa" enum:"full,infllmv2,nosi,nosa,readers" help:"Designs to measure, separated by commas: ${enum} (${default}). nosi: slots for the last selection alone, copies in series with compute. readers: nosa, and all sequences read one document, whose blocks are there once."`
	KVDtype  []string     `name:"kv-dtype" default:"bf16" enum:"f32,bf16,f16,q8,q4" help:"Formats of full KV blocks: ${enum} (${default})."`
	Batch    []int        `default:"1,4,16,48" placeholder:"N,…" help:"Sequences that are decoded together (${default})."`
	Context  []TokenCount `default:"32K" placeholder:"N,…" help:"Tokens that each of them has, such as 32768 or 32K (${default})."`
	Memory   ByteSize     `placeholder:"SIZE" help:"Device memory for weights, cache and all else; by default what is free."`
	KVDevice ByteSize     `name:"kv-device" placeholder:"SIZE" help:"Of it for the slots of nosa; by default what is left."`
	KVHost   ByteSize     `name:"kv-host" placeholder:"SIZE" help:"Host pool; by default a page for every block. In a smaller one several blocks share a page."`
	Replay   string       `default:"0.161" placeholder:"SHARE" help:"Replay selections in which this share of the blocks is new in each step, and which return as measured ones do; model: those of the random weights (${default})."`
	NosiNew  float64      `name:"replay-nosi" default:"0.1" placeholder:"SHARE" help:"The same for nosi, whose model's training makes neighbouring steps more alike (${default})."`
	Warm     int          `default:"32" placeholder:"N" help:"Steps before those that are measured (${default})."`
	Steps    int          `default:"32" placeholder:"N" help:"Steps that are measured (${default})."`
	Samples  bool         `help:"With --json: the time of every step too."`
	Device   string       `default:"cuda" help:"cuda[:n]."`
}

// Help says what the command is for.
func (c *BenchDecodeCmd) Help() string {
	return "Every combination of --context, --system, --weights, --kv-dtype and --batch is measured; then the best batch of each system is held against the others'. It needs an NVIDIA GPU."
}

// Run implements the command.
func (c *BenchDecodeCmd) Run(ctx context.Context, g *Globals) (err error) {
	settings, err := c.settings()
	if err != nil {
		return err
	}
	kind, number, numbered := strings.Cut(c.Device, ":")
	if kind != "cuda" {
		return usage("--device %s: decode steps are measured on a GPU: use cuda[:n]", c.Device)
	}
	n, err := gpuNumber(number, numbered)
	if err != nil {
		return err
	}
	runner, err := decode.Open(n)
	if err != nil {
		return fmt.Errorf("--device %s: %w: nosa bench decode needs an NVIDIA GPU", c.Device, err)
	}
	defer func() { err = errors.Join(err, runner.Close()) }()
	return c.measure(ctx, g, runner, settings)
}

// settings turns the flags into what is measured.
func (c *BenchDecodeCmd) settings() ([]decode.Setting, error) {
	w := decode.Sweep{Shape: c.Shape, Systems: c.System, Weights: c.Weights, KVTypes: c.KVDtype, Batches: c.Batch,
		Common: decode.Setting{Memory: int64(c.Memory), KVDevice: int64(c.KVDevice), KVHost: int64(c.KVHost), Warm: c.Warm, Steps: c.Steps}}
	for _, n := range c.Context {
		w.Contexts = append(w.Contexts, int(n))
	}
	if c.Replay != "model" {
		share, err := strconv.ParseFloat(c.Replay, 64)
		if err != nil || !(share > 0) {
			return nil, usage("--replay %.40q: want a share, such as 0.161, or model", c.Replay)
		}
		w.Common.New, w.NosiNew = share, c.NosiNew
	}
	settings, err := w.Settings()
	if err != nil {
		return nil, usage("%v", err)
	}
	return settings, nil
}

// measure runs everything, and prints what is known also when it ends early.
func (c *BenchDecodeCmd) measure(ctx context.Context, g *Globals, runner decode.Runner, settings []decode.Setting) error {
	var report decodeReport
	bar := newProgress(g, "decode", int64(len(settings)), "settings")
	defer bar.Finish()
	begun := int64(0)
	err := decode.Run(ctx, runner, decode.Config{
		Settings: settings,
		Begin: func(s decode.Setting) {
			bar.Note(begun, int64(len(settings)), s.String())
			begun++
		},
		Emit: func(v any) error {
			if r, ok := v.(*decode.Result); ok && !c.Samples {
				r.Samples = nil
			}
			if g.JSON {
				return writeJSON(g.Stdout, v)
			}
			report.add(v)
			return nil
		},
	})
	bar.Finish()
	if !g.JSON {
		report.write(g.Stdout)
	}
	return err
}

// TokenCount is a number of tokens on the command line, plain or in units of 1024: 32K.
type TokenCount int

// mostTokenCount is far above any context.
const mostTokenCount = 1 << 40

// UnmarshalText reads one, for kong.
func (n *TokenCount) UnmarshalText(text []byte) error {
	digits, unit := string(text), 1
	switch last := len(text) - 1; {
	case last > 0 && (text[last] == 'K' || text[last] == 'k'):
		digits, unit = digits[:last], 1<<10
	case last > 0 && (text[last] == 'M' || text[last] == 'm'):
		digits, unit = digits[:last], 1<<20
	}
	v, err := strconv.Atoi(digits)
	if err != nil || v < 0 || v > mostTokenCount/unit {
		return fmt.Errorf("%.40q: want a number of tokens, such as 32768 or 32K", text)
	}
	*n = TokenCount(v * unit)
	return nil
}
