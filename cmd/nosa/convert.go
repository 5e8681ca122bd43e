package main

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"nosa/dtype"
	"nosa/weights"
	"nosa/weights/convert"
)

// ConvertCmd turns a Hugging Face folder into a GGUF file, or back.
type ConvertCmd struct {
	Src     string   `arg:"" help:"Hugging Face folder, .gguf file, the name of a pulled model, or builtin."`
	Dst     string   `arg:"" help:"What to write: a GGUF file if it ends in .gguf, a folder otherwise. It must not exist."`
	Dtype   string   `default:"keep" enum:"keep,f32,f16,bf16,q8_0,q4_0" help:"Number format of the matrices: ${enum}. keep: the source's."`
	Plain   bool     `help:"Leave NOSA's importance scores out, so that other programs run the model with full attention."`
	Adapter string   `placeholder:"FOLDER" help:"Checkpoint of nosa train, or its config.json and adapter.safetensors alone, to lay over SRC, the folder that it was trained on."`
	Shard   ByteSize `placeholder:"SIZE" help:"Most bytes of one safetensors file; by default 5GB."`
}

type converted struct {
	Source  string  `json:"source"`
	Path    string  `json:"path"`
	Format  string  `json:"format"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// Run implements the command.
func (c *ConvertCmd) Run(ctx context.Context, g *Globals) (err error) {
	opts := convert.Options{Plain: c.Plain, Adapter: c.Adapter, Shard: int64(c.Shard)}
	if c.Dtype != "keep" {
		if opts.Type, err = dtype.Parse(c.Dtype); err != nil {
			return usage("--dtype: %w", err)
		}
	}
	if opts.Type.Quantised() && filepath.Ext(c.Dst) != ".gguf" {
		return usage("--dtype %s is for GGUF files alone: let the name of %s end in .gguf, or take f32, f16 or bf16", c.Dtype, printable(c.Dst, 200))
	}
	if c.Src == "" || c.Dst == "" {
		return usage("name what to read and what to write: an empty name is neither")
	}
	src, err := openCheckpoint(c.Src)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	bar := newProgress(g, "convert", 0, "bytes")
	opts.Progress = func(done, total int64) { bar.Note(done, total, "") }
	start := time.Now()
	err = convert.Write(ctx, src, c.Dst, opts)
	bar.Finish()
	if err != nil {
		return err
	}
	took := time.Since(start)
	done, err := describe(c.Dst)
	if err != nil {
		return err
	}
	done.Source, done.Seconds = src.Path(), took.Seconds()
	if g.JSON {
		return writeJSON(g.Stdout, done)
	}
	g.note("%s, %s, in %s", done.Format, sizeText(done.Bytes), timeText(took))
	g.Stdout.Printf("%s\n", done.Path)
	return nil
}

// describe opens what was written, which is the first test of it, and measures its files.
func describe(path string) (_ converted, err error) {
	cp, err := weights.Open(path)
	if err != nil {
		return converted{}, err
	}
	defer func() { err = errors.Join(err, cp.Close()) }()
	size := int64(0)
	err = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return converted{Path: path, Format: cp.Format(), Bytes: size}, err
}
