package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"nosa/bench/decode"
)

// pytorch is the system that scripts/bench/torch_decode.py measures.
const pytorch = "pytorch"

// prefilled and product are lines of torch_decode.py.
type prefilled struct {
	Shape  string  `json:"shape"`
	Tokens int     `json:"tokens"`
	SDPA   string  `json:"sdpa"`
	MS     float64 `json:"ms"`
	Speed  float64 `json:"tokens_per_second"`
	FLOPS  float64 `json:"tflops_per_second"`
	Error  string  `json:"error"`
}

type product struct {
	Shape    string  `json:"shape"`
	Name     string  `json:"product"` // empty: all of a step
	Rows     int     `json:"rows"`
	Us       float64 `json:"us"`
	MS       float64 `json:"ms"`
	Rate     float64 `json:"gb_per_second"`
	Fraction float64 `json:"fraction"`
}

// decodeLine reads a line of `nosa bench decode --json` or of torch_decode.py; false: it is neither's.
func (m *measurements) decodeLine(kind string, data []byte) (bool, error) {
	var into any
	var result decode.Result
	var machine decode.Machine
	var pre prefilled
	var times product
	switch kind {
	case "decode", "baseline":
		into = &result
	case "decode_machine":
		into = &machine
	case "baseline_machine":
		var v struct {
			Device, Torch string
			Copy          float64 `json:"copy_bandwidth"`
		}
		if err := json.Unmarshal(data, &v); err != nil {
			return true, fmt.Errorf("%w: %w", errLine, err)
		}
		m.machines = append(m.machines, fmt.Sprintf("PyTorch %s on %s: a copy moves %.0f GB/s", v.Torch, v.Device, v.Copy/1e9))
		return true, nil
	case "baseline_prefill":
		into = &pre
	case "product", "products":
		into = &times
	case "decode_best", "baseline_end", "check": // follow from the others, or say nothing of speed
		return true, nil
	default:
		return false, nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return true, fmt.Errorf("%w: %w", errLine, err)
	}
	switch kind {
	case "decode", "baseline":
		if kind == "baseline" {
			result.System = pytorch
			result.HitRate = 1
		}
		return true, m.addResult(result)
	case "decode_machine":
		m.machines = append(m.machines, fmt.Sprintf("%s: a copy moves %.0f GB/s, the bus %.1f", machine.Device, machine.Copy/1e9, machine.Bus/1e9))
	case "baseline_prefill":
		m.prefills = append(m.prefills, pre)
	default:
		m.products = append(m.products, times)
	}
	return true, nil
}

// addResult takes a setting's outcome; one that is there already is replaced.
func (m *measurements) addResult(r decode.Result) error {
	if r.Batch < 1 || r.Batch > 1<<20 || r.Context < 1 || r.Context > 1<<30 {
		return fmt.Errorf("%w: %d sequences of %d tokens", errLine, r.Batch, r.Context)
	}
	if r.Error == "" {
		for _, v := range []float64{r.MS, r.MinMS, r.MaxMS, r.Speed} {
			if !(v > 1e-9 && v < 1e12) {
				return fmt.Errorf("%w: a step of %g ms, %g tokens/s", errLine, r.MS, r.Speed)
			}
		}
		if r.MinMS > r.MS || r.MS > r.MaxMS {
			return fmt.Errorf("%w: a median of %g ms is not between %g and %g", errLine, r.MS, r.MinMS, r.MaxMS)
		}
	}
	same := func(o *decode.Result) bool { return o.Setting == r.Setting }
	if i := slices.IndexFunc(m.decoded, same); i >= 0 {
		m.decoded[i] = &r
		return nil
	}
	m.decoded = append(m.decoded, &r)
	return nil
}

// task is what all lines of a picture, and rows of a table, have in common.
type task struct {
	shape   string
	context int
	memory  int64
}

func taskOf(r *decode.Result) task { return task{r.Shape, r.Context, r.Memory} }

func (t task) String() string {
	s := fmt.Sprintf("%s, %s tokens", t.shape, thousands(t.context))
	if t.memory > 0 {
		s += fmt.Sprintf(", %.4g GiB on the device", float64(t.memory)/(1<<30))
	}
	return s
}

