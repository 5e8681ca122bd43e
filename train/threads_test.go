package train

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
)

// On the processor a run has the same bits with any number of threads, also when it goes on with another number.
func TestThreads(t *testing.T) {
	var want map[string]string
	for _, threads := range []int{1, 2, 5} {
		out := t.TempDir()
		for _, stop := range []int{4, 12} {
			dev, err := cpu.New(cpu.Options{Threads: threads})
			if err != nil {
				t.Fatal(err)
			}
			job := jobOf(t, runConfig(out, "[loss]\nimportance = 0.3"))
			job.Devices = []compute.Trainer{dev}
			ctx, cancel := context.WithCancel(context.Background())
			job.Report = func(r Record) {
				if r.Step == stop {
					cancel()
				}
			}
			r := mustOpen(t, job)
			err = r.Do(ctx)
			cancel()
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			if err := errors.Join(r.Close(), dev.Close()); err != nil {
				t.Fatal(err)
			}
			threads = 6 - threads
		}
		got := files(t, filepath.Join(out, nameOf(12)))
		if want == nil {
			want = got
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%d threads: %v\nwant %v", threads, got, want)
		}
	}
}
