package main

import (
	"fmt"
	"image/color"
	"math"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// The picture's size in pixels.
const (
	width, height = 1200, 750
	dpi           = 96
)

// palette is that of Okabe and Ito, which people of every colour vision can tell apart; marks and dashes differ as well.
// The peer is black.
var palette = []color.RGBA{{0x00, 0x72, 0xb2, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x00, 0x9e, 0x73, 0xff}, {0xcc, 0x79, 0xa7, 0xff}, {0xe6, 0x9f, 0x00, 0xff}, {0x56, 0xb4, 0xe9, 0xff}}

var marks = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}, draw.TriangleGlyph{}, draw.PyramidGlyph{}, draw.PlusGlyph{}, draw.CrossGlyph{}}

var dashes = [][]vg.Length{nil, {vg.Points(8), vg.Points(3)}, {vg.Points(2), vg.Points(2)}}

// draw writes the picture as a PNG.
func (c chart) draw(path string) (err error) {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	c.frame(p)
	at, roofs := 0, 0
	for _, l := range c.lines {
		style := draw.LineStyle{Width: vg.Points(2.2), Color: color.Black, Dashes: dashes[1]}
		mark := draw.GlyphStyle{Color: color.Black, Radius: vg.Points(5), Shape: draw.RingGlyph{}}
		switch l.kind {
		case oursLine:
			style.Color, style.Dashes = palette[at%len(palette)], dashes[at/len(palette)%len(dashes)]
			mark.Color, mark.Shape = style.Color, marks[at%len(marks)]
			at++
		case roofLine:
			style = draw.LineStyle{Width: vg.Points(1.2), Color: faint(palette[roofs%len(palette)]), Dashes: dashes[2]}
			mark = draw.GlyphStyle{}
			roofs++
		}
		if err := c.line(p, l, style, mark); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
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

// frame sets titles, axes, grid and the range, with room for the legend below the lines, or above rising ratios.
func (c chart) frame(p *plot.Plot) {
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.title, c.xName, c.yName
	p.Title.TextStyle.Font.Size, p.Title.Padding = vg.Points(16), vg.Points(10)
	low, high := math.Inf(1), 0.0
	for _, l := range c.lines {
		for _, q := range l.points {
			p.X.Min, p.X.Max = min(p.X.Min, q.x), max(p.X.Max, q.x)
			low, high = min(low, q.low), max(high, q.high)
		}
	}
	p.X.Min, p.X.Max = p.X.Min/1.1, p.X.Max*1.1
	p.Y.Min, p.Y.Max = low/1.15, high*1.15
	if c.parity {
		p.Y.Min, p.Y.Max = min(p.Y.Min, 0.9), max(p.Y.Max, 1.1)
	}
	room := math.Pow(p.Y.Max/p.Y.Min, 0.09*float64(len(c.lines)))
	p.Legend.Left, p.Legend.Top = true, c.parity
	if c.parity {
		p.Y.Max *= room
	} else {
		p.Y.Min /= room
	}
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Scale = plot.LogScale{}
		a.Label.TextStyle.Font.Size, a.Tick.Label.Font.Size = vg.Points(14), vg.Points(13)
		a.Label.Padding = vg.Points(6)
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(tokenTicks), plot.TickerFunc(speedTicks)
	p.Legend.TextStyle.Font.Size, p.Legend.Padding = vg.Points(13), vg.Points(4)
	p.Legend.XOffs, p.Legend.ThumbnailWidth = vg.Points(10), vg.Points(42)
	p.Legend.YOffs = vg.Points(8)
	if c.parity {
		p.Legend.YOffs = -p.Legend.YOffs
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xd4}, color.Gray{0xd4}
	p.Add(grid)
	if c.parity {
		equal := plotter.NewFunction(func(float64) float64 { return 1 })
		equal.LineStyle = draw.LineStyle{Width: vg.Points(1.4), Color: color.Gray{0x60}}
		p.Add(equal)
	}
}

// line adds the medians, the range of the samples, and the name.
func (c chart) line(p *plot.Plot, l line, style draw.LineStyle, mark draw.GlyphStyle) error {
	points := make(plotter.XYs, len(l.points))
	spread := make(plotter.YErrors, len(l.points))
	for i, q := range l.points {
		points[i] = plotter.XY{X: q.x, Y: q.y}
		spread[i] = struct{ Low, High float64 }{q.y - q.low, q.high - q.y}
	}
	curve, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	curve.LineStyle, dots.GlyphStyle = style, mark
	p.Add(curve)
	if l.kind == roofLine {
		p.Legend.Add(l.name, curve)
		return nil
	}
	bars, err := plotter.NewYErrorBars(struct {
		plotter.XYer
		plotter.YErrorer
	}{points, spread})
	if err != nil {
		return err
	}
	bars.LineStyle = draw.LineStyle{Width: vg.Points(1.2), Color: style.Color}
	p.Add(bars, dots)
	p.Legend.Add(l.name, curve, dots)
	return nil
}

// faint is a colour half way to white.
func faint(c color.RGBA) color.RGBA {
	return color.RGBA{c.R/2 + 0x7f, c.G/2 + 0x7f, c.B/2 + 0x7f, 0xff}
}

// tokenTicks are the powers of two, named 512, 1K, 2K.
func tokenTicks(low, high float64) []plot.Tick {
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

// speedTicks are 1, 2 and 5 times the powers of ten, and every whole step between them where the range is short.
func speedTicks(low, high float64) []plot.Tick {
	steps := []float64{1, 2, 5}
	if high/low < 8 {
		steps = []float64{1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9}
	}
	var ticks []plot.Tick
	for decade := math.Pow(10, math.Floor(math.Log10(low))); decade <= high; decade *= 10 {
		for _, s := range steps {
			if v := s * decade; v >= low && v <= high {
				ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprintf("%.4g", v)})
			}
		}
	}
	return ticks
}
