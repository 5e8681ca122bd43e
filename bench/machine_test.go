package bench

import (
	"context"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
)

// prober is a machine of known speed, which tells what it was asked.
type prober struct {
	sizes []int
	fail  error
}

func (p *prober) Bandwidth(size int) (float64, error) {
	p.sizes = append(p.sizes, size)
	return 1e18 / float64(size), p.fail
}

func (p *prober) Peak() (f32, int16s, int8s float64) { return 1e12, 2e12, 4e12 }

func TestProbe(t *testing.T) {
	p := &prober{}
	m, err := Probe(t.Context(), p, "a device", 2, 0)
	if err != nil || len(m.Reads) != len(workingSets) || m.Reads[0].Bytes != 512<<10 || m.PeakInt8 != 4e12 || m.Device != "a device" || m.Processor == "" {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := Probe(t.Context(), p, "", 2, 80<<20); err != nil || len(m.Reads) != 2 {
		t.Errorf("80 MiB of memory: %+v, %v; want the two sets that fit into a quarter", m, err)
	}
	if m, err := Probe(t.Context(), p, "", 64, 0); err != nil || m.Reads[1].Bytes <= m.Reads[0].Bytes {
		t.Errorf("64 threads: sets that do not ascend: %+v, %v", m, err)
	}
	if m, err := Probe(t.Context(), 7, "", 1, 0); err != nil || len(m.Reads) != 0 || m.Bandwidth(1e6) != 0 {
		t.Errorf("no prober: %+v, %v", m, err)
	}
	broken := errors.New("broken")
	if _, err := Probe(t.Context(), &prober{fail: broken}, "", 1, 0); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	if _, err := Probe(ctx, p, "", 1, 0); !errors.Is(err, broken) {
		t.Errorf("cancelled: %v, want %v", err, broken)
	}
}

func TestBandwidth(t *testing.T) {
	m := &Machine{Reads: []Reading{{1000, 100}, {100_000, 20}, {1_000_000, 10}}}
	for bytes, want := range map[float64]float64{0: 100, 1000: 100, 10_000: 60, 100_000: 20, 1_000_000: 10, 1e12: 10} {
		if got := m.Bandwidth(bytes); math.Abs(got-want) > 1e-9 {
			t.Errorf("%g bytes: %g, want %g", bytes, got, want)
		}
	}
}

func TestRoofline(t *testing.T) {
	m := &Machine{Reads: []Reading{{1, 10}}, PeakF32: 100, PeakInt16: 200}
	for name, tc := range map[string]struct {
		c        cost
		numerics string
		seconds  float64
		bound    string
	}{
		"memory":                {cost{bytes: Bytes{Weights: 20, KV: 20}, plain: 100}, "f32", 4, "memory"},
		"arithmetic":            {cost{bytes: Bytes{Weights: 20}, plain: 300, quantised: 400}, "f32", 7, "arithmetic"},
		"faster with integers":  {cost{bytes: Bytes{Weights: 20}, plain: 300, quantised: 400}, "int16", 5, "arithmetic"},
		"no such instruction":   {cost{plain: 300, quantised: 400}, "int8", 7, "arithmetic"},
		"of float weights none": {cost{plain: 300}, "int16", 3, "arithmetic"},
	} {
		if seconds, bound, rate := m.roofline(tc.c, tc.numerics); seconds != tc.seconds || bound != tc.bound || rate != 10 {
			t.Errorf("%s: %g s by %s, want %g by %s", name, seconds, bound, tc.seconds, tc.bound)
		}
	}
}

func TestModelName(t *testing.T) {
	for text, want := range map[string]string{
		"processor\t: 0\nmodel name\t: Some  CPU @ 2GHz\nmodel name\t: Other\n": "Some CPU @ 2GHz",
		"processor: 0\n": runtime.GOARCH, "": runtime.GOARCH,
	} {
		if got := modelName(strings.NewReader(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
