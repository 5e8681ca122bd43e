package load

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestMix(t *testing.T) {
	for s, want := range map[string]struct {
		low, high int
		mean      float64
	}{
		"512": {512, 512, 512}, "100-200": {100, 200, 150}, "100,300": {100, 300, 200},
		"100@3,300": {100, 300, 150}, "0-10@0.5,1000-3000@0.5": {0, 3000, 1002.5},
	} {
		m, err := ParseMix(s, 0)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		r, sum := rand.New(rand.NewPCG(1, 2)), 0.0
		low, high := math.MaxInt, 0
		const n = 20000
		for range n {
			v := m.Draw(r)
			low, high, sum = min(low, v), max(high, v), sum+float64(v)
		}
		if low < want.low || high > want.high || high > m.Most() || m.Most() != want.high || math.Abs(sum/n-want.mean) > 0.03*want.mean {
			t.Errorf("%s: drew %d to %d, %.1f on average: want %+v", s, low, high, sum/n, want)
		}
	}
	for _, s := range []string{"", "a", "-5", "5-", "9-3", "0", "99999999", "99999999999999999999", "5@", "5@0", "5@-1", "5@NaN", "5@Inf", "5,", "1.5", "5@1@1", strings.Repeat("1,", 100) + "1"} {
		if m, err := ParseMix(s, 1); err == nil || !strings.Contains(err.Error(), "want lengths") {
			t.Errorf("%.20q: %+v, %v", s, m, err)
		}
	}
}

func TestGoals(t *testing.T) {
	g, err := ParseGoals("ttft:100,tpot:10 e2el:1000")
	if err != nil || len(g) != 3 {
		t.Fatal(g, err)
	}
	good := Result{First: 100 * time.Millisecond, Whole: 190 * time.Millisecond, Output: 10}
	if !g.met(&good) {
		t.Errorf("%+v does not meet %v", good, g)
	}
	for name, bad := range map[string]Result{
		"ttft": {First: 101 * time.Millisecond, Whole: 190 * time.Millisecond, Output: 10},
		"tpot": {First: 100 * time.Millisecond, Whole: 191 * time.Millisecond, Output: 10},
		"e2el": {First: 100 * time.Millisecond, Whole: 1001 * time.Millisecond, Output: 1000},
	} {
		if g.met(&bad) {
			t.Errorf("%s: %+v meets %v", name, bad, g)
		}
	}
	one := Result{First: time.Millisecond, Whole: time.Second, Output: 1}
	if !g.met(&one) {
		t.Error("an answer of one token has no time a token")
	}
	for _, s := range []string{"itl:5", "ttft", "ttft:", "ttft:a", "ttft:-1", "ttft:NaN", "ttft:Inf", "ttft:1,ttft:2", "ttft:1e300"} {
		if g, err := ParseGoals(s); err == nil {
			t.Errorf("%s: %v", s, g)
		}
	}
}
