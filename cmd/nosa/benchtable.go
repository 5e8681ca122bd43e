package main

import (
	"fmt"
	"strings"

	"nosa/bench"
)

// benchReport collects what `nosa bench` prints for people.
type benchReport struct {
	figures []*bench.Figure
	ratios  []*bench.Ratio
}

func (r *benchReport) add(v any) {
	switch v := v.(type) {
	case *bench.Figure:
		r.figures = append(r.figures, v)
	case *bench.Ratio:
		r.ratios = append(r.ratios, v)
	}
}

// write prints the machine, what was measured, and the comparison.
func (r *benchReport) write(out *Output, c bench.Config) {
	if len(r.figures) == 0 {
		return
	}
	for _, line := range machineLines(c.Machine) {
		out.Printf("%s\n", out.fold(line))
	}
	out.Printf("%s\n\n", out.fold(fmt.Sprintf("%s, KV in %s, %d threads; median of %s", printable(c.Model, maxCell), c.KVType, c.Threads, runs(c.Repeat))))
	t := newTable("test", "attention", "tokens/s", "min", "max", "bytes/token", "at most", "reached", "bound by")
	for _, f := range r.figures {
		most, reached := "-", "-"
		if f.RooflineTS > 0 {
			most, reached = speed(f.RooflineTS), fmt.Sprintf("%.0f %%", 100*f.Fraction)
		}
		t.row(f.Test, f.Attention, speed(f.MedianTS), speed(f.MinTS), speed(f.MaxTS), sizeText(int64(f.BytesPerToken)), most, reached, f.Bound)
	}
	t.write(out)
	defer r.disturbed(out)
	if len(r.ratios) == 0 {
		return
	}
	out.Printf("\nbeside %s, which used the better of its settings:\n\n", printable(r.ratios[0].Peer, maxCell))
	t = newTable("test", "attention", "ours", "theirs", "ratio", "min", "max", "its setting")
	for _, f := range r.ratios {
		t.row(f.Test, f.Attention, speed(f.OursTS), speed(f.PeerTS), times(f.Ratio), times(f.RatioMin), times(f.RatioMax), fmt.Sprintf("-fa %d", f.Flash))
	}
	t.write(out)
}

// tolerated is the part of the machine that other programs may take before it is said.
const tolerated = 0.02

// disturbed says when other programs made the figures low.
func (r *benchReport) disturbed(out *Output) {
	var worst float64
	test := ""
	for _, f := range r.figures {
		if f.Others > worst {
			worst, test = f.Others, f.Test
		}
	}
	for _, f := range r.ratios {
		if f.Others > worst {
			worst, test = f.Others, f.Test
		}
	}
	if worst > tolerated {
		out.Printf("\n%s\n", out.fold(fmt.Sprintf("other programs took up to %.0f %% of the machine's processor time (%s): these figures are low", 100*worst, test)))
	}
}

// machineLines say what the roofline was computed from.
func machineLines(m *bench.Machine) []string {
	if m == nil {
		return nil
	}
	lines := []string{m.Processor + "; " + m.Device}
	if len(m.Reads) == 0 {
		return lines
	}
	var reads []string
	for _, r := range m.Reads {
		reads = append(reads, fmt.Sprintf("%.1f of %s", r.Rate/1e9, decimal(r.Bytes)))
	}
	line := fmt.Sprintf("reads GB/s: %s; computes %.0f GFLOP/s in float32", strings.Join(reads, ", "), m.PeakF32/1e9)
	if m.PeakInt8 > 0 {
		line += fmt.Sprintf(", %.0f GOP/s in int16, %.0f in int8", m.PeakInt16/1e9, m.PeakInt8/1e9)
	}
	return append(lines, line)
}

// decimal is a working set's size: powers of two as such, others in units of 1000.
func decimal(n int) string {
	switch {
	case n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n%(1<<10) == 0 && n < 1<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	case n >= 1e9 && n%1e9 == 0:
		return fmt.Sprintf("%d GB", n/1e9)
	}
	return fmt.Sprintf("%d MB", n/1e6)
}

// speed is a number of tokens per second in three or four digits.
func speed(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func times(v float64) string { return fmt.Sprintf("%.2fx", v) }

func runs(n int) string {
	if n == 1 {
		return "1 run"
	}
	return fmt.Sprintf("%d runs", n)
}
