package load

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestArrivals: intervals have the mean and the deviation of their gamma distribution,
// and the same seed gives the same times.
func TestArrivals(t *testing.T) {
	const n, rate = 40000, 50.0
	for _, shape := range []float64{0.2, 0.5, 1, 3, 100} {
		times := arrivals(n, rate, shape, rand.New(rand.NewPCG(1, 2)))
		gaps := intervals(times)
		f := figuresOf(gaps)
		// The deviation of a mean of n, four times; that of a deviation is about the same
		// times the root of what the distribution's tail makes of it.
		mean, spread := 1/rate, 1/math.Sqrt(shape)
		if off := math.Abs(f.Mean-mean) / mean; off > 4*spread/math.Sqrt(n) {
			t.Errorf("shape %g: an interval is %.5f s on average, want %.5f", shape, f.Mean, mean)
		}
		if got := f.Deviation / f.Mean; math.Abs(got-spread)/spread > 0.05 {
			t.Errorf("shape %g: deviation / mean is %.4f, want %.4f", shape, got, spread)
		}
		if !slices.IsSorted(times) {
			t.Errorf("shape %g: time goes back", shape)
		}
		if again := arrivals(n, rate, shape, rand.New(rand.NewPCG(1, 2))); !slices.Equal(times, again) {
			t.Errorf("shape %g: another time, other arrivals", shape)
		}
		if other := arrivals(n, rate, shape, rand.New(rand.NewPCG(2, 2))); slices.Equal(times, other) {
			t.Errorf("shape %g: another seed, the same arrivals", shape)
		}
	}
}

func intervals(times []time.Duration) []float64 {
	gaps, last := make([]float64, len(times)), time.Duration(0)
	for i, at := range times {
		gaps[i], last = (at - last).Seconds(), at
	}
	return gaps
}

// TestPoisson holds the distribution of the intervals to the exponential one, by the
// largest distance (Kolmogorov and Smirnov, beyond which one sample in a hundred lies),
// and what comes in a second to a variance equal to its mean.
func TestPoisson(t *testing.T) {
	const n, rate = 20000, 10.0
	times := arrivals(n, rate, 1, rand.New(rand.NewPCG(3, 4)))
	gaps := intervals(times)
	slices.Sort(gaps)
	worst := 0.0
	for i, g := range gaps {
		want := 1 - math.Exp(-rate*g)
		worst = max(worst, math.Abs(want-float64(i)/n), math.Abs(want-float64(i+1)/n))
	}
	if worst > 1.63/math.Sqrt(n) {
		t.Errorf("the distribution is %.4f away from the exponential", worst)
	}
	seconds := make([]float64, int(times[n-1]/time.Second))
	for _, at := range times {
		if s := int(at / time.Second); s < len(seconds) {
			seconds[s]++
		}
	}
	if f := figuresOf(seconds); math.Abs(f.Deviation*f.Deviation/f.Mean-1) > 0.1 {
		t.Errorf("a second has %.2f arrivals, with a variance of %.2f", f.Mean, f.Deviation*f.Deviation)
	}
}

// TestRareArrivals: times that no Duration holds are bounded.
func TestRareArrivals(t *testing.T) {
	times := arrivals(100, 1e-300, 1, rand.New(rand.NewPCG(1, 1)))
	if last := times[99]; last <= 0 || last > mostWait*time.Second {
		t.Errorf("the last one is at %v", last)
	}
}
