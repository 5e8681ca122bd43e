package bench

import (
	"runtime"
	"testing"
	"time"
)

func TestBusy(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"cpu  10 20 30 4000 50 6 7 8 9 9\ncpu0 1 1 1": 81 * tick,
		"cpu 1 1 1 1 1 1 1 1":                         6 * tick,
		"cpu 1 1 1 1 1 1 1":                           -1,
		"cpu 1 1 x 1 1 1 1 1":                         -1,
		"intr 1 1 1 1 1 1 1 1":                        -1,
		"":                                            -1,
	} {
		if got, ok := busy(text); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, ok, want)
		}
	}
}

func TestUsed(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"12 (a) b) S 1 2 3 4 5 6 7 8 9 10 40 2 0 0": 42 * tick,
		"12 (nosa) S 1 2 3 4 5 6 7 8 9 10 40":       -1,
		"12 (nosa) S 1 2 3 4 5 6 7 8 9 10 x 2 0":    -1,
		"":                                          -1,
	} {
		if got, ok := used(text); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, ok, want)
		}
	}
}

// TestOthers: on Linux there are counters, and a share is a part of the whole.
func TestOthers(t *testing.T) {
	then := now()
	if then.ok != (runtime.GOOS == "linux") {
		t.Fatalf("counters on %s: %v", runtime.GOOS, then.ok)
	}
	time.Sleep(30 * time.Millisecond)
	if s := then.since(0); s.part() < 0 || s.part() > 1 || then.ok && s.all < 30*time.Millisecond {
		t.Errorf("share %+v, part %g", s, s.part())
	}
	for name, tc := range map[string]struct {
		s    share
		want float64
	}{
		"nothing":            {share{}, 0},
		"a quarter":          {share{time.Second, 4 * time.Second}, 0.25},
		"too short":          {share{tick, 10 * tick}, 0},
		"a tick below":       {share{-tick, time.Second}, 0},
		"more than there is": {share{2 * time.Second, time.Second}, 1},
	} {
		if got := tc.s.part(); got != tc.want {
			t.Errorf("%s: %g, want %g", name, got, tc.want)
		}
	}
	sum := share{1, 4}
	if sum.add(share{2, 6}); sum != (share{3, 10}) {
		t.Errorf("sum %+v", sum)
	}
}
