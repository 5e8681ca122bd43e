package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/step"
	"nosa/dtype"
	"nosa/engine"
	"nosa/weights"
)

var (
	serviceShape  = flag.String("service-shape", "8b:q4_0", "of BenchmarkService")
	serviceFolder = flag.String("service-folder", "", "where it writes its weights; by default the system's folder for what is temporary")
	serviceSeats  = flag.Int("service-seats", 96, "requests that it runs side by side")
	servicePrompt = flag.Int("service-prompt", 2048, "tokens that their prompts begin with, all alike; each has 64 of its own")
	serviceTokens = flag.Int("service-tokens", 128, "that each generates")
)

// BenchmarkService has a GPU's own steps write many answers of a model with random weights, by
// the engine's service, and says how long a step takes from one to the next, and how long of
// that the GPU has nothing to do. Draws are from what the GPU says of its logits, or, whole,
// from rows that are copied, as they are where only these can tell; with one processor, one
// after the other.
//
//	go test ./bench -run '^$' -bench Service -benchtime 1x -service-folder /dev/shm
func BenchmarkService(b *testing.B) {
	shape, format, err := ParseShape(*serviceShape)
	if err != nil {
		b.Fatal(err)
	}
	var opened compute.Device
	opened, err = step.Open(0)
	if errors.Is(err, cuda.ErrNoDriver) {
		b.Skipf("needs a GPU: %v", err)
	}
	if err != nil {
		b.Fatal(err)
	}
	dev := &timedDevice{wholeDevice: opened.(wholeDevice)}
	defer func() {
		if err := dev.Close(); err != nil {
			b.Error(err)
		}
	}()
	folder, err := os.MkdirTemp(*serviceFolder, "nosa-bench-")
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(folder); err != nil {
			b.Error(err)
		}
	}()
	path := filepath.Join(folder, "random.gguf")
	if err := shape.writeRepeated(b.Context(), path, format); err != nil {
		b.Fatal(err)
	}
	src, err := engine.OpenSource(path)
	if err != nil {
		b.Fatal(err)
	}
	length := *servicePrompt + 64 + *serviceTokens
	o := engine.NewOptions()
	o.Context, o.Sequences, o.Retain = length, *serviceSeats, true
	e, err := engine.Open(dev, src, o, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			b.Error(err)
		}
	}()
	rng := rand.New(rand.NewPCG(1, 2))
	ids := func(n int) []int32 {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = 300 + int32(rng.IntN(shape.Vocab-300))
		}
		return ids
	}
	shared := ids(*servicePrompt)
	for _, s := range []struct {
		name     string
		sampling compute.Sampling
	}{
		{"greedy", compute.Sampling{}}, {"t0.8-p0.95", compute.Sampling{Temperature: 0.8, TopP: 0.95}}, {"t1", compute.Sampling{Temperature: 1}},
		{"t0.8-k50", compute.Sampling{Temperature: 0.8, TopK: 50}},
	} {
		for _, how := range []struct {
			name       string
			whole      bool
			processors int
		}{{"told", false, runtime.GOMAXPROCS(0)}, {"whole", true, runtime.GOMAXPROCS(0)}, {"whole alone", true, 1}} {
			b.Run(s.name+"/"+how.name, func(b *testing.B) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(how.processors))
				for b.Loop() {
					dev.begin(*serviceSeats, how.whole)
					service := engine.NewService(e, engine.ServiceOptions{}, slog.New(slog.DiscardHandler))
					var wait sync.WaitGroup
					for i := range *serviceSeats {
						a, err := service.Submit(b.Context(), engine.Order{Request: engine.Request{
							IDs: slices.Concat(shared, ids(64)), MaxTokens: *serviceTokens, IgnoreEnd: true, Sampling: withSeed(s.sampling, uint64(i)),
						}})
						if err != nil {
							b.Fatal(err)
						}
						wait.Go(func() {
							for {
								if _, err := a.Next(context.Background()); err != nil {
									if !errors.Is(err, io.EOF) {
										b.Error(err)
									}
									return
								}
							}
						})
					}
					wait.Wait()
					service.Close()
				}
				dev.report(b)
			})
		}
	}
}

func withSeed(s compute.Sampling, seed uint64) compute.Sampling {
	s.Seed = seed
	return s
}

