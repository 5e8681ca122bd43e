package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"nosa/bench"
	"nosa/bench/decode"
)

// measurements are the lines that matter of all files.
type measurements struct {
	figures []bench.Figure
	ratios  []bench.Ratio

	machines []string         // of the lines below
	decoded  []*decode.Result // of nosa bench decode and of torch_decode.py
	prefills []prefilled
	products []product
}

// errLine is returned for a line that neither `nosa bench --json` nor torch_decode.py writes.
var errLine = errors.New("not a line of nosa bench --json")

// The most that is read: far above what any sweep writes.
const (
	mostLine  = 1 << 20
	mostLines = 1 << 20
)

func (m *measurements) readFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	return m.read(name, f)
}

// read takes the figures and ratios of a stream; the machine's line and empty ones are passed over.
func (m *measurements) read(name string, r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), mostLine)
	n := 0
	for lines.Scan() {
		if n++; n > mostLines {
			return fmt.Errorf("%s: more than %d lines: %w", name, mostLines, errLine)
		}
		if len(lines.Bytes()) == 0 {
			continue
		}
		if err := m.line(lines.Bytes()); err != nil {
			return fmt.Errorf("%s: line %d: %w", name, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: line %d: %w", name, n+1, err)
	}
	return nil
}

func (m *measurements) line(data []byte) error {
	var kind struct{ Kind string }
	if err := json.Unmarshal(data, &kind); err != nil {
		return fmt.Errorf("%w: %w", errLine, err)
	}
	var setting bench.Setting
	var speeds []float64
	switch kind.Kind {
	case "machine":
		return nil
	case "figure":
		var f bench.Figure
		if err := json.Unmarshal(data, &f); err != nil {
			return fmt.Errorf("%w: %w", errLine, err)
		}
		m.figures = append(m.figures, f)
		setting, speeds = f.Setting, []float64{f.MedianTS, f.MinTS, f.MaxTS}
	case "ratio":
		var r bench.Ratio
		if err := json.Unmarshal(data, &r); err != nil {
			return fmt.Errorf("%w: %w", errLine, err)
		}
		m.ratios = append(m.ratios, r)
		setting, speeds = r.Setting, []float64{r.PeerTS, r.Ratio, r.RatioMin, r.RatioMax}
		for _, samples := range r.PeerSamples {
			speeds = append(speeds, samples...)
		}
	default:
		known, err := m.decodeLine(kind.Kind, data)
		if !known {
			err = fmt.Errorf("%w: kind %q", errLine, kind.Kind)
		}
		return err
	}
	const most, least = 1 << 30, 1e-9 // what a logarithmic axis can show and somebody can mean
	if setting.Prompt < 0 || setting.Gen < 0 || setting.Depth < 0 || setting.Prompt > most || setting.Gen > most || setting.Depth > most ||
		(setting.Prompt > 0) == (setting.Gen > 0) || setting.Batch < 1 {
		return fmt.Errorf("%w: %d prompt tokens, %d generated, depth %d, batch %d", errLine, setting.Prompt, setting.Gen, setting.Depth, setting.Batch)
	}
	for _, v := range speeds {
		if !(v > least && v < 1/least) {
			return fmt.Errorf("%w: %s has the speed or ratio %g", errLine, setting.Test, v)
		}
	}
	return nil
}
