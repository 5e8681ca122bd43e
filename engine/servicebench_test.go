package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/kv"
)

// BenchmarkService has requests of 256 tokens of prompt and 64 to generate, as many at
// once as there are seats: by the service, and by hand in lockstep, which is as fast as
// the engine's steps are. Tokens are those generated.
func BenchmarkService(b *testing.B) {
	path := filepath.Join(*modelsDir, "SmolLM2-135M-Instruct.gguf")
	if _, err := os.Stat(path); err != nil {
		b.Skipf("%s is not there: run scripts/fetch-models", path)
	}
	const prompt, generate = 256, 64
	for _, streams := range []int{1, 8, 32} {
		e, end := benchEngine(b, path, func(o *Options) { o.Context, o.Sequences = prompt+generate, streams })
		b.Run(fmt.Sprintf("by hand/%d", streams), func(b *testing.B) {
			for b.Loop() {
				d := newDecoder(b, e, streams, prompt, compute.Sampling{})
				for range generate {
					d.step(b)
				}
				d.close()
			}
			b.ReportMetric(float64(b.N*streams*generate)/b.Elapsed().Seconds(), "tokens/s")
		})
		b.Run(fmt.Sprintf("service/%d", streams), func(b *testing.B) {
			s := NewService(e, ServiceOptions{}, slog.New(slog.DiscardHandler))
			defer s.Close()
			for b.Loop() {
				var wait sync.WaitGroup
				for i := range streams {
					a, err := s.Submit(b.Context(), Order{Request: Request{IDs: randomIDs(uint64(i), prompt, e.model.Vocab), MaxTokens: generate, IgnoreEnd: true}})
					if err != nil {
						b.Fatal(err)
					}
					wait.Go(func() {
						if _, err := collect(context.Background(), a); err != nil {
							b.Error(err)
						}
					})
				}
				wait.Wait()
			}
			b.ReportMetric(float64(b.N*streams*generate)/b.Elapsed().Seconds(), "tokens/s")
		})
		end()
	}
}

// benchEngine opens an engine over a real model.
func benchEngine(b *testing.B, path string, change func(*Options)) (e *Engine, end func()) {
	b.Helper()
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		b.Fatal(err)
	}
	src, err := OpenSource(path)
	if err != nil {
		b.Fatal(err)
	}
	o := NewOptions()
	change(&o)
	if e, err = Open(dev, src, o, slog.New(slog.DiscardHandler)); err != nil {
		b.Fatal(err)
	}
	return e, func() {
		if err := errors.Join(e.Close(), dev.Close()); err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkServiceFairness has eight answers being written while a prompt of 32,768
// tokens is read in pieces of 256, and reports the time between two tokens of one
// answer beside that of a piece alone, in milliseconds.
func BenchmarkServiceFairness(b *testing.B) {
	path := filepath.Join(*modelsDir, "SmolLM2-135M-Instruct.gguf")
	if _, err := os.Stat(path); err != nil {
		b.Skipf("%s is not there: run scripts/fetch-models", path)
	}
	const streams, piece, long = 8, 256, 32768
	e, end := benchEngine(b, path, func(o *Options) {
		o.Attention, o.Context, o.Sequences, o.Chunk, o.Retain = "infllmv2", long+256, streams+1, piece+streams, false
		o.RopeType, o.RopeBy = "yarn", 5
	})
	defer end()
	prompt := randomIDs(99, long, e.model.Vocab)
	report := func(name string, times []time.Duration) {
		slices.Sort(times)
		for _, q := range []struct {
			name string
			at   float64
		}{{"p50", 0.5}, {"p99", 0.99}, {"max", 1}} {
			b.ReportMetric(float64(times[int(q.at*float64(len(times)-1))])/1e6, name+"-"+q.name+"-ms")
		}
	}
	for b.Loop() {
		var pieces, gaps []time.Duration
		s, err := e.stream(kv.SequenceOptions{Tokens: long}, nil)
		if err != nil {
			b.Fatal(err)
		}
		for at := 0; at < long; at += piece {
			began := time.Now()
			if err := e.Step(b.Context(), []Part{{Stream: s, IDs: prompt[at : at+piece]}}, nil); err != nil {
				b.Fatal(err)
			}
			pieces = append(pieces, time.Since(began))
		}
		s.Close()
		service := NewService(e, ServiceOptions{Piece: piece}, slog.New(slog.DiscardHandler))
		var mu sync.Mutex
		var wait sync.WaitGroup
		begun := make(chan struct{}, streams)
		ctx, cancel := context.WithCancel(b.Context())
		var reading atomic.Bool
		for i := range streams {
			a, err := service.Submit(ctx, Order{Request: Request{IDs: randomIDs(uint64(i), 64, e.model.Vocab), MaxTokens: long, IgnoreEnd: true}})
			if err != nil {
				b.Fatal(err)
			}
			wait.Go(func() {
				last := time.Time{}
				for first := true; ; first = false {
					_, err := a.Next(context.Background())
					if err != nil {
						return
					}
					now := time.Now()
					if first {
						begun <- struct{}{}
					} else if reading.Load() {
						mu.Lock()
						gaps = append(gaps, now.Sub(last))
						mu.Unlock()
					}
					last = now
				}
			})
		}
		for range streams {
			<-begun
		}
		reading.Store(true)
		a, err := service.Submit(b.Context(), Order{Request: Request{IDs: prompt, MaxTokens: 1, IgnoreEnd: true}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := a.Next(b.Context()); err != nil {
			b.Fatal(err)
		}
		reading.Store(false)
		cancel()
		wait.Wait()
		service.Close()
		report("gap", gaps)
		report("piece", pieces)
	}
}
