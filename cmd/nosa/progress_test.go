package main

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

func testGlobals(stderr *bytes.Buffer) *Globals {
	return &Globals{Stdout: NewOutput(&bytes.Buffer{}), Stderr: NewOutput(stderr), Getenv: func(string) string { return "" }}
}

// TestProgressLines: without a terminal there is a line every ten seconds, with the rate of the last ten.
func TestProgressLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stderr bytes.Buffer
		p := newProgress(testGlobals(&stderr), "prefill", 4000, "tokens")
		for i := range 31 {
			p.Set(int64(i * 100))
			time.Sleep(time.Second)
		}
		p.Finish()
		p.Set(4000)
		want := "" +
			"prefill: 25%  1000 of 4000, 100 tokens/s, 30s left\n" +
			"prefill: 50%  2000 of 4000, 100 tokens/s, 20s left\n" +
			"prefill: 75%  3000 of 4000, 100 tokens/s, 10s left\n"
		if got := stderr.String(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// TestProgressSlow: few units a second are told with their fractions.
func TestProgressSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stderr bytes.Buffer
		p := newProgress(testGlobals(&stderr), "requests", 100, "requests")
		for i := range 6 {
			p.Set(int64(i))
			time.Sleep(4 * time.Second)
		}
		p.Finish()
		want := "" +
			"requests: 3%  3 of 100, 0.25 requests/s, 6m28s left\n"
		if got := stderr.String(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// TestProgressPull: a resumed transfer does not count what was there as speed; one that starts anew shows it.
func TestProgressPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stderr bytes.Buffer
		p := newProgress(testGlobals(&stderr), "pull", 0, "bytes")
		p.Note(1<<30, 2<<30, "a.safetensors")
		time.Sleep(11 * time.Second)
		p.Note(1<<30+11<<20, 2<<30, "a.safetensors")
		time.Sleep(11 * time.Second)
		p.Note(0, 2<<30, "evil\x1b[2J")
		p.Finish()
		p.Finish()
		want := "" +
			"pull: 50%  1.0 GiB of 2.0 GiB, 1.0 MiB/s, 16m53s left, a.safetensors\n" +
			"pull: 0%  0 B of 2.0 GiB, evil?[2J\n"
		if got := stderr.String(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

func TestProgressQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stderr bytes.Buffer
		g := testGlobals(&stderr)
		g.Quiet = true
		p := newProgress(g, "prefill", 10, "tokens")
		time.Sleep(time.Minute)
		p.Set(5)
		p.Finish()
		var none *progress
		none.Set(1)
		none.Finish()
		if stderr.Len() > 0 {
			t.Errorf("--quiet wrote %q", stderr.String())
		}
	})
}

func TestTimeText(t *testing.T) {
	for d, want := range map[time.Duration]string{-time.Second: "0s", 400 * time.Millisecond: "0s", 59600 * time.Millisecond: "1m00s", 61 * time.Second: "1m01s", 3*time.Hour + 5*time.Minute: "3h05m", 99 * time.Hour: "99h00m"} {
		if got := timeText(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
