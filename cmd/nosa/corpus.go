package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nosa/train/corpus"
)

// CorpusGroup is about the texts that models are trained on.
type CorpusGroup struct {
	Build   CorpusBuildCmd   `cmd:"" help:"Turn texts into the token ids that nosa train reads."`
	Show    CorpusShowCmd    `cmd:"" help:"Check what was built, and tell what is in it."`
	Needles CorpusNeedlesCmd `cmd:"" help:"Make texts that ask for something said far before, and the answers."`
}

// CorpusBuildCmd makes a set of shards.
type CorpusBuildCmd struct {
	Src         string `arg:"" help:"A text (.txt), JSONL or Parquet file, or a folder of them; text and JSONL also as .gz or .zst."`
	Dst         string `arg:"" help:"Folder to make. It must not exist; what an interrupted build left beside it is taken up again."`
	Vocabulary  string `required:"" placeholder:"PATH" help:"tokenizer.json, or the folder of a model that has one."`
	Format      string `default:"auto" enum:"auto,text,jsonl,parquet" help:"How the texts lie in the files: ${enum}. auto: by their names."`
	Field       string `placeholder:"NAME" help:"Of JSONL the field, of Parquet the column that has the text; by default text."`
	Threads     int    `help:"Threads; by default one a processor. The result does not depend on it."`
	ShardTokens int64  `placeholder:"N" help:"Tokens of a file; by default 33554432."`
}

// corpusFacts is what is said of a set.
type corpusFacts struct {
	Path      string  `json:"path"`
	Digest    string  `json:"digest"`
	Files     int     `json:"files"`
	Shards    int     `json:"shards"`
	Documents uint64  `json:"documents"`
	Empty     int64   `json:"empty_documents"`
	Bytes     int64   `json:"text_bytes"`
	Tokens    uint64  `json:"tokens"`
	Seconds   float64 `json:"seconds"`
}

// Run implements the command.
func (c *CorpusBuildCmd) Run(ctx context.Context, g *Globals) (err error) {
	if c.Threads < 0 || c.ShardTokens < 0 {
		return usage("--threads and --shard-tokens are 0 or more")
	}
	v, err := corpus.ReadVocabulary(c.Vocabulary)
	if err != nil {
		return err
	}
	o := corpus.Options{Vocabulary: v, Path: c.Src, Field: c.Field, Threads: c.Threads, ShardTokens: uint64(c.ShardTokens)}
	if c.Format != "auto" {
		o.Format = corpus.Format(c.Format)
	}
	bar := newProgress(g, "tokenize", 0, "bytes")
	o.Progress = func(done, total int64) { bar.Note(done, total, "") }
	start := time.Now()
	set, err := corpus.Build(ctx, c.Dst, o)
	bar.Finish()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	return tellCorpus(g, set, time.Since(start))
}

// CorpusShowCmd checks a set.
type CorpusShowCmd struct {
	Path string `arg:"" help:"Folder that nosa corpus build made."`
	IDs  bool   `name:"ids" help:"Write the ids of each document, a JSON list in a line."`
}

// Run implements the command.
func (c *CorpusShowCmd) Run(ctx context.Context, g *Globals) (err error) {
	start := time.Now()
	set, err := corpus.Open(c.Path, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	if err := set.Verify(ctx); err != nil {
		return err
	}
	if !c.IDs {
		return tellCorpus(g, set, time.Since(start))
	}
	var ids []int32
	for d := range set.Documents() {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if ids, err = set.Document(ids[:0], d); err != nil {
			return err
		}
		if err := writeJSON(g.Stdout, ids); err != nil {
			return err
		}
	}
	return nil
}

func tellCorpus(g *Globals, set *corpus.Set, took time.Duration) error {
	f := set.Facts()
	if g.JSON {
		return writeJSON(g.Stdout, corpusFacts{set.Dir(), fmt.Sprintf("%x", set.Digest()), f.Files, f.Shards, f.Documents, f.Empty, f.Bytes,
			f.Tokens, took.Seconds()})
	}
	left := ""
	if f.Empty > 0 {
		left = fmt.Sprintf(" (%d without text left out)", f.Empty)
	}
	g.Stdout.Printf("%d documents%s of %d files, %s of text: %d tokens, %.2f bytes each, in %d shards\n", f.Documents, left, f.Files,
		sizeText(f.Bytes), f.Tokens, float64(f.Bytes)/float64(f.Tokens), f.Shards)
	return nil
}

// CorpusNeedlesCmd writes documents of the retrieval test.
type CorpusNeedlesCmd struct {
	Vocabulary string `required:"" placeholder:"PATH" help:"tokenizer.json, or the folder of a model that has one."`
	Filler     string `placeholder:"SET" help:"What lies between: the texts of this folder, which nosa corpus build made; by default plain sentences."`
	Length     int    `default:"4096" help:"Tokens of a document, with its question and answer."`
	Count      int    `default:"10" help:"Documents."`
	First      uint64 `help:"Number of the first document."`
	Keys       int    `default:"1" help:"Things to remember in a document."`
	Questions  int    `default:"1" help:"Questions at its end; all but the last have their answers in the prompt."`
	Digits     int    `default:"5" help:"Digits of an answer."`
	Seed       uint64 `help:"Of everything."`
	HeldOut    bool   `default:"true" negatable:"" help:"Take keys that training never has."`
}

// needleLine is one document as the command writes it.
type needleLine struct {
	Number uint64  `json:"number"`
	Prompt string  `json:"prompt"` // up to the last question, without its answer
	Answer string  `json:"answer"`
	Key    string  `json:"key"`
	Tokens int     `json:"prompt_tokens"`
	Depth  float64 `json:"depth"` // where the needle lies, as a share of the prompt
}

// Run implements the command.
func (c *CorpusNeedlesCmd) Run(ctx context.Context, g *Globals) (err error) {
	if c.Count < 1 || c.Length < 1 {
		return usage("--count and --length are 1 or more")
	}
	v, err := corpus.ReadVocabulary(c.Vocabulary)
	if err != nil {
		return err
	}
	config := corpus.NeedleConfig{Vocabulary: v, Seed: c.Seed, HeldOut: c.HeldOut, Keys: c.Keys, Questions: c.Questions, Digits: c.Digits}
	if c.Filler != "" {
		set, err := corpus.Open(c.Filler, v)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, set.Close()) }()
		config.Filler = set
	}
	needles, err := corpus.NewNeedles(config)
	if err != nil {
		return err
	}
	for i := range uint64(c.Count) {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		d, err := needles.Document(c.First+i, c.Length)
		if err != nil {
			return err
		}
		if len(d.Answers) < c.Questions {
			return usage("--length %d has no room for %d things and %d questions", c.Length, c.Keys, c.Questions)
		}
		a := d.Answers[len(d.Answers)-1]
		line := needleLine{c.First + i, v.Decode(d.Tokens[:a.Row], true), a.Value, a.Key, a.Row, float64(a.Needle) / float64(a.Row)}
		if err := writeJSON(g.Stdout, line); err != nil {
			return err
		}
	}
	return nil
}
