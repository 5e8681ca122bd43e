// Command ploteval draws what `nosa eval` summed up, each as a PNG of 1200x750 pixels: a NIAH heat map for each setting, and, where
// settings keep different parts of the cache, quality and decode speed against the bytes that they keep.
//
//	nosa eval model.gguf --tasks niah,ruler --methods full,infllmv2 --book book.txt --out results
//	go run ./ploteval -o ../docs/plots results/summary.json more/summary.json
//
// Summaries of several runs of one model are drawn together; of a setting that is there twice, the last one counts.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"nosa/eval"
)

func main() {
	out := flag.String("o", ".", "the `folder` to write to, which is made if it is missing")
	name := flag.String("name", "eval", "what the `names` of the pictures begin with")
	title := flag.String("title", "", "a `text` behind each title, such as the model's name")
	flag.Parse()
	if err := run(flag.Args(), *out, *name, *title, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "ploteval: %v\n", err)
		os.Exit(1)
	}
}

// run reads the files, draws, and says which pictures it wrote.
func run(files []string, out, name, title string, stdout io.Writer) error {
	if len(files) == 0 {
		return errors.New("name the summary.json of at least one run of nosa eval")
	}
	var settings []eval.SettingSummary
	for _, file := range files {
		s, err := read(file)
		if err != nil {
			return err
		}
		settings = merge(settings, s.Settings)
	}
	pictures := append(heatMaps(settings), curves(settings)...)
	if len(pictures) == 0 {
		return errors.New("there is nothing to draw: neither a NIAH grid of two lengths and depths nor two settings that keep different parts of the cache")
	}
	if err := os.MkdirAll(out, 0o777); err != nil {
		return err
	}
	for _, p := range pictures {
		if title != "" {
			p.title += " (" + title + ")"
		}
		path := filepath.Join(out, name+"-"+p.file+".png")
		if err := p.write(path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if _, err := fmt.Fprintln(stdout, path); err != nil {
			return err
		}
	}
	return nil
}

func read(path string) (*eval.Summary, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	s, err := eval.ReadSummary(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// merge adds settings, in the place of those that are there.
func merge(to, from []eval.SettingSummary) []eval.SettingSummary {
	for _, s := range from {
		had := false
		for i := range to {
			if to[i].Setting == s.Setting {
				to[i], had = s, true
			}
		}
		if !had {
			to = append(to, s)
		}
	}
	return to
}
