package main

import (
	"cmp"
	"fmt"
	"image/color"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"nosa/eval"
)

// curve is a method, or a policy with several budgets.
type curve struct {
	name   string
	points plotter.XYs
}

// kinds are what is drawn against the bytes that are kept.
var kinds = []struct {
	file, title, y string
	value          func(eval.Cell) (v float64, ok bool)
}{
	{"quality", "Quality against bytes kept", "mean score, %", func(c eval.Cell) (float64, bool) {
		return c.Score, c.Perplexity == nil && c.Fidelity == nil && c.Locality == nil
	}},
	{"perplexity", "Perplexity against bytes kept", "perplexity by token", func(c eval.Cell) (float64, bool) {
		if c.Perplexity == nil {
			return 0, false
		}
		return c.Perplexity.Perplexity, true
	}},
	{"fidelity", "Distance from full attention against bytes kept", "KL, nats per token", func(c eval.Cell) (float64, bool) {
		if c.Fidelity == nil {
			return 0, false
		}
		return c.Fidelity.KL, true
	}},
	{"speed", "Decode speed against bytes kept", "tokens per second", func(c eval.Cell) (float64, bool) { return c.DecodeSpeed, c.DecodeSpeed > 0 }},
}

// cell is a task at a length.
type cell struct {
	task   string
	length int
}

// curves are the pictures of settings that keep different parts of the cache. Means are over what all of these have measured.
func curves(settings []eval.SettingSummary) (pictures []picture) {
	for _, k := range kinds {
		counts := map[cell]int{}
		have := 0
		for _, s := range settings {
			any := false
			for _, c := range s.Cells {
				if _, ok := k.value(c); ok && c.KVShare > 0 {
					counts[cell{c.Task, c.Length}]++
					any = true
				}
			}
			if any {
				have++
			}
		}
		var drawn []curve
		shares := map[float64]bool{}
		for _, s := range settings {
			var value, held, full float64
			n := 0
			for _, c := range s.Cells {
				if v, ok := k.value(c); ok && c.KVShare > 0 && counts[cell{c.Task, c.Length}] == have {
					value, held, full = value+v, held+c.KVBytes, full+c.KVFullBytes
					n++
				}
			}
			if n > 0 && full > 0 {
				point := plotter.XY{X: 100 * held / full, Y: value / float64(n)}
				shares[point.X] = true
				drawn = addPoint(drawn, family(s.Setting), point)
			}
		}
		if len(shares) < 2 {
			continue
		}
		for i := range drawn {
			slices.SortFunc(drawn[i].points, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
		}
		pictures = append(pictures, picture{file: k.file, title: k.title, draw: func(p *plot.Plot) error {
			p.X.Label.Text, p.Y.Label.Text = "bytes kept, % of full attention's", k.y
			if err := drawCurves(p, drawn); err != nil {
				return err
			}
			p.X.Min, p.X.Max = 0, max(p.X.Max, 100)+5
			room := max((p.Y.Max-p.Y.Min)/20, 1e-9)
			p.Y.Min, p.Y.Max = p.Y.Min-room, p.Y.Max+room
			return nil
		}})
	}
	return pictures
}

// family is a setting without the options of its policy, which say how much is kept.
func family(s eval.Setting) string {
	name, _, _ := strings.Cut(s.Policy, ":")
	return eval.Setting{Method: s.Method, Policy: name}.Name()
}

func addPoint(to []curve, name string, p plotter.XY) []curve {
	for i := range to {
		if to[i].name == name {
			to[i].points = append(to[i].points, p)
			return to
		}
	}
	return append(to, curve{name, plotter.XYs{p}})
}

// colours are those of Okabe and Ito, which people of every colour vision can tell apart; marks and dashes differ as well.
var colours = []color.RGBA{{0x00, 0x72, 0xb2, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x00, 0x9e, 0x73, 0xff}, {0xcc, 0x79, 0xa7, 0xff}, {0xe6, 0x9f, 0x00, 0xff}, {0x56, 0xb4, 0xe9, 0xff}}

var marks = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}, draw.TriangleGlyph{}, draw.PyramidGlyph{}, draw.PlusGlyph{}, draw.CrossGlyph{}, draw.RingGlyph{}}

var dashes = [][]vg.Length{nil, {vg.Points(8), vg.Points(3)}, {vg.Points(2), vg.Points(2)}}

func drawCurves(p *plot.Plot, all []curve) error {
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xd4}, color.Gray{0xd4}
	p.Add(grid)
	for i, c := range all {
		line, dots, err := plotter.NewLinePoints(c.points)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		colour := colours[i%len(colours)]
		line.LineStyle = draw.LineStyle{Width: vg.Points(2), Color: colour, Dashes: dashes[i/len(colours)%len(dashes)]}
		dots.GlyphStyle = draw.GlyphStyle{Color: colour, Radius: vg.Points(5), Shape: marks[i%len(marks)]}
		p.Add(line, dots)
		p.Legend.Add(c.name, line, dots)
	}
	return nil
}
