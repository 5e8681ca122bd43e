package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func reportCommand(args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("report", flag.ContinueOnError)
	out := f.String("o", "", "the `folder` of the plots; none are drawn without it")
	title := f.String("title", "", "a `text` behind each plot's title, such as the model's size")
	if err := parse(f, args, stderr, "the results of measure, NAME.json"); err != nil {
		return err
	}
	var all []*result
	for _, path := range f.Args() {
		r, err := readResult(path)
		if err != nil {
			return err
		}
		if r.Name == "" {
			return fmt.Errorf("%s: is no result of measure", path)
		}
		if i := slices.IndexFunc(all, func(o *result) bool { return o.Name == r.Name }); i >= 0 {
			if err := all[i].join(r); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			continue
		}
		all = append(all, r)
	}
	writeReport(stdout, all)
	if *out == "" {
		return nil
	}
	if err := os.MkdirAll(*out, 0o777); err != nil {
		return err
	}
	for _, c := range charts(all) {
		if len(c.lines) == 0 {
			continue
		}
		if *title != "" {
			c.title += " (" + *title + ")"
		}
		path := filepath.Join(*out, c.file)
		if err := c.draw(path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		fmt.Fprintln(stderr, path)
	}
	return nil
}

// writeReport writes the tables in Markdown.
func writeReport(w io.Writer, all []*result) {
	full, infllm := byMethod(all, "full"), byMethod(all, "infllmv2")
	row := func(cells ...string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	row("model", "attention", "parameters", "loss", "of full's", "needles", "hit rate", "worst layer", "bound")
	fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", 9))
	for _, r := range all {
		cells := []string{r.Name, r.Method, fmt.Sprintf("%.1fM", float64(r.Parameters)/1e6), "-", "-", "-", "-", "-", "-"}
		if r.Loss != nil {
			cells[3] = fmt.Sprintf("%.4f", r.Loss.Loss)
			if full != nil && full.Loss != nil && r.Loss.textSettings == full.Loss.textSettings {
				cells[4] = fmt.Sprintf("%.4f", r.Loss.Loss/full.Loss.Loss)
			}
		}
		if r.Needles != nil {
			cells[5] = fmt.Sprintf("%.1f %% of %d", 100*r.Needles.Share, r.Needles.Samples)
		}
		if run := r.run(0); run != nil {
			layer, worst := run.worst()
			cells[6], cells[7] = percent(run.rate()), fmt.Sprintf("%s (%d)", percent(worst), layer)
		}
		if r.Method == "nosa" && r.Sparse != nil {
			cells[8] = percent(r.Sparse.bound())
		}
		row(cells...)
	}
	writeLosses(row, w, all)
	writePools(row, w, all, infllm)
	writeLayers(row, w, all)
	writeDepths(row, w, all)
}

// writeLosses has the loss by position.
func writeLosses(row func(...string), w io.Writer, all []*result) {
	var longest *result
	for _, r := range all {
		if r.Loss != nil && (longest == nil || len(r.Loss.ByPosition) > len(longest.Loss.ByPosition)) {
			longest = r
		}
	}
	if longest == nil {
		return
	}
	fmt.Fprintf(w, "\nLoss by position, nats per token; %d documents of %d tokens each.\n\n", longest.Loss.Documents, longest.Loss.Context)
	head := []string{"positions"}
	for _, p := range longest.Loss.ByPosition {
		head = append(head, fmt.Sprintf("%d to %d", p.Begin, p.End-1))
	}
	header(row, w, head)
	for _, r := range all {
		if r.Loss == nil {
			continue
		}
		cells := []string{r.Name}
		for _, p := range r.Loss.ByPosition {
			cells = append(cells, fmt.Sprintf("%.3f", p.Loss))
		}
		row(pad(cells, len(head))...)
	}
}

// writePools has the misses by the size of the pool.
func writePools(row func(...string), w io.Writer, all []*result, infllm *result) {
	ratios := ratiosOf(all)
	if len(ratios) == 0 {
		return
	}
	first := all[slices.IndexFunc(all, func(r *result) bool { return r.Pools != nil })].Pools
	fmt.Fprintf(w, "\nHit rate of decode steps by slots for each block that is selected: 1 keeps each head's last selection, more are one pool of the last used blocks for all layers and heads; %d documents, the last %d of %d tokens of each.\n\n",
		first.Documents, first.Steps, first.Context)
	head := []string{"slots"}
	for _, ratio := range ratios {
		head = append(head, fmt.Sprint(ratio))
	}
	header(row, w, head)
	line := func(r *result, name string, cell func(run *poolRun) string) {
		cells := []string{name}
		for _, ratio := range ratios {
			if run := r.run(ratio); run != nil {
				cells = append(cells, cell(run))
			} else {
				cells = append(cells, "-")
			}
		}
		row(cells...)
	}
	for _, r := range all {
		if r.Pools == nil {
			continue
		}
		line(r, r.Name, func(run *poolRun) string { return percent(run.rate()) })
		if infllm == nil || infllm == r {
			continue
		}
		line(r, r.Name+", misses of infllmv2's", func(run *poolRun) string {
			other := infllm.run(max(run.Slots, 1))
			if other == nil || other.misses() == 0 {
				return "-"
			}
			return fmt.Sprintf("%.2f", run.misses()/other.misses())
		})
	}
}

// writeLayers has the hit rate of each layer where the last selection is kept.
func writeLayers(row func(...string), w io.Writer, all []*result) {
	most := 0
	for _, r := range all {
		if run := r.run(0); run != nil {
			most = max(most, len(run.Layers))
		}
	}
	if most == 0 {
		return
	}
	fmt.Fprint(w, "\nHit rate by layer, the last selection kept.\n\n")
	head := []string{"layer"}
	for i := range most {
		head = append(head, fmt.Sprint(i))
	}
	header(row, w, head)
	for _, r := range all {
		if run := r.run(0); run != nil {
			cells := []string{r.Name}
			for _, l := range run.Layers {
				cells = append(cells, percent(l.rate()))
			}
			row(pad(cells, len(head))...)
		}
	}
}

// writeDepths has the needles by where they lie.
func writeDepths(row func(...string), w io.Writer, all []*result) {
	if !slices.ContainsFunc(all, func(r *result) bool { return r.Needles != nil }) {
		return
	}
	fmt.Fprint(w, "\nNeedles found by depth, of the prompt's tenths.\n\n")
	header(row, w, []string{"depth", "0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"})
	for _, r := range all {
		if r.Needles == nil {
			continue
		}
		cells := []string{r.Name}
		for _, d := range r.Needles.ByDepth {
			cells = append(cells, fmt.Sprintf("%d of %d", d.Right, d.Of))
		}
		row(cells...)
	}
}

func header(row func(...string), w io.Writer, cells []string) {
	row(cells...)
	fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", len(cells)))
}

func pad(cells []string, n int) []string {
	for len(cells) < n {
		cells = append(cells, "-")
	}
	return cells
}

func percent(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }

// join takes over what another file has of the same model, whose parts may be measured side by side.
func (r *result) join(o *result) error {
	if r.Method != o.Method || r.Folder != o.Folder {
		return fmt.Errorf("%s is another model in another file", o.Name)
	}
	r.Loss, r.Needles, r.Pools = cmp.Or(r.Loss, o.Loss), cmp.Or(r.Needles, o.Needles), cmp.Or(r.Pools, o.Pools)
	return nil
}

// byMethod is the first result of a method.
func byMethod(all []*result, method string) *result {
	if i := slices.IndexFunc(all, func(r *result) bool { return r.Method == method }); i >= 0 {
		return all[i]
	}
	return nil
}

// run is that of a size of pool; nil where there is none. A slot for each selected block is what keeping the last selection comes to.
func (r *result) run(slots float64) *poolRun {
	if r.Pools == nil {
		return nil
	}
	for i := range r.Pools.Runs {
		if r.Pools.Runs[i].Slots == slots {
			return &r.Pools.Runs[i]
		}
	}
	if slots == 1 {
		return r.run(0)
	}
	return nil
}

// ratiosOf are the sizes of pools that were measured, ascending.
func ratiosOf(all []*result) (ratios []float64) {
	for _, r := range all {
		if r.Pools == nil {
			continue
		}
		for _, run := range r.Pools.Runs {
			if ratio := max(run.Slots, 1); !slices.Contains(ratios, ratio) { // 0 is drawn as 1: see run
				ratios = append(ratios, ratio)
			}
		}
	}
	slices.Sort(ratios)
	return ratios
}
