package main

import (
	"bytes"
	"context"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nosa/eval"
)

// Sums of log-probabilities become means by position: the first token has none, and a row predicts the next one.
func TestLossByPosition(t *testing.T) {
	l := &lossResult{}
	probs := make([]float64, 130)
	probs[0] = math.NaN()
	for i := range probs[1:] {
		probs[1+i] = -1
		if i >= 64 {
			probs[1+i] = -2
		}
	}
	probs[129] = -4 // of row 128
	sum := &eval.Loss{}
	sum.Add(probs, 1)
	l.take(sum)
	want := []positionLoss{{0, 64, 1, 64}, {64, 128, 2, 64}, {128, 256, 4, 1}}
	if len(l.ByPosition) != len(want) || l.Tokens != 129 || math.Abs(l.Loss-196.0/129) > 1e-12 {
		t.Fatalf("%+v", l)
	}
	for i, w := range want {
		if l.ByPosition[i] != w {
			t.Errorf("part %d: %+v, want %+v", i, l.ByPosition[i], w)
		}
	}
}

// Results of several files become one table, with what misses have in common, and pictures of the size that is promised.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	sparse := &constants{Block: 64, Init: 1, Window: 256, TopK: 16, TopKQ: 4}
	pools := func(kept, twice int64) *poolsResult {
		return &poolsResult{poolSettings: poolSettings{textSettings{"t", 8192, 2, "cpu"}, 256}, Runs: []poolRun{
			{0, 100, kept, []layerHits{{50, kept - 50}, {50, 50}}}, {2, 100, twice, []layerHits{{50, twice - 50}, {50, 50}}},
		}}
	}
	loss := func(v float64) *lossResult {
		return &lossResult{textSettings{"t", 8192, 32, "cpu"}, v, 64, []positionLoss{{0, 64, v, 64}}}
	}
	var paths []string
	for file, r := range map[string]*result{
		"a/full": {Name: "full", Method: "full", Parameters: 9_400_000, Loss: loss(4)},
		"b/base": {Name: "base", Method: "infllmv2", Sparse: sparse, Loss: loss(4.02), Pools: pools(80, 90)},
		"c/nosa": {Name: "nosa", Method: "nosa", Sparse: sparse, Loss: loss(4.01)},
		"d/nosa": {Name: "nosa", Method: "nosa", Sparse: sparse, Pools: pools(90, 94), Needles: &needlesResult{
			needleSettings: needleSettings{Samples: 500}, Right: 490, Share: 0.98, ByDepth: [10]tally{{49, 50}},
		}},
	} {
		path := filepath.Join(dir, file+".json")
		if err := r.write(path); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	var table bytes.Buffer
	if err := run(context.Background(), append([]string{"report", "-o", dir}, paths...), &table, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| nosa | nosa | 0.0M | 4.0100 | 1.0025 | 98.0 % of 500 | 90.0 % | 80.0 % (0) | 75.0 % |",
		"| slots | 1 | 2 |", "| nosa | 90.0 % | 94.0 % |", "| nosa, misses of infllmv2's | 0.50 | 0.60 |", "| nosa | 49 of 50 | 0 of 0 |",
	} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("no %q in\n%s", want, table.String())
		}
	}
	for _, name := range []string{"loss", "pools", "layers", "needles"} {
		data, err := os.ReadFile(filepath.Join(dir, "evidence-"+name+".png"))
		if err != nil {
			t.Fatal(err)
		}
		if c, err := png.DecodeConfig(bytes.NewReader(data)); err != nil || c.Width != width || c.Height != height {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	for _, bad := range [][]string{nil, {"measure"}, {"report"}, {"report", filepath.Join(dir, "none.json")}} {
		if err := run(context.Background(), bad, &table, &bytes.Buffer{}); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}
