package engine

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
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
		dev, err := cpu.New(cpu.Options{})
		if err != nil {
			b.Fatal(err)
		}
		src, err := OpenSource(path)
		if err != nil {
			b.Fatal(err)
		}
		o := NewOptions()
		o.Context, o.Sequences = prompt+generate, streams
		e, err := Open(dev, src, o, slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
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
		if err := e.Close(); err != nil {
			b.Error(err)
		}
		if err := dev.Close(); err != nil {
			b.Error(err)
		}
	}
}