// tasks lists those that were measured, the short first.
func (m *measurements) tasks() []task {
	var all []task
	for _, r := range m.decoded {
		if t := taskOf(r); !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	slices.SortStableFunc(all, func(a, b task) int {
		return cmp.Or(strings.Compare(a.shape, b.shape), cmp.Compare(a.memory, b.memory), cmp.Compare(a.context, b.context))
	})
	return all
}

// of are the results of a task, with PyTorch's where all memory is free.
func (m *measurements) of(t task) []*decode.Result {
	var all []*decode.Result
	for _, r := range m.decoded {
		if taskOf(r) == t {
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b *decode.Result) int {
		return cmp.Or(cmp.Compare(order(a.System), order(b.System)), strings.Compare(a.Weights, b.Weights), strings.Compare(a.KVType, b.KVType), cmp.Compare(a.Batch, b.Batch))
	})
	return all
}

// order puts PyTorch before ours.
func order(system string) int { return slices.Index(decode.Systems, system) }

// decodeCharts are throughput against batch, a picture for each task.
func (m *measurements) decodeCharts(roofline bool) []chart {
	var all []chart
	for _, t := range m.tasks() {
		name := "throughput-" + t.shape + "-" + thousands(t.context)
		if t.memory > 0 {
			name += fmt.Sprintf("-%dGiB", t.memory>>30)
		}
		c := chart{file: fileName(name) + ".png", title: "Decode throughput: " + t.String(), xName: "sequences decoded together", yName: "tokens per second, all sequences"}
		ours, peer, roofs := newLines(oursLine), newLines(peerLine), newLines(roofLine)
		for _, r := range m.of(t) {
			if r.Error != "" {
				continue
			}
			name, to := label(r), ours
			if r.System == pytorch {
				name, to = "PyTorch, full", peer
			}
			batch := float64(r.Batch)
			to.put(name, point{batch, r.Speed, batch / r.MaxMS * 1e3, batch / r.MinMS * 1e3})
			if least := r.RooflineMS; roofline && least > 1e-9 && least < 1e12 {
				at := batch / least * 1e3
				roofs.put("at most, "+name, point{batch, at, at, at})
			}
		}
		c.lines = slices.Concat(ours.sorted(), peer.sorted(), roofs.sorted())
		c.lines = slices.DeleteFunc(c.lines, func(l line) bool { return len(l.points) < 2 })
		if len(c.lines) > 0 {
			all = append(all, c)
		}
	}
	return all
}

// label names a system with its formats.
func label(r *decode.Result) string {
	s := r.System + ", KV " + r.KVType
	if r.Weights != "bf16" {
		s += ", weights " + r.Weights
	}
	if r.KVDevice > 0 {
		s += fmt.Sprintf(", slots in %.4g GiB", float64(r.KVDevice)/(1<<30))
	}
	return s
}

// table writes everything as Markdown.
func (m *measurements) table(w io.Writer) error {
	var b strings.Builder
	for _, line := range m.machines {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	for _, t := range m.tasks() {
		m.tableOf(&b, t)
	}
	if len(m.prefills) > 0 {
		b.WriteString("\n## Prefill of PyTorch\n\n| shape | tokens | SDPA | ms | tokens/s | TFLOP/s |\n|---|---|---|---|---|---|\n")
		for _, p := range m.prefills {
			if p.Error != "" {
				fmt.Fprintf(&b, "| %s | %s | %s | %s | | |\n", cell(p.Shape), thousands(p.Tokens), cell(p.SDPA), cell(p.Error))
				continue
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %.0f | %.0f | %.0f |\n", cell(p.Shape), thousands(p.Tokens), cell(p.SDPA), p.MS, p.Speed, p.FLOPS)
		}
	}
	if len(m.products) > 0 {
		b.WriteString("\n## Products of cuBLAS\n\n| shape | product | rows | µs | GB/s of weights | of a copy |\n|---|---|---|---|---|---|\n")
		for _, p := range m.products {
			name, us := p.Name, p.Us
			if name == "" {
				name, us = "all of a step", 1e3*p.MS
			}
			fmt.Fprintf(&b, "| %s | %s | %d | %.1f | %.0f | %.2f |\n", cell(p.Shape), cell(name), p.Rows, us, p.Rate, p.Fraction)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (m *measurements) tableOf(b *strings.Builder, t task) {
	results := m.of(t)
	fmt.Fprintf(b, "\n## %s\n\n", cell(t.String()))
	b.WriteString("| system | batch | ms a step | min to max | tokens/s | hits | slots/head | GB read | GB bus | reached |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range results {
		if r.Error != "" {
			fmt.Fprintf(b, "| %s | %d | %s | | | | | | | |\n", cell(label(r)), r.Batch, cell(r.Error))
			continue
		}
		fmt.Fprintf(b, "| %s | %d | %.2f | %.2f to %.2f | %.0f |", cell(label(r)), r.Batch, r.MS, r.MinMS, r.MaxMS, r.Speed)
		if r.System == pytorch {
			fmt.Fprintf(b, " | | | | %.2f |\n", r.Fraction)
			continue
		}
		fmt.Fprintf(b, " %.1f %% | %.0f | %.2f | %.3f | %.2f |\n", 100*r.HitRate, r.SlotsEach, r.Bytes.Device()/1e9, r.Bytes.Bus/1e9, r.Fraction)
	}
	best := decode.Compare(results)
	if len(best) < 2 {
		return
	}
	b.WriteString("\nEach at its best batch, times as fast as the others at theirs:\n\n| system | batch | tokens/s | hits | over |\n|---|---|---|---|---|\n")
	for _, x := range best {
		var over []string
		for _, o := range x.Over {
			over = append(over, o.String())
		}
		name := label(&decode.Result{Setting: decode.Setting{System: x.System, KVType: x.KVType, Weights: x.Weights}})
		fmt.Fprintf(b, "| %s | %d | %.0f | %.1f %% | %s |\n", cell(name), x.Batch, x.Speed, 100*x.HitRate, cell(strings.Join(over, ", ")))
	}
}

// cell makes a text fit for a table of Markdown, in one line.
func cell(s string) string {
	return strings.NewReplacer("|", "/", "\n", " ", "\r", " ", "<", "‹", ">", "›", "`", "'").Replace(s)
}

// thousands is a number of tokens in units of 1024 where it is whole.
func thousands(n int) string {
	if n >= 1024 && n%1024 == 0 {
		return fmt.Sprintf("%dK", n/1024)
	}
	return fmt.Sprint(n)
}
