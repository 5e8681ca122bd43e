package main

import (
	"bytes"
	"encoding/json"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nosa/eval"
)

// summary is a run of full attention, and of a policy with two budgets.
func summary(t *testing.T) string {
	t.Helper()
	set := func(policy string, share, score float64) eval.SettingSummary {
		s := eval.Setting{Method: "full", Policy: policy}
		out := eval.SettingSummary{Setting: s, Name: s.Name()}
		for _, length := range []int{1024, 4096} {
			out.Cells = append(out.Cells, eval.Cell{Task: "niah", Length: length, Samples: 4, Score: score, DecodeSpeed: 50 / share, KVBytes: 100 * share, KVFullBytes: 100, KVShare: share,
				Depths: []eval.DepthShare{{Depth: 0, Share: eval.Share{Score: 100, Samples: 2}}, {Depth: 1, Share: eval.Share{Score: 0, Samples: 2}}}})
		}
		return out
	}
	s := eval.Summary{Version: 1, Settings: []eval.SettingSummary{set("", 1, 90), set("think:ratio=0.5", 0.5, 80), set("think:ratio=0.25", 0.25, 60)}}
	s.Settings[0].Cells = append(s.Settings[0].Cells, eval.Cell{Task: "vt", Length: 1024, Score: 0, KVShare: 1, KVBytes: 100, KVFullBytes: 100}) // that the others lack
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "summary.json")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPictures(t *testing.T) {
	path, dir := summary(t), filepath.Join(t.TempDir(), "new")
	var said bytes.Buffer
	if err := run([]string{path, path}, dir, "tiny", "a model", &said); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range strings.Fields(said.String()) {
		names = append(names, strings.TrimSuffix(filepath.Base(p), ".png"))
	}
	if want := []string{"tiny-niah-full", "tiny-niah-full-think-ratio-0.5", "tiny-niah-full-think-ratio-0.25", "tiny-quality", "tiny-speed"}; !slices.Equal(names, want) {
		t.Fatalf("%q, want %q", names, want)
	}
	count := func(img image.Image, r, g, b uint8) (n int) {
		for y := range height {
			for x := range width {
				if cr, cg, cb, _ := img.At(x, y).RGBA(); uint8(cr>>8) == r && uint8(cg>>8) == g && uint8(cb>>8) == b {
					n++
				}
			}
		}
		return n
	}
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, name+".png"))
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(data))
		if err != nil || img.Bounds().Dx() != width || img.Bounds().Dy() != height {
			t.Fatalf("%s: %v, %v", name, err, img.Bounds())
		}
		if strings.Contains(name, "niah") { // half of the cells are dark, half are light
			if low, high := count(img, 0x44, 0x01, 0x54), count(img, 0xfd, 0xe7, 0x25); low < 50_000 || high < 50_000 {
				t.Errorf("%s: %d and %d pixels of the lowest and highest score", name, low, high)
			}
		} else if a, b := count(img, 0x00, 0x72, 0xb2), count(img, 0xd5, 0x5e, 0x00); a < 50 || b < 500 { // a dot, and a line with two
			t.Errorf("%s: %d and %d pixels of the curves", name, a, b)
		}
	}
}

// A policy's budgets make one curve, in order, and the mean is over what all settings have.
func TestCurves(t *testing.T) {
	s, err := read(summary(t))
	if err != nil {
		t.Fatal(err)
	}
	if f := family(s.Settings[1].Setting); f != "full+think" {
		t.Errorf("family %q", f)
	}
	s.Settings = append(s.Settings, s.Settings[0])
	if got := merge(nil, s.Settings); len(got) != 3 {
		t.Errorf("%d settings, want 3", len(got))
	}
	g := gridOf(&s.Settings[0])
	if g == nil || g.Z(0, 1) != 100 || g.Z(1, 0) != 0 { // the text's beginning is on top
		t.Errorf("%+v", g)
	}
}

func TestRefuses(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte(`{"nosa_eval":1,"settings":[]}`), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, files := range [][]string{nil, {bad}, {filepath.Join(t.TempDir(), "none")}} {
		if err := run(files, t.TempDir(), "x", "", &bytes.Buffer{}); err == nil {
			t.Errorf("%q was taken", files)
		}
	}
}
