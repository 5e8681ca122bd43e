package cpu

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"nosa/compute"
)

// eachLevel runs a test on every level of this machine.
func eachLevel(t *testing.T, f func(t *testing.T, level string)) {
	for _, level := range Levels() {
		t.Run(level, func(t *testing.T) { f(t, level) })
	}
}

func open(t *testing.T, o Options) *Device {
	t.Helper()
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestNewRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		opts Options
		want error
	}{
		"unknown level":    {Options{Level: "mmx"}, ErrLevel},
		"negative threads": {Options{Threads: -1}, ErrThreads},
		"too many threads": {Options{Threads: 1 << 20}, ErrThreads},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(tc.opts); !errors.Is(err, tc.want) {
				t.Errorf("New(%+v): %v, want %v", tc.opts, err, tc.want)
			}
		})
	}
}

// TestLinearRows: the bits of a row do not depend on the rows beside it, nor on
// threads.
func TestLinearRows(t *testing.T) {
	eachLevel(t, func(t *testing.T, level string) {
		rng := rand.New(rand.NewPCG(5, 6))
		const rows, n, k = 17, 83, 203
		x, w, bias := make([]float32, rows*k), make([]float32, n*k), make([]float32, n)
		fill(x, rng)
		fill(w, rng)
		fill(bias, rng)
		weight, b := compute.F32s(w, n, k), compute.F32s(bias, n)
		one := open(t, Options{Threads: 1, Level: level})
		want := make([]float32, rows*n)
		for r := range rows {
			one.Linear(compute.F32s(want[r*n:(r+1)*n], 1, n), compute.F32s(x[r*k:(r+1)*k], 1, k), weight, b)
		}
		twin := make([]float32, rows*n)
		compute.Linear(twin, x, weight, bias)
		for i := range want {
			if math.Abs(float64(want[i]-twin[i])) > 1e-4 {
				t.Fatalf("element %d: %v, the definition says %v", i, want[i], twin[i])
			}
		}
		for _, threads := range []int{1, 2, 3, 7} {
			d := open(t, Options{Threads: threads, Level: level})
			for _, m := range []int{1, 2, 3, 4, 5, rows} {
				got := make([]float32, m*n)
				d.Linear(compute.F32s(got, m, n), compute.F32s(x[:m*k], m, k), weight, b)
				for i := range got {
					if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
						t.Fatalf("%d threads, %d rows: element %d is %v, alone %v", threads, m, i, got[i], want[i])
					}
				}
			}
		}
	})
}
