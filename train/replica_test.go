package train

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nosa/compute"
)

// Devices side by side stay the same to the bit, take steps that are those of one device but for the order of sums, and
// go on with the same bits.
func TestReplicas(t *testing.T) {
	run := func(out string, devices, stop int) *Run {
		job := jobOf(t, strings.Replace(runConfig(out, "[loss]\nimportance = 0.3"), "tokens = 64\nrows = 32", "tokens = 160\nrows = 32", 1)) // five passes
		job.Devices = slices.Repeat([]compute.Trainer{compute.Reference{}}, devices)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		job.Report = func(r Record) {
			if r.Step == stop {
				cancel()
			}
		}
		r := mustOpen(t, job)
		if err := r.Do(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		return r
	}
	one, two, again := t.TempDir(), t.TempDir(), t.TempDir()
	run(one, 1, 0).Close()
	r := run(two, 2, 0)
	for i, x := range r.params.list {
		a, err := r.replicas[0].params.download(x.value)
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.replicas[1].params.download(r.replicas[1].params.list[i].value)
		if err != nil || !slices.Equal(a, b) {
			t.Errorf("%s is not the same on both devices, %v", x.Name, err)
		}
	}
	r.Close()
	a, b := records(t, one), records(t, two)
	for i := range a {
		if math.Abs(a[i].Loss-b[i].Loss) > 1e-4 || math.Abs(a[i].Norm-b[i].Norm) > 1e-3 {
			t.Errorf("line %d of the log: %+v, with two devices %+v", i+1, a[i], b[i])
		}
	}
	run(again, 2, 5).Close()
	run(again, 2, 0).Close()
	want, got := files(t, filepath.Join(two, nameOf(12))), files(t, filepath.Join(again, nameOf(12)))
	if want[modelFile] != got[modelFile] || want[optimiserFile] != got[optimiserFile] {
		t.Error("what was stopped has gone on to other bits")
	}
}
