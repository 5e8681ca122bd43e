package train

import (
	"context"
	"testing"

	"nosa/compute"
)

// A Single takes the steps of a run with the same config and rows, to the bit.
func TestSingle(t *testing.T) {
	job := jobOf(t, runConfig(t.TempDir(), ""))
	job.Config.Stages = job.Config.Stages[:1]
	job.Config.Optimiser.Warmup, job.Config.Optimiser.Schedule = 0, scheduleConstant
	var want []float64
	job.Report = func(r Record) {
		if r.Eval == nil {
			want = append(want, r.Loss)
		}
	}
	r := mustOpen(t, job)
	if err := r.Do(context.Background()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	s, err := NewSingle(compute.Reference{}, job.Config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	source := &counting{Vocab: job.Config.Model.Vocab, Seed: 1}
	for step, loss := range want {
		var passes []Rows
		for range 2 {
			rows, err := source.Next(32, 16)
			if err != nil {
				t.Fatal(err)
			}
			passes = append(passes, rows)
		}
		got, err := s.Step(passes)
		if err != nil {
			t.Fatal(err)
		}
		if got != loss {
			t.Errorf("step %d: loss %v, of a run %v", step+1, got, loss)
		}
	}
	for _, x := range r.params.list {
		a, err := r.params.Read(x.Name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Parameters().Read(x.Name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range a {
			if a[i] != b[i] {
				t.Fatalf("%s[%d]: %v, of a run %v", x.Name, i, b[i], a[i])
			}
		}
	}
	bad := *job.Config
	bad.Batch.HeadRows = 0
	if _, err := NewSingle(compute.Reference{}, &bad); err == nil {
		t.Error("a config without rows of logits was taken")
	}
}
