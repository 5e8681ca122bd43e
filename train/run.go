package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"time"

	"nosa/compute"
)

// ErrDiverged is returned when a loss or a gradient is no number any more.
var ErrDiverged = errors.New("training has diverged")

// Do trains to the end of the last stage. When ctx ends it finishes the step, writes a checkpoint
// and returns ctx's cause.
func (r *Run) Do(ctx context.Context) error {
	total := r.Config.Steps()
	for r.step < total {
		if err := r.enter(r.Config.Stage(r.step)); err != nil {
			return err
		}
		rec, err := r.takeStep(total)
		if err != nil {
			return err
		}
		if err := r.tell(rec); err != nil {
			return err
		}
		if every := r.Config.Evaluation.Every; every > 0 && r.step%every == 0 && r.step < total {
			if err := r.evaluate(); err != nil {
				return err
			}
		}
		if r.step%r.Config.Checkpoint.Every == 0 {
			if err := r.save(ctx); err != nil {
				return err
			}
		}
		if err := context.Cause(ctx); err != nil {
			return errors.Join(err, r.save(ctx))
		}
	}
	return r.finish(ctx, total)
}

// finish evaluates the trained model and writes its checkpoint, if this has not been done.
func (r *Run) finish(ctx context.Context, total int) error {
	if r.saved == total && r.stage < 0 { // it was finished before
		return nil
	}
	if err := r.evaluate(); err != nil {
		return err
	}
	return r.save(ctx)
}

// enter begins a stage, if it is another one.
func (r *Run) enter(stage int) error {
	if stage == r.stage {
		return nil
	}
	shape, cfg, err := r.Config.Shape(r.base, stage)
	if err != nil {
		return err
	}
	s := r.Config.Stages[stage]
	for _, one := range r.replicas {
		if err := one.decoder.SetStage(s.Method, cfg, s.Context); err != nil {
			return err
		}
	}
	r.shape, r.stage = shape, stage
	return nil
}

// takeStep computes one batch in passes whose gradients add up, and moves the weights.
func (r *Run) takeStep(total int) (Record, error) {
	began := time.Now()
	c := r.Config
	for _, one := range r.replicas {
		one.params.zeroGrads()
	}
	var sum float64
	targets := 0
	next := func() (Rows, error) { return r.Train.Next(c.Batch.Rows, c.Stages[r.stage].Context) }
	err := r.passes(c.Batch.Tokens/c.Batch.Rows, next, true, func(rows Rows, losses []float32) {
		for i, l := range losses {
			if rows.Targets[i] >= 0 {
				sum += float64(l)
				targets++
			}
		}
	})
	if err == nil {
		err = r.sumGrads()
	}
	if err != nil {
		return Record{}, fmt.Errorf("train: step %d: %w%s", r.step+1, err, r.lastWhole())
	}
	n := float64(max(targets, 1))
	rec := Record{
		Step: r.step + 1, Loss: sum / n, Norm: r.params.norm() / n, Rate: c.Optimiser.RateAt(r.step, total),
		Method: c.Stages[r.stage].Method,
	}
	rec.Importance, rec.Far = r.lessons()
	if !finite(rec.Loss) || !finite(rec.Norm) {
		return rec, fmt.Errorf("train: step %d: %w: loss %v, norm of gradients %v%s: go on from there with a lower optimiser.rate or a longer warmup", rec.Step, ErrDiverged, rec.Loss, rec.Norm, r.lastWhole())
	}
	by := c.Optimiser.factor(n, rec.Norm)
	err = r.together(func(_ int, one *replica) error {
		one.params.update(&c.Optimiser, rec.Rate, by, rec.Step)
		return one.dev.Sync()
	})
	if err != nil {
		return rec, fmt.Errorf("train: step %d: %w%s", rec.Step, err, r.lastWhole())
	}
	r.step++
	r.tokens += int64(c.Batch.Tokens)
	rec.Tokens, rec.Memory = r.tokens, memoryOf(r.Devices[0])
	rec.Speed = float64(c.Batch.Tokens) / time.Since(began).Seconds()
	return rec, nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// memoryOf is what is in use: of the first device, where it has memory of its own, else by the process.
func memoryOf(dev compute.Device) int64 {
	if m, ok := dev.(compute.MemoryDevice); ok {
		if free, total, err := m.Memory(); err == nil {
			return total - free
		}
	}
	if data, err := os.ReadFile("/proc/self/statm"); err == nil { // Linux: also what the collector does not know
		var size, resident int64
		if _, err := fmt.Sscan(string(data), &size, &resident); err == nil {
			return resident * int64(os.Getpagesize())
		}
	}
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.Sys - s.HeapReleased)
}

// tell writes a line of the log, and reports it.
func (r *Run) tell(rec Record) error {
	err := r.journal.write(rec)
	if err == nil && r.events != nil {
		err = r.events.write(rec, time.Now())
	}
	if err != nil {
		return fmt.Errorf("%w%s", err, r.lastWhole())
	}
	if r.Report != nil {
		r.Report(rec)
	}
	return nil
}
