package main

import (
	"errors"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// picture is one of those that are written.
type picture struct {
	file, title string
	draw        func(p *plot.Plot) error
}

// The picture's size in pixels.
const (
	width, height = 1200, 750
	dpi           = 96
)

// write writes it as a PNG.
func (c picture) write(path string) error {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text = c.title
	p.Title.TextStyle.Font.Size, p.Title.Padding = vg.Points(16), vg.Points(10)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font.Size, a.Tick.Label.Font.Size, a.Label.Padding = vg.Points(14), vg.Points(13), vg.Points(6)
	}
	p.Legend.TextStyle.Font.Size, p.Legend.ThumbnailWidth = vg.Points(13), vg.Points(42)
	if err := c.draw(p); err != nil {
		return err
	}
	canvas := vgimg.NewWith(vgimg.UseWH(width*vg.Inch/dpi, height*vg.Inch/dpi), vgimg.UseDPI(dpi))
	p.Draw(draw.Crop(draw.New(canvas), vg.Points(8), -vg.Points(20), vg.Points(8), -vg.Points(8)))
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = vgimg.PngCanvas{Canvas: canvas}.WriteTo(f)
	return errors.Join(err, f.Close())
}