// wholeDevice is all that an engine makes use of.
type wholeDevice interface {
	compute.Stepper
	compute.Packer
	compute.MemoryDevice
	compute.HostAllocator
	compute.TilesDevice
}

// timedDevice knows how long its own steps take, and what is between them.
type timedDevice struct {
	wholeDevice
	rows  int  // of the steps that count: as many as there are answers
	whole bool // steps say nothing of their logits

	steps      int
	wait, idle time.Duration
	ended      time.Time // the last step; zero: it did not count
	drawn, out int       // draws from what a step said, and others
}

func (d *timedDevice) begin(rows int, whole bool) {
	*d = timedDevice{wholeDevice: d.wholeDevice, rows: rows, whole: whole}
}

func (d *timedDevice) report(b *testing.B) {
	n := float64(max(d.steps, 1))
	each := (d.wait + d.idle).Seconds() / n
	b.ReportMetric(each*1e3, "ms/step")
	b.ReportMetric(d.idle.Seconds()/n*1e3, "idle-ms")
	b.ReportMetric(float64(d.rows)/each, "tokens/s")
	b.ReportMetric(float64(d.out)/max(1, float64(d.out+d.drawn)), "whole-rows")
}

// NewStep is a step that the device's clock goes by.
func (d *timedDevice) NewStep(m compute.Decoder, c *compute.Cache, o compute.StepOptions) (compute.Step, error) {
	s, err := d.wholeDevice.NewStep(m, c, o)
	return &timedStep{s, d, 0, time.Time{}}, err
}

type timedStep struct {
	compute.Step
	d     *timedDevice
	rows  int
	began time.Time
}

func (s *timedStep) Run(rows []compute.StepRow) {
	s.rows, s.began = len(rows), time.Now()
	s.Step.Run(rows)
}

func (s *timedStep) Wait() (compute.StepCounts, error) {
	c, err := s.Step.Wait()
	now := time.Now()
	d := s.d
	if s.rows == d.rows && !d.ended.IsZero() {
		d.steps++
		d.wait += now.Sub(s.began)
		d.idle += s.began.Sub(d.ended)
	}
	if d.ended = now; s.rows != d.rows {
		d.ended = time.Time{}
	}
	return c, err
}

func (s *timedStep) Peak(row int) compute.Peak {
	if s.d.whole {
		return compute.Peak{}
	}
	s.d.drawn++
	return s.Step.Peak(row)
}

func (s *timedStep) Logits(from, to int) compute.Tensor {
	s.d.out += to - from
	if !s.d.whole {
		s.d.drawn -= to - from
	}
	return s.Step.Logits(from, to)
}

// writeRepeated is WriteRandom in a fraction of the time: numbers come again after some
// millions. Logits are as wide as those of models, so that draws have as many to choose from.
func (h Shape) writeRepeated(ctx context.Context, path string, t dtype.Type) error {
	const unit, units = 32, 1000003 // a prime, so that no rows begin alike
	rng := rand.New(rand.NewPCG(1, 2))
	pattern := make([]float32, unit*units)
	for i := range pattern {
		pattern[i] = 3.4641 * (rng.Float32() - 0.5)
	}
	size, err := t.Size(len(pattern))
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	encoded := map[float64][]byte{}
	var sources []weights.Source
	for i, x := range h.tensors() {
		source := weights.Source{Name: x.name, Type: t, Shape: x.shape}
		if len(x.shape) == 1 {
			source.Type, source.Write = dtype.F32, x.ones
			sources = append(sources, source)
			continue
		}
		if x.name == "output.weight" {
			x.sigma *= 4
		}
		if encoded[x.sigma] == nil {
			scaled := make([]float32, len(pattern))
			for j, v := range pattern {
				scaled[j] = float32(x.sigma) * v
			}
			encoded[x.sigma] = make([]byte, size)
			dtype.Encode(t, encoded[x.sigma], scaled)
		}
		source.Write = func(w io.Writer) error {
			left, err := t.Size(x.elements())
			for at := i * 7919 % units * (size / units); left > 0 && err == nil; at = 0 {
				part := encoded[x.sigma][at:min(size, at+left)]
				left -= len(part)
				_, err = w.Write(part)
			}
			return err
		}
		sources = append(sources, source)
	}
	return weights.WriteGGUF(ctx, path, h.metadata(t), sources, nil)
}
