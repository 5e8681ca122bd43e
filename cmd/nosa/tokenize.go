package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"nosa/engine"
	"nosa/tokenizer"
)

// TokenizeCmd prints the ids of a text, or the text of ids.
type TokenizeCmd struct {
	Model   string   `arg:"" optional:"" default:"builtin" help:"Hugging Face folder, .gguf file, or the name of a pulled model; by default builtin, the small one inside this binary."`
	Text    []string `arg:"" optional:"" help:"Text; with none, standard input."`
	File    string   `short:"f" placeholder:"FILE" help:"Take the text from a file; - for standard input."`
	Decode  bool     `short:"d" help:"Turn ids, separated by blanks or commas, into text."`
	Special bool     `help:"Let the names of special tokens in the text stand for them."`
	NoBegin bool     `name:"no-begin" help:"Leave out the tokens that the model begins a text with."`
}

// Run implements the command.
func (c *TokenizeCmd) Run(ctx context.Context, g *Globals) (err error) {
	if c.File != "" && len(c.Text) > 0 {
		return usage("give the text as arguments or as --file, not both")
	}
	src, err := openSource(c.Model)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if src.Tokenizer == nil {
		return fmt.Errorf("%w: %w", engine.ErrNoTokenizer, src.TokenizerErr)
	}
	text := strings.Join(c.Text, " ")
	if c.File != "" || len(c.Text) == 0 {
		if text, err = readText(ctx, g, "--file", c.File); err != nil {
			return err
		}
	}
	if c.Decode {
		return c.decode(g, src, text)
	}
	ids, err := src.Tokenizer.TryEncode(nil, text, tokenizer.EncodeOptions{AddSpecial: !c.NoBegin, ParseSpecial: c.Special})
	if err != nil {
		return err
	}
	if g.JSON {
		pieces := make([]string, len(ids))
		for i, id := range ids {
			pieces[i], _ = src.Tokenizer.Token(id)
		}
		if ids == nil {
			ids = []int32{}
		}
		return writeJSON(g.Stdout, map[string]any{"tokens": ids, "pieces": pieces, "count": len(ids)})
	}
	for _, id := range ids {
		piece, _ := src.Tokenizer.Token(id)
		g.Stdout.Printf("%d\t%q\n", id, piece)
	}
	return nil
}

func (c *TokenizeCmd) decode(g *Globals, src *engine.Source, text string) error {
	ids, err := parseIDs(text, src.Tokenizer.Size())
	if err != nil {
		return err
	}
	out := src.Tokenizer.Decode(ids, false)
	if g.JSON {
		return writeJSON(g.Stdout, map[string]any{"text": out, "count": len(ids)})
	}
	g.Stdout.Printf("%s\n", out)
	return nil
}
