package policy

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestTCACounts(t *testing.T) {
	tokens := func(counts []int) (n int) {
		for x, blocks := range counts {
			n += blocks << x
		}
		return n
	}
	if got := tcaCounts(1, 1, 4, 4); !reflect.DeepEqual(got, []int{1, 2, 1}) {
		t.Errorf("mu 1, sigma 1: %v, want [1 2 1]", got)
	}
	if got := tokens(tcaCounts(4.5, 2, 16, 64)); got != 402 {
		t.Errorf("mu 4.5, sigma 2 keep %d tokens of an event, want 402", got)
	}
	// The candidates of a calibration are all different.
	seen := map[[7]int]bool{}
	least, most := 1024, 0
	for i := range 13 {
		for _, sigma := range []float64{.5, 1, 2} {
			counts := tcaCounts(float64(i)/2, sigma, 16, 64)
			seen[[7]int(counts)] = true
			least, most = min(least, tokens(counts)), max(most, tokens(counts))
		}
	}
	if len(seen) != 39 || float64(least)/1024 > .0185 || float64(least)/1024 < .0175 || float64(most)/1024 > .9385 || float64(most)/1024 < .9375 {
		t.Errorf("%d candidates that keep %d to %d of 1024 tokens, want 39, 0.018 to 0.938", len(seen), least, most)
	}
	for _, mu := range []float64{0, 30} { // a bell far off, and narrow
		counts := tcaCounts(mu, .01, 16, 64)
		if n := tokens(counts); mu == 0 && n != 16 || mu == 30 && n != 1024 {
			t.Errorf("mu %v: %v", mu, counts)
		}
	}
}

const tcaSample = `{"format":"nosa-tca-1","model":"m","block":4,"event":4,"sink":0,"local":2,"rows":1,"tau":0.9,"heads":[[{"mu":1,"sigma":1,"counts":[1,2,1],"kept":0.5625,"score":0.915}]]}`

func TestParseTCA(t *testing.T) {
	if _, err := parseTCA([]byte(tcaSample)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ from, to, want string }{
		{"nosa-tca-1", "nosa-tca-2", "format"}, {`"block":4`, `"block":6`, "power of two"}, {`"block":4`, `"block":8`, "3 counts, want 4"},
		{`"event":4`, `"event":0`, "event"}, {`"event":4`, `"event":5`, "1 of 5 blocks are missing"}, {`"rows":1`, `"rows":3`, "rows: 3, want 1 to 2"},
		{"[1,2,1]", "[1,2,2]", "counts"}, {"[1,2,1]", "[-1,4,1]", "counts"}, {"[1,2,1]", "null", "0 counts"},
		{`"tau"`, `"tao"`, "unknown field"}, {"}]]}", "}]]} {}", "more follows"}, {`[[{`, `[[],[{`, "layer 0 has 0 heads"},
		{`"sink":0`, `"sink":-1`, "sink"}, {`"local":2`, `"local":9e99`, "profile"},
	} {
		bad := strings.Replace(tcaSample, tc.from, tc.to, 1)
		if _, err := parseTCA([]byte(bad)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", bad, err, tc.want)
		}
	}
}

// A profile that is taken can be written and read again, and judges an event within its bounds.
func FuzzParseTCA(f *testing.F) {
	f.Add([]byte(tcaSample))
	f.Add([]byte(strings.Replace(tcaSample, "[1,2,1]", "[4,0,0]", 1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseTCA(data)
		if err != nil {
			return
		}
		out, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseTCA(out)
		if err != nil || !reflect.DeepEqual(p, again) {
			t.Fatalf("%s is read as %+v, %v", out, again, err)
		}
		if p.Event*p.Block > 1<<16 {
			return
		}
		for _, heads := range p.Heads {
			for _, h := range heads {
				want := 0
				for x, blocks := range h.Counts {
					want += blocks << x
				}
				s := tcaState{tcaProfile: p}
				if got := s.judge(make([]float64, p.Event*p.Block), h.Counts); len(got) != want {
					t.Fatalf("counts %v keep %d tokens, want %d", h.Counts, len(got), want)
				}
			}
		}
	})
}
