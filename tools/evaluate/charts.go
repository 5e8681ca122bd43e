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
	file, title, x, y string
	logX              bool
	lines             []line
}

type line struct {
	name   string
	points plotter.XYs
}

// charts are the pictures of all results; those without lines have nothing to show.
func charts(all []*result) []chart {
	loss := chart{file: "evidence-loss.png", title: "Loss of held-out texts by position", x: "position in the document, tokens", y: "nats per token", logX: true}
	pools := chart{file: "evidence-pools.png", title: "Misses of decode steps by size of the pool", x: "slots for each selected block", y: "% of selected blocks"}
	layers := chart{file: "evidence-layers.png", title: "Hit rate by layer, the last selection kept", x: "layer", y: "% of selected blocks"}
	depths := chart{file: "evidence-needles.png", title: "Needles found by depth", x: "where the needle lies, % of the prompt", y: "% of answers"}
	for _, r := range all {
		if r.Loss != nil {
			l := line{name: r.Name}
			for _, p := range r.Loss.ByPosition {
				l.points = append(l.points, plotter.XY{X: float64(p.End), Y: p.Loss})
			}
			loss.lines = append(loss.lines, l)
		}
		if r.Pools != nil {
			l := line{name: r.Name}
			for _, ratio := range ratiosOf([]*result{r}) {
				l.points = append(l.points, plotter.XY{X: ratio, Y: 100 * r.run(ratio).misses()})
			}
			if len(l.points) > 0 {
				pools.lines = append(pools.lines, l)
			}
		}
		if run := r.run(0); run != nil {
			l := line{name: r.Name}
			for i, h := range run.Layers {
				l.points = append(l.points, plotter.XY{X: float64(i), Y: 100 * h.rate()})
			}
			layers.lines = append(layers.lines, l)
		}
		if r.Needles != nil {
			l := line{name: r.Name}
			for i, d := range r.Needles.ByDepth {
				if d.Of > 0 {
					l.points = append(l.points, plotter.XY{X: 10*float64(i) + 5, Y: 100 * float64(d.Right) / float64(d.Of)})
				}
			}
			depths.lines = append(depths.lines, l)
		}
	}
	return []chart{loss, pools, layers, depths}
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
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.title, c.x, c.y
	p.Title.TextStyle.Font.Size, p.Title.Padding = vg.Points(16), vg.Points(10)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font.Size, a.Tick.Label.Font.Size, a.Label.Padding = vg.Points(14), vg.Points(13), vg.Points(6)
	}
	p.Legend.Top, p.Legend.TextStyle.Font.Size, p.Legend.ThumbnailWidth = true, vg.Points(13), vg.Points(42)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xd4}, color.Gray{0xd4}
	p.Add(grid)
	for i, l := range c.lines {
		curve, dots, err := plotter.NewLinePoints(l.points)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		colour := palette[i%len(palette)]
		curve.LineStyle = draw.LineStyle{Width: vg.Points(2), Color: colour, Dashes: dashes[i/len(palette)%len(dashes)]}
		dots.GlyphStyle = draw.GlyphStyle{Color: colour, Radius: vg.Points(5), Shape: shapes[i%len(shapes)]}
		p.Add(curve, dots)
		p.Legend.Add(l.name, curve, dots)
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
