package main

import (
	"fmt"
	"image/color"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/palette"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"

	"nosa/eval"
)

// grid is the NIAH grid of a setting: lengths from left to right, depths from the top down.
type grid struct {
	lengths []int
	depths  []float64
	scores  [][]float64 // by length and depth; -1: none
}

// gridOf collects a setting's, or nothing where it has no two lengths and depths.
func gridOf(s *eval.SettingSummary) *grid {
	g := &grid{}
	at := map[int]map[float64]float64{}
	for _, c := range s.Cells {
		if c.Task != "niah" || len(c.Depths) == 0 {
			continue
		}
		g.lengths = append(g.lengths, c.Length)
		at[c.Length] = map[float64]float64{}
		for _, d := range c.Depths {
			at[c.Length][d.Depth] = d.Score
			if !slices.Contains(g.depths, d.Depth) {
				g.depths = append(g.depths, d.Depth)
			}
		}
	}
	slices.Sort(g.lengths)
	slices.Sort(g.depths)
	if len(g.lengths) < 2 || len(g.depths) < 2 {
		return nil
	}
	for _, length := range g.lengths {
		column := make([]float64, len(g.depths))
		for i, d := range g.depths {
			if score, ok := at[length][d]; ok {
				column[i] = score
			} else {
				column[i] = -1
			}
		}
		g.scores = append(g.scores, column)
	}
	return g
}

// The grid of gonum's heat map, whose rows go upwards.
func (g *grid) Dims() (c, r int)   { return len(g.lengths), len(g.depths) }
func (g *grid) X(c int) float64    { return float64(c) }
func (g *grid) Y(r int) float64    { return float64(r) }
func (g *grid) Z(c, r int) float64 { return g.scores[c][len(g.depths)-1-r] }

// shades go from dark to light, so that they can be told apart in print; what is not there is white.
type shades struct{}

const shadeSteps = 64

func (shades) Colors() []color.Color {
	low, high := [3]float64{0x44, 0x01, 0x54}, [3]float64{0xfd, 0xe7, 0x25}
	colors := make([]color.Color, shadeSteps)
	for i := range colors {
		t := float64(i) / (shadeSteps - 1)
		mix := func(k int) uint8 { return uint8(low[k]*(1-t) + high[k]*t + 0.5) }
		colors[i] = color.RGBA{mix(0), mix(1), mix(2), 0xff}
	}
	return colors
}

var _ palette.Palette = shades{}

// heatMaps are the pictures of all settings that have a grid.
func heatMaps(settings []eval.SettingSummary) (pictures []picture) {
	for i := range settings {
		s := &settings[i]
		g := gridOf(s)
		if g == nil {
			continue
		}
		pictures = append(pictures, picture{file: "niah-" + fileName(s.Name), title: "Needle in a haystack: " + s.Name, draw: g.draw})
	}
	return pictures
}

// fileName is a setting's name for a file.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '.', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, s)
}

// draw colours each cell by its score, and writes it there.
func (g *grid) draw(p *plot.Plot) error {
	heat := plotter.NewHeatMap(g, shades{})
	heat.Min, heat.Max, heat.Underflow = 0, 100, color.White
	p.Add(heat)
	p.X.Label.Text, p.Y.Label.Text = "tokens of the text", "where the needle lies, % of the text"
	var labels plotter.XYLabels
	var dark []bool
	for c := range g.lengths {
		for r := range g.depths {
			if z := g.Z(c, r); z >= 0 {
				labels.XYs = append(labels.XYs, plotter.XY{X: float64(c), Y: float64(r)})
				labels.Labels = append(labels.Labels, fmt.Sprintf("%.0f", z))
				dark = append(dark, z < 60)
			}
		}
	}
	written, err := plotter.NewLabels(labels)
	if err != nil {
		return err
	}
	for i := range written.TextStyle {
		written.TextStyle[i].XAlign, written.TextStyle[i].YAlign = text.XCenter, text.YCenter
		written.TextStyle[i].Font.Size = vg.Points(11)
		if dark[i] {
			written.TextStyle[i].Color = color.White
		}
	}
	p.Add(written)
	var x, y []plot.Tick
	for c, length := range g.lengths {
		x = append(x, plot.Tick{Value: float64(c), Label: tokens(length)})
	}
	for r := range g.depths {
		y = append(y, plot.Tick{Value: float64(r), Label: fmt.Sprintf("%.0f", 100*g.depths[len(g.depths)-1-r])})
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.ConstantTicks(x), plot.ConstantTicks(y)
	return nil
}

// tokens names a length: 512, 1K, 32K.
func tokens(n int) string {
	if n >= 1024 && n%1024 == 0 {
		return fmt.Sprintf("%dK", n/1024)
	}
	return fmt.Sprint(n)
}
