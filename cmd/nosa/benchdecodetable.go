package main

import (
	"fmt"
	"strings"

	"nosa/bench/decode"
)

// decodeReport collects what `nosa bench decode` prints for people.
type decodeReport struct {
	machine *decode.Machine
	results []*decode.Result
	best    []*decode.Best
}

func (r *decodeReport) add(v any) {
	switch v := v.(type) {
	case *decode.Machine:
		r.machine = v
	case *decode.Result:
		r.results = append(r.results, v)
	case *decode.Best:
		r.best = append(r.best, v)
	}
}

// write prints the machine, every setting, and the best of each system.
func (r *decodeReport) write(out *Output) {
	if len(r.results) == 0 {
		return
	}
	if m := r.machine; m != nil {
		out.Printf("%s\n", out.fold(fmt.Sprintf("%s; a copy moves %.0f GB/s, the bus %.1f", m.Device, m.Copy/1e9, m.Bus/1e9)))
	}
	s := r.results[0].Setting
	out.Printf("%s\n\n", out.fold(fmt.Sprintf("%s with random weights, median of %d steps behind %d", s.Shape, s.Steps, s.Warm)))
	t := newTable("context", "system", "weights", "KV", "batch", "new", "ms", "min", "max", "tokens/s", "hits", "slots/head", "GB read", "GB bus", "copies ms", "hidden", "at least ms", "reached")
	var failed []string
	for _, f := range r.results {
		row := []string{tokens(f.Context), f.System, f.Weights, f.KVType, fmt.Sprint(f.Batch)}
		if f.Error != "" {
			failed = append(failed, fmt.Sprintf("%s: %s", f.Setting, f.Error))
			continue
		}
		share := "-"
		if f.New > 0 {
			share = fmt.Sprintf("%.3g %%", 100*f.New)
		}
		copies, hidden := "-", "-"
		if f.CopyMS > 0 {
			copies, hidden = fmt.Sprintf("%.2f", f.CopyMS), fmt.Sprintf("%.0f %%", 100*f.Hidden)
		}
		t.row(append(row, share, fmt.Sprintf("%.2f", f.MS), fmt.Sprintf("%.2f", f.MinMS), fmt.Sprintf("%.2f", f.MaxMS), speed(f.Speed), fmt.Sprintf("%.1f %%", 100*f.HitRate),
			fmt.Sprintf("%.0f", f.SlotsEach), fmt.Sprintf("%.2f", f.Bytes.Device()/1e9), fmt.Sprintf("%.3f", f.Bytes.Bus/1e9),
			copies, hidden, fmt.Sprintf("%.2f", f.RooflineMS), fmt.Sprintf("%.0f %%", 100*f.Fraction))...)
	}
	t.write(out)
	for _, line := range failed {
		out.Printf("%s\n", out.fold(line))
	}
	r.writeKernels(out)
	if len(r.best) < 2 {
		return
	}
	out.Printf("\nthe best batch of each, times as fast as the others at theirs:\n\n")
	t = newTable("context", "system", "weights", "KV", "batch", "tokens/s", "hits", "reached", "over")
	for _, b := range r.best {
		var over []string
		for _, o := range b.Over {
			over = append(over, o.String())
		}
		t.row(tokens(b.Context), b.System, b.Weights, b.KVType, fmt.Sprint(b.Batch), speed(b.Speed), fmt.Sprintf("%.1f %%", 100*b.HitRate), fmt.Sprintf("%.0f %%", 100*b.Part), strings.Join(over, ", "))
	}
	t.write(out)
}

// writeKernels prints where the time of a step goes, of settings that timed it.
func (r *decodeReport) writeKernels(out *Output) {
	for _, f := range r.results {
		if len(f.Kernels) == 0 {
			continue
		}
		out.Printf("\n%s, of which:\n\n", f.Setting)
		t := newTable("kernel", "ms a step", "part")
		for _, k := range f.Kernels {
			t.row(k.Name, fmt.Sprintf("%.3f", k.MS), fmt.Sprintf("%.1f %%", 100*k.MS/f.MS))
		}
		t.write(out)
	}
}

// tokens is a number of them as --context takes it.
func tokens(n int) string {
	if n >= 1024 && n%1024 == 0 {
		return fmt.Sprintf("%dK", n/1024)
	}
	return fmt.Sprint(n)
}
