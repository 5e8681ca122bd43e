package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"nosa/bench"
)

// chart is one picture: speeds, or ratios, over a number of tokens, both on logarithmic axes.
type chart struct {
	file         string
	title        string
	xName, yName string
	lines        []line
	parity       bool // mark where both are equally fast
}

// line is one method's, or the peer's.
type line struct {
	name   string
	kind   lineKind
	points []point // ascending in x
}

type lineKind int

const (
	oursLine lineKind = iota
	peerLine
	roofLine // what the machine allows the line of ours before it
)

// point is a median with the range of its samples.
type point struct{ x, y, low, high float64 }

// charts sorts everything into pictures; lines of a single point are left out where a picture has others.
func (m *measurements) charts(roofline bool) []chart {
	var models []string
	for _, f := range m.figures {
		if !slices.Contains(models, f.Model) {
			models = append(models, f.Model)
		}
	}
	var all []chart
	for _, model := range models {
		name := strings.TrimSuffix(filepath.Base(model), ".gguf")
		file := fileName(name)
		for _, c := range []struct {
			chart
			wanted func(bench.Setting) bool
			x      func(bench.Setting) float64
			ratio  bool
		}{
			{chart{file: file + "-decode.png", title: "Decode speed against context: " + name, xName: "context in tokens", yName: "tokens per second"}, isDecode, middle, false},
			{chart{file: file + "-prefill.png", title: "Prefill speed against length: " + name, xName: "tokens at the end of the prompt", yName: "tokens per second"}, isPrefill, end, false},
			{chart{file: file + "-decode-ratio.png", title: "Decode speed, times the peer's: " + name, xName: "context in tokens", yName: "times as fast", parity: true}, isDecode, middle, true},
			{chart{file: file + "-prefill-ratio.png", title: "Prefill speed, times the peer's: " + name, xName: "tokens at the end of the prompt", yName: "times as fast", parity: true}, isPrefill, end, true},
		} {
			wanted := func(s bench.Setting) bool { return s.Model == model && c.wanted(s) }
			if c.ratio {
				c.lines = m.ratioLines(wanted, c.x)
			} else {
				c.lines = m.speedLines(wanted, c.x, roofline)
			}
			c.lines = slices.DeleteFunc(c.lines, func(l line) bool { return len(l.points) < 2 })
			if len(c.lines) > 0 {
				all = append(all, c.chart)
			}
		}
	}
	return all
}

func isDecode(s bench.Setting) bool  { return s.Gen > 0 }
func isPrefill(s bench.Setting) bool { return s.Prompt > 0 }

// middle is the context that a token of a decode test has on average.
func middle(s bench.Setting) float64 { return float64(s.Depth) + float64(s.Gen)/2 }

// end is the context of a prompt's last token.
func end(s bench.Setting) float64 { return float64(s.Depth + s.Prompt) }

// speedLines are ours, and the peer's, of which each ratio tells.
func (m *measurements) speedLines(wanted func(bench.Setting) bool, x func(bench.Setting) float64, roofline bool) []line {
	ours, roofs, peer := newLines(oursLine), newLines(roofLine), newLines(peerLine)
	name := m.names(wanted)
	for _, f := range m.figures {
		if !wanted(f.Setting) {
			continue
		}
		ours.put(name(f.Setting), point{x(f.Setting), f.MedianTS, f.MinTS, f.MaxTS})
		if roofline && f.RooflineTS > 1e-9 && f.RooflineTS < 1e9 {
			roofs.put("at most, "+name(f.Setting), point{x(f.Setting), f.RooflineTS, f.RooflineTS, f.RooflineTS})
		}
	}
	for _, r := range m.ratios {
		if samples := r.PeerSamples[r.Flash]; wanted(r.Setting) && len(samples) > 0 {
			peer.put(peerName(r), point{x(r.Setting), r.PeerTS, slices.Min(samples), slices.Max(samples)})
		}
	}
	return slices.Concat(ours.sorted(), peer.sorted(), roofs.sorted())
}

func (m *measurements) ratioLines(wanted func(bench.Setting) bool, x func(bench.Setting) float64) []line {
	lines := newLines(oursLine)
	name := m.names(wanted)
	for _, r := range m.ratios {
		if wanted(r.Setting) {
			lines.put(name(r.Setting), point{x(r.Setting), r.Ratio, r.RatioMin, r.RatioMax})
		}
	}
	return lines.sorted()
}

// names tells how a line is called: by its method, and by what else differs between the lines of a picture.
func (m *measurements) names(wanted func(bench.Setting) bool) func(bench.Setting) string {
	formats, numerics := map[string]bool{}, map[string]bool{}
	for _, f := range m.figures {
		if wanted(f.Setting) {
			formats[f.KVType], numerics[f.Numerics] = true, true
		}
	}
	return func(s bench.Setting) string {
		name := s.Attention + batch(s) + after(s)
		if len(formats) > 1 {
			name += ", KV " + s.KVType
		}
		if len(numerics) > 1 {
			name += ", " + s.Numerics
		}
		return name
	}
}

func peerName(r bench.Ratio) string {
	name := "llama.cpp"
	if !strings.HasPrefix(r.Peer, "llama-bench") {
		name, _, _ = strings.Cut(r.Peer, " ")
	}
	return name + batch(r.Setting) + after(r.Setting)
}

func batch(s bench.Setting) string {
	if s.Batch > 1 {
		return fmt.Sprintf(" x%d", s.Batch)
	}
	return ""
}

// after tells prompts that go on from a depth from whole ones.
func after(s bench.Setting) string {
	if s.Prompt > 0 && s.Depth > 0 {
		return fmt.Sprintf(", the last %d", s.Prompt)
	}
	return ""
}

// lines are collected by name, in the order in which they come.
type lines struct {
	kind lineKind
	all  []line
}

func newLines(kind lineKind) *lines { return &lines{kind: kind} }

// put adds a point, or puts it in the place of one with the same x.
func (l *lines) put(name string, p point) {
	i := slices.IndexFunc(l.all, func(x line) bool { return x.name == name })
	if i < 0 {
		i = len(l.all)
		l.all = append(l.all, line{name: name, kind: l.kind})
	}
	points := &l.all[i].points
	if j := slices.IndexFunc(*points, func(q point) bool { return q.x == p.x }); j >= 0 {
		(*points)[j] = p
		return
	}
	*points = append(*points, p)
}

func (l *lines) sorted() []line {
	for _, x := range l.all {
		slices.SortFunc(x.points, func(a, b point) int { return cmp.Compare(a.x, b.x) })
	}
	return l.all
}

// fileName makes a model's name fit for a file: letters, digits, dots and dashes.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, name)
}
