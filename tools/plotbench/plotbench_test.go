package main

import (
	"bytes"
	"errors"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// setting is the part that all lines have.
func setting(kind, method string, prompt, gen, depth int) string {
	return fmt.Sprintf(`"kind":%q,"test":"x","model":"Some Model.gguf","attention":%q,"device":"cpu","kv_dtype":"bf16","numerics":"int16","n_threads":2,"n_prompt":%d,"n_gen":%d,"n_depth":%d,"batch":1`,
		kind, method, prompt, gen, depth)
}

func figure(method string, prompt, gen, depth int, speed float64) string {
	return fmt.Sprintf(`{%s,"median_ts":%g,"min_ts":%g,"max_ts":%g,"samples_ts":[%g],"roofline_ts":%g}`, setting("figure", method, prompt, gen, depth), speed, 0.9*speed, 1.1*speed, speed, 2*speed)
}

func ratio(method string, prompt, gen, depth int, peer, times float64) string {
	return fmt.Sprintf(`{%s,"peer":"llama-bench abc (1)","flash_attn":1,"peer_ts":%g,"ratio":%g,"ratio_min":%g,"ratio_max":%g,"peer_samples_ts":{"1":[%g,%g]}}`,
		setting("ratio", method, prompt, gen, depth), peer, times, 0.9*times, 1.1*times, 0.95*peer, 1.05*peer)
}

// sweep is two methods at three depths, out of order and one of them twice, and two prompts.
func sweep() string {
	return strings.Join([]string{
		`{"kind":"machine"}`, figure("full", 0, 64, 4096, 1), figure("full", 0, 64, 512, 150), figure("full", 0, 64, 0, 200), ratio("full", 0, 64, 0, 100, 2), ratio("full", 0, 64, 512, 50, 3), "",
		figure("full", 0, 64, 4096, 40), figure("nosa", 0, 64, 0, 190), figure("nosa", 0, 64, 512, 160), ratio("nosa", 0, 64, 0, 100, 1.9), ratio("nosa", 0, 64, 512, 50, 3.2),
		figure("full", 512, 0, 0, 900), figure("full", 2048, 0, 0, 700), figure("full", 512, 0, 4096, 400), figure("nosa", 512, 0, 0, 900),
	}, "\n")
}

// drawn is a line of text for each line of charts.
func drawn(charts []chart) (lines []string) {
	for _, c := range charts {
		for _, l := range c.lines {
			text := c.file + " " + l.name
			for _, p := range l.points {
				text += fmt.Sprintf(" %g:%g", p.x, p.y)
			}
			lines = append(lines, text)
		}
	}
	return lines
}

func TestCharts(t *testing.T) {
	var m measurements
	if err := m.read("sweep", strings.NewReader(sweep())); err != nil {
		t.Fatal(err)
	}
	got := drawn(m.charts(false))
	want := []string{
		"some-model-decode.png full 32:200 544:150 4128:40",
		"some-model-decode.png nosa 32:190 544:160",
		"some-model-decode.png llama.cpp 32:100 544:50",
		"some-model-prefill.png full 512:900 2048:700",
		"some-model-decode-ratio.png full 32:2 544:3",
		"some-model-decode-ratio.png nosa 32:1.9 544:3.2",
	}
	if !slices.Equal(got, want) {
		t.Errorf("lines\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, c := range m.charts(true) {
		if n := slices.IndexFunc(c.lines, func(l line) bool { return l.kind == roofLine }); (n >= 0) == c.parity {
			t.Errorf("%s: roofline at line %d", c.file, n)
		}
	}
}

// TestDraw looks at the pictures: their size, and whether every line's colour is there.
func TestDraw(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	var said bytes.Buffer
	if err := run(nil, dir, "2 threads", true, false, strings.NewReader(sweep()), &said); err != nil {
		t.Fatal(err)
	}
	files := strings.Fields(said.String())
	if len(files) != 3 {
		t.Fatalf("wrote %q, want 3 pictures", files)
	}
	for i, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if b := img.Bounds(); b.Dx() != width || b.Dy() != height {
			t.Errorf("%s is %dx%d", path, b.Dx(), b.Dy())
		}
		for n, want := range []int{2, 1, 2}[i : i+1] {
			for _, c := range palette[:want] {
				count := 0
				for y := range height {
					for x := range width {
						r, g, b, _ := img.At(x, y).RGBA()
						if uint8(r>>8) == c.R && uint8(g>>8) == c.G && uint8(b>>8) == c.B {
							count++
						}
					}
				}
				if count < 500 {
					t.Errorf("%s: line %d has %d pixels of %v", path, n, count, c)
				}
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":        "pp512 3 tokens",
		"other kind":     `{"kind":"weather"}`,
		"wrong type":     `{"kind":"figure","median_ts":"fast"}`,
		"no speed":       "{" + setting("figure", "full", 0, 64, 0) + "}",
		"negative depth": figure("full", 0, 64, -1, 5),
		"both":           figure("full", 5, 64, 0, 5),
		"neither":        figure("full", 0, 0, 0, 5),
		"endless line":   strings.Repeat(" ", mostLine+1),
	} {
		var m measurements
		if err := m.read("lines", strings.NewReader("{\"kind\":\"machine\"}\n"+text)); err == nil || !strings.Contains(err.Error(), "lines: line 2") {
			t.Errorf("%s: %v, want an error at line 2", name, err)
		}
	}
	if err := run([]string{filepath.Join(t.TempDir(), "none")}, t.TempDir(), "", false, false, nil, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := run(nil, t.TempDir(), "", false, false, strings.NewReader(figure("full", 5, 0, 0, 5)), nil); err == nil || !strings.Contains(err.Error(), "two points") {
		t.Errorf("one point: %v", err)
	}
}

func TestTicks(t *testing.T) {
	label := func(f func(low, high float64) []string, low, high float64) string {
		return strings.Join(f(low, high), " ")
	}
	tokens := func(low, high float64) (s []string) {
		for _, k := range tokenTicks(low, high) {
			s = append(s, k.Label)
		}
		return s
	}
	speeds := func(low, high float64) (s []string) {
		for _, k := range speedTicks(low, high) {
			s = append(s, k.Label)
		}
		return s
	}
	for want, got := range map[string]string{
		"256 512 1K 2K":               label(tokens, 200, 3000),
		"128K":                        label(tokens, 100000, 140000),
		"1 2 5 10 20 50":              label(speeds, 0.9, 60),
		"80 90 100 150 200 300":       label(speeds, 75, 310),
		"0.5 0.6 0.7 0.8 0.9 1 1.5 2": label(speeds, 0.45, 2.1),
	} {
		if got != want {
			t.Errorf("ticks %q, want %q", got, want)
		}
	}
}

// FuzzRead: whatever is accepted can be drawn on logarithmic axes.
func FuzzRead(f *testing.F) {
	f.Add(sweep())
	f.Add(`{"kind":"ratio","batch":1,"n_gen":1}`)
	f.Add(decodeLines())
	f.Fuzz(func(t *testing.T, text string) {
		var m measurements
		if m.read("lines", strings.NewReader(text)) != nil {
			return
		}
		for _, c := range slices.Concat(m.charts(true), m.decodeCharts(true)) {
			for _, l := range c.lines {
				for _, p := range l.points {
					if !(p.x > 0 && p.y > 0 && p.low > 0 && p.high > 0) {
						t.Errorf("%s, %s: a point at %g, %g, from %g to %g", c.file, l.name, p.x, p.y, p.low, p.high)
					}
				}
			}
		}
	})
}
