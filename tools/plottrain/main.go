// Command plottrain draws the logs of `nosa train` beside each other: the loss against tokens (the mean of the steps around,
// and held-out data as marks), and the last evaluation by position in the document, each as a PNG of 1200x750 pixels.
//
//	go run ./plottrain -o ../docs/plots full=runs/full/log.jsonl nosa=runs/nosa/log.jsonl
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"nosa/train"
)

func main() {
	out := flag.String("o", ".", "the `folder` to write to, which is made if it is missing")
	title := flag.String("title", "", "a `text` behind each title, such as the model's size")
	smooth := flag.Int("smooth", 20, "`steps` on either side that a point of the loss is the mean of")
	flag.Parse()
	if err := run(flag.Args(), *out, *title, *smooth, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "plottrain: %v\n", err)
		os.Exit(1)
	}
}

// run reads the logs, draws, and says which pictures it wrote.
func run(args []string, out, title string, smooth int, stdout io.Writer) error {
	if len(args) == 0 || smooth < 0 {
		return fmt.Errorf("name logs, as NAME=log.jsonl, and 0 steps or more to smooth by")
	}
	var logs []runLog
	for _, arg := range args {
		name, path, ok := strings.Cut(arg, "=")
		if !ok {
			name, path = filepath.Base(filepath.Dir(arg)), arg
		}
		l, err := readLog(name, path)
		if err != nil {
			return err
		}
		logs = append(logs, l)
	}
	if err := os.MkdirAll(out, 0o777); err != nil {
		return err
	}
	for _, c := range []chart{lossChart(logs, smooth), positionChart(logs)} {
		if len(c.lines) == 0 {
			continue // there was no evaluation
		}
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

// runLog is the log of one run.
type runLog struct {
	name  string
	steps []train.Record
	evals []train.Record
}

const mostLine = 1 << 20

func readLog(name, path string) (l runLog, err error) {
	f, err := os.Open(path)
	if err != nil {
		return l, err
	}
	defer func() { _ = f.Close() }() // it was only read
	l.name = name
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 64<<10), mostLine)
	for n := 1; lines.Scan(); n++ {
		var r train.Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil || r.Step < 1 {
			return l, fmt.Errorf("%s: line %d is not one of nosa train's log", path, n)
		}
		if r.Eval != nil {
			l.evals = append(l.evals, r)
		} else {
			l.steps = append(l.steps, r)
		}
	}
	if err := lines.Err(); err != nil {
		return l, fmt.Errorf("%s: %w", path, err)
	}
	if len(l.steps) < 2 {
		return l, fmt.Errorf("%s: %d steps, want two at least", path, len(l.steps))
	}
	return l, nil
}
