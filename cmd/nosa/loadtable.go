package main

import (
	"fmt"
	"strings"

	"nosa/bench/load"
)

// writeLoad prints what `nosa bench serve` has measured.
func writeLoad(out *Output, r *load.Report, c *load.Config) {
	if len(r.Results) == 0 {
		return
	}
	how := fmt.Sprintf("closed loop of %d", c.Concurrency)
	if c.Rate > 0 {
		how = fmt.Sprintf("open loop of %g requests/s, burstiness %g", c.Rate, c.Burstiness)
		if c.Concurrency > 0 {
			how += fmt.Sprintf(", at most %d open", c.Concurrency)
		}
	}
	lines := []string{
		fmt.Sprintf("%d requests completed, %d failed, %d cut short, in %.2f s; %s, at most %d at once", r.Completed, r.Failed, r.Cut, r.Duration.Seconds(), how, r.PeakOpen),
	}
	if r.Completed > 0 {
		lines = append(lines,
			fmt.Sprintf("%d prompt tokens (%d from a cache), %d generated; per request %d and %d", r.Input, r.Cached, r.Output, r.Input/r.Completed, r.Output/r.Completed),
			fmt.Sprintf("%s requests/s; generated %s tokens/s, %s in the best second; with prompts %s tokens/s",
				speed(r.PerSecond(r.Completed)), speed(r.PerSecond(r.Output)), speed(r.PeakOutput), speed(r.PerSecond(r.Input+r.Output))))
	}
	if len(c.Goals) > 0 {
		lines = append(lines, fmt.Sprintf("goodput %s requests/s: %d of %d meet the goals", speed(r.PerSecond(r.Good)), r.Good, len(r.Results)))
	}
	for _, line := range lines {
		out.Printf("%s\n", out.fold(line))
	}
	if r.Completed > 0 {
		t := newTable("milliseconds", "mean", "std", "p50", "p90", "p95", "p99")
		add := func(name string, f load.Figures) {
			if f.Count == 0 {
				t.row(name, "-", "-", "-", "-", "-", "-")
				return
			}
			row := []string{name, fixed(f.Mean), fixed(f.Deviation)}
			for _, p := range load.Percentiles {
				row = append(row, fixed(f.Percentile(p)))
			}
			t.row(row...)
		}
		add("to the first token (TTFT)", r.TTFT)
		add("per token after it (TPOT)", r.TPOT)
		add("between events (ITL)", r.ITL)
		add("whole answer (E2EL)", r.E2EL)
		if c.Rate > 0 {
			add("sent behind its time", r.Late)
		}
		out.Printf("\n")
		t.write(out)
	}
	if remarks := loadRemarks(r, c); len(remarks) > 0 {
		out.Printf("\n")
		for _, line := range remarks {
			out.Printf("%s\n", out.fold(line))
		}
	}
}

// mostShown is how many reasons of failures are printed.
const mostShown = 5

// loadRemarks say what makes figures something else than they seem.
func loadRemarks(r *load.Report, c *load.Config) (lines []string) {
	for _, f := range r.Failures[:min(len(r.Failures), mostShown)] {
		lines = append(lines, fmt.Sprintf("%d failed: %s", f.Count, printable(strings.TrimSpace(f.Reason), 300)))
	}
	if more := len(r.Failures) - mostShown; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d other reasons", more))
	}
	if r.Uncounted > 0 {
		lines = append(lines, fmt.Sprintf("%d answers came without usage: their events were counted as tokens", r.Uncounted))
	}
	if r.Resent > 0 {
		lines = append(lines, fmt.Sprintf("%d requests were sent again, since the server had closed a connection that it kept", r.Resent))
	}
	if r.Short > 0 && c.IgnoreEnd {
		lines = append(lines, fmt.Sprintf("%d answers have fewer tokens than were asked for, in spite of --ignore-eos", r.Short))
	}
	if r.Events > 0 && float64(r.Output) > 1.05*float64(r.Events) {
		lines = append(lines, fmt.Sprintf("%.2f tokens an event: gaps between events are not those between tokens", float64(r.Output)/float64(r.Events)))
	}
	return lines
}

// fixed is a number with two digits after the point.
func fixed(v float64) string { return fmt.Sprintf("%.2f", v) }
