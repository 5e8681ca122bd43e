package main

import (
	"bytes"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const log = `{"step":1,"tokens":64,"loss":5.5,"lr":0.1,"method":"nosa"}
{"step":2,"tokens":128,"loss":4.5,"lr":0.1,"method":"nosa"}
{"step":3,"tokens":192,"loss":4.25,"lr":0.1,"method":"nosa"}
{"step":3,"tokens":192,"method":"nosa","eval_loss":4.5,"eval_by_position":[{"begin":0,"end":64,"loss":4.75,"count":60},{"begin":64,"end":128,"loss":4.25,"count":60}]}
`

// Logs become pictures of the size that is promised, and what is no log is refused with its line.
func TestPlot(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, b := write("a.jsonl", log), write("b.jsonl", strings.ReplaceAll(log, "4.25", "4.125"))
	var said bytes.Buffer
	if err := run([]string{"full=" + a, b}, dir, "tiny", 1, &said); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"loss.png", "positions.png"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if c, err := png.DecodeConfig(f); err != nil || c.Width != 1200 || c.Height != 750 || !strings.Contains(said.String(), name) {
			t.Errorf("%s: %+v, %v, said %q", name, c, err, said.String())
		}
	}
	for _, bad := range []string{"", "{}\n", log + "{\n", strings.SplitAfter(log, "\n")[0]} {
		if err := run([]string{write("bad.jsonl", bad)}, dir, "", 1, &said); err == nil || !strings.Contains(err.Error(), "bad.jsonl") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	got := lossChart([]runLog{mustRead(t, a)}, 1).lines[0].points
	if got[0].Y != 5.5 || got[1].Y != 4.75 || got[2].Y != 4.25 || got[2].X != 192e-6 {
		t.Errorf("%v", got)
	}
}

func mustRead(t *testing.T, path string) runLog {
	t.Helper()
	l, err := readLog("x", path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
