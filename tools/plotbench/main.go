// Command plotbench draws what `nosa bench --json` wrote: decode speed against context, prefill speed against length,
// and the ratios to the peer, each as a PNG of 1200x750 pixels for each model that it finds.
//
//	nosa bench model.gguf --depth 0,512,4096 --compare llama-bench --json > figures.jsonl
//	go run ./plotbench -o ../docs/plots figures.jsonl more.jsonl
//
//	nosa bench decode --batch 1,4,16,48 --context 16K,32K --json > decode.jsonl
//	go run ./plotbench -o ../docs/plots -table decode.jsonl torch.jsonl
//
// Of those of nosa bench decode and scripts/bench/torch_decode.py it draws throughput against batch, and with -table
// writes tables and ratios in Markdown to standard output, in place of the names of the pictures.
//
// Of a test that is there twice, the last line counts. Without files it reads standard input.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	out := flag.String("o", ".", "the `folder` to write to, which is made if it is missing")
	title := flag.String("title", "", "a `text` behind each title, such as the machine's name")
	roofline := flag.Bool("roofline", false, "draw what the machine's memory and arithmetic allow, too")
	table := flag.Bool("table", false, "write tables to standard output")
	flag.Parse()
	if err := run(flag.Args(), *out, *title, *roofline, *table, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "plotbench: %v\n", err)
		os.Exit(1)
	}
}

// run reads the files, draws, and says which pictures it wrote.
func run(files []string, out, title string, roofline, table bool, stdin io.Reader, stdout io.Writer) error {
	var m measurements
	if len(files) == 0 {
		if err := m.read("standard input", stdin); err != nil {
			return err
		}
	}
	for _, name := range files {
		if err := m.readFile(name); err != nil {
			return err
		}
	}
	all := slices.Concat(m.charts(roofline), m.decodeCharts(roofline))
	if table {
		if err := m.table(stdout); err != nil {
			return err
		}
		stdout = io.Discard
	}
	if len(all) == 0 && !table {
		return fmt.Errorf("no chart has two points: measure at two depths or prompt lengths at least")
	}
	if err := os.MkdirAll(out, 0o777); err != nil {
		return err
	}
	for _, c := range all {
		if title != "" {
			c.title += " (" + title + ")"
		}
		path := filepath.Join(out, c.file)
		if err := c.draw(path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if _, err := fmt.Fprintln(stdout, path); err != nil {
			return err
		}
	}
	return nil
}
