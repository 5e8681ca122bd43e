package main

import (
	"fmt"
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// chart is one picture.
type chart struct {
	file, title, xName string
	logX               bool
	lines              []line
}

// line is a curve, or marks alone. Lines of the same run have the same colour.
type line struct {
	name   string // empty: not in the legend
	run    int
	marks  bool
	points plotter.XYs
}

// lossChart has the loss of the steps, each the mean of those around it, and that of held-out data as marks.
func lossChart(logs []runLog, smooth int) chart {
	c := chart{file: "loss.png", title: "Loss", xName: "million tokens"}
	for i, l := range logs {
		curve := line{name: l.name, run: i}
		for at, r := range l.steps {
			reach := min(smooth, at, len(l.steps)-1-at)
			sum := 0.0
			for _, s := range l.steps[at-reach : at+reach+1] {
				sum += s.Loss
			}
			curve.points = append(curve.points, plotter.XY{X: float64(r.Tokens) / 1e6, Y: sum / float64(2*reach+1)})
		}
		c.lines = append(c.lines, curve)
		held := line{run: i, marks: true}
		for _, r := range l.evals {
			held.points = append(held.points, plotter.XY{X: float64(r.Tokens) / 1e6, Y: *r.Eval})
		}
		if len(held.points) > 0 {
			held.name = l.name + ", held-out"
			c.lines = append(c.lines, held)
		}
	}
	return c
}

// positionChart has the loss of the last evaluation at positions of the document.
func positionChart(logs []runLog) chart {
	c := chart{file: "positions.png", title: "Loss of held-out data by position", xName: "position in the document, tokens", logX: true}
	for i, l := range logs {
		if len(l.evals) == 0 {
			continue
		}
		curve := line{name: l.name, run: i}
		for _, p := range l.evals[len(l.evals)-1].ByPosition {
			if p.Count > 0 {
				curve.points = append(curve.points, plotter.XY{X: float64(p.End), Y: p.Loss})
			}
		}
		c.lines = append(c.lines, curve)
	}
	return c
}

// The picture's size in pixels.
const (
	width, height = 1200, 750
	dpi           = 96
)

// palette is that of Okabe and Ito, which people of every colour vision can tell apart; marks and dashes differ as well.
var palette = []color.RGBA{{0x00, 0x72, 0xb2, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x00, 0x9e, 0x73, 0xff}, {0xcc, 0x79, 0xa7, 0xff}, {0xe6, 0x9f, 0x00, 0xff}, {0x56, 0xb4, 0xe9, 0xff}}

var shapes = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}, draw.TriangleGlyph{}, draw.PyramidGlyph{}, draw.PlusGlyph{}, draw.CrossGlyph{}}

var dashes = [][]vg.Length{nil, {vg.Points(8), vg.Points(3)}, {vg.Points(2), vg.Points(2)}}

// draw writes the picture as a PNG.
func (c chart) draw(path string) error {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.title, c.xName, "nats per token"
	p.Title.TextStyle.Font.Size, p.Title.Padding = vg.Points(16), vg.Points(10)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font.Size, a.Tick.Label.Font.Size, a.Label.Padding = vg.Points(14), vg.Points(13), vg.Points(6)
	}
	p.Legend.Top, p.Legend.TextStyle.Font.Size, p.Legend.ThumbnailWidth = true, vg.Points(13), vg.Points(42)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xd4}, color.Gray{0xd4}
	p.Add(grid)
	for _, l := range c.lines {
		if err := l.add(p, c.logX); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	if c.logX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.TickerFunc(positionTicks)
	}
	canvas := vgimg.NewWith(vgimg.UseWH(width*vg.Inch/dpi, height*vg.Inch/dpi), vgimg.UseDPI(dpi))
	p.Draw(draw.Crop(draw.New(canvas), vg.Points(8), -vg.Points(20), vg.Points(8), -vg.Points(8)))
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err = (vgimg.PngCanvas{Canvas: canvas}).WriteTo(f); err != nil {
		_ = f.Close() // the write's error says more
		return err
	}
	return f.Close()
}

// add draws a line, with a mark at each point where there are few.
func (l line) add(p *plot.Plot, few bool) error {
	curve, dots, err := plotter.NewLinePoints(l.points)
	if err != nil {
		return err
	}
	colour := palette[l.run%len(palette)]
	curve.LineStyle = draw.LineStyle{Width: vg.Points(2), Color: colour, Dashes: dashes[l.run/len(palette)%len(dashes)]}
	dots.GlyphStyle = draw.GlyphStyle{Color: colour, Radius: vg.Points(5), Shape: shapes[l.run%len(shapes)]}
	switch {
	case l.marks:
		p.Add(dots)
		p.Legend.Add(l.name, dots)
	case few:
		p.Add(curve, dots)
		p.Legend.Add(l.name, curve, dots)
	default:
		p.Add(curve)
		p.Legend.Add(l.name, curve)
	}
	return nil
}

// positionTicks are the powers of two, named 64, 1K, 2K.
func positionTicks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for v := 1.0; v <= high; v *= 2 {
		if v < low {
			continue
		}
		name := fmt.Sprintf("%.0f", v)
		if v >= 1024 {
			name = fmt.Sprintf("%.0fK", v/1024)
		}
		ticks = append(ticks, plot.Tick{Value: v, Label: name})
	}
	return ticks
}
