package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"nosa/hub"
)

// PullCmd brings a model from the hub into the store.
type PullCmd struct {
	Name     string   `arg:"" optional:"" help:"owner/model, owner/model@revision, or owner/model:file.gguf."`
	Revision string   `placeholder:"REV" help:"Branch, tag or commit, as owner/model@REV says too."`
	Include  []string `placeholder:"PATTERN" help:"Bring the files that match these patterns instead of those that nosa reads."`
	List     bool     `short:"l" help:"List what has been pulled, and bring nothing."`
}

// Help tells what the environment decides.
func (c *PullCmd) Help() string {
	return "HF_ENDPOINT names a mirror, HF_TOKEN a token, NOSA_HOME the folder of the store; HTTPS_PROXY is heeded. " +
		"An interrupted pull goes on where it stopped."
}

type pulled struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

// Run implements the command.
func (c *PullCmd) Run(ctx context.Context, g *Globals) error {
	if c.Name == "" && !c.List {
		return usage("name a model, such as HuggingFaceTB/SmolLM2-135M-Instruct, or --list what is here")
	}
	if c.Name != "" && c.List {
		return usage("--list brings nothing: leave out %s", printable(c.Name, 80))
	}
	cfg, err := hub.FromEnv(g.Getenv)
	if err != nil {
		return err
	}
	cfg.Log = g.Log
	cfg.Agent = "nosa/" + thisVersion().Version
	client, err := hub.New(cfg)
	if err != nil {
		return usageIf(err)
	}
	if c.List {
		return c.list(g, client)
	}
	if _, err := hub.ParseRef(c.Name); err != nil {
		return usageIf(err)
	}
	var last hub.Progress
	start := time.Now()
	first := int64(-1)
	bar := newProgress(g, "pull", 0, "bytes")
	path, err := client.Pull(ctx, c.Name, hub.Options{Revision: c.Revision, Include: c.Include}, func(p hub.Progress) {
		if first < 0 {
			first = p.Got
		}
		last = p
		bar.Note(p.Got, p.Total, p.File)
	})
	bar.Finish()
	if err != nil {
		return usageIf(err)
	}
	g.note("%d files, %s, of which %s came now, in %s", last.Files, sizeText(last.Total), sizeText(max(last.Got-max(first, 0), 0)), timeText(time.Since(start)))
	if g.JSON {
		return writeJSON(g.Stdout, pulled{c.Name, path})
	}
	g.Stdout.Printf("%s\n", path)
	return nil
}

// list prints what the store holds. What can be read is printed even if something else is damaged.
func (c *PullCmd) list(g *Globals, client *hub.Client) error {
	models, err := client.List()
	if g.JSON {
		if models == nil {
			models = []hub.Model{}
		}
		return errors.Join(writeJSON(g.Stdout, models), err)
	}
	t := newTable("model", "revisions", "commit", "files", "size", "path")
	for _, m := range models {
		t.row(m.Name, strings.Join(m.Revisions, " "), m.Commit[:12], count(len(m.Files)), sizeText(m.Bytes), m.Path)
	}
	t.write(g.Stdout)
	return err
}

// usageIf makes an error about a name one of usage: it was the command line that was wrong.
func usageIf(err error) error {
	if errors.Is(err, hub.ErrName) {
		return &usageError{err}
	}
	return err
}
