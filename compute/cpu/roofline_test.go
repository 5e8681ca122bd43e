package cpu

import (
	"fmt"
	"testing"
)

// TestRoofline: every level measures something, more threads or not, from the
// smallest working set on, and gives its memory back. How much is the machine's.
func TestRoofline(t *testing.T) {
	eachLevel(t, func(t *testing.T, level string) {
		for _, threads := range []int{1, 3} {
			d := open(t, Options{Threads: threads, Level: level})
			before := d.Allocated()
			for _, size := range []int{0, 1, readStep*threads + 1, 1 << 20} {
				rate, err := d.bandwidth(size, 0)
				if err != nil || rate <= 0 {
					t.Errorf("%d threads, %d bytes: %v bytes per second, %v", threads, size, rate, err)
				}
			}
			if got := d.Allocated(); got != before {
				t.Errorf("%d threads: %d bytes are left, want %d", threads, got, before)
			}
			f32, int16s, int8s := d.peak(0)
			if f32 <= 0 || (int16s > 0) != (level != "go") || (int8s > 0) != (level != "go") {
				t.Errorf("%d threads: %v operations per second in float32, %v in int16, %v in int8", threads, f32, int16s, int8s)
			}
		}
	})
}

// BenchmarkBandwidth shows the ladder of caches and memory.
func BenchmarkBandwidth(b *testing.B) {
	benchLevels(b, func(b *testing.B, d *Device) {
		for _, size := range []int{1 << 15, 1 << 20, 1 << 24, 100 << 20, 1 << 30} {
			b.Run(fmt.Sprint(size>>10, "KiB"), func(b *testing.B) {
				var best float64
				for b.Loop() {
					rate, err := d.Bandwidth(size)
					if err != nil {
						b.Fatal(err)
					}
					best = max(best, rate)
				}
				b.ReportMetric(best/1e9, "GB/s")
			})
		}
		f32, int16s, int8s := d.Peak()
		b.Logf("%s: %.0f GFLOP/s, %.0f GOP/s in int16, %.0f in int8", d.Info(), f32/1e9, int16s/1e9, int8s/1e9)
	})
}
