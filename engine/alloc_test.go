package engine

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"nosa/compute"
)

// TestDecodeAllocates holds a decode step to its promise: inside a block nothing
// is allocated, for any method, for one stream or four, greedy or sampled.
func TestDecodeAllocates(t *testing.T) {
	if *ownSteps {
		t.Skip("steps made of ops for tests allocate")
	}
	const block, most = 16, 600
	for _, method := range []string{"full", "infllmv2", "dma", "nosa"} {
		for _, streams := range []int{1, 4} {
			for name, sampling := range map[string]compute.Sampling{"greedy": {}, "sampled": {Temperature: 0.8, TopK: 20, TopP: 0.9}} {
				t.Run(fmt.Sprintf("%s/%d/%s", method, streams, name), func(t *testing.T) {
					e := streamEngine(t, method, streams, most, budget{chunk: 512, threads: 2}, nil)
					d := newDecoder(t, e, streams, 512-block/2, sampling) // in the middle of a block
					for range 3 * block {
						d.step(t)
					}
					if n := testing.AllocsPerRun(block/2-2, func() { d.step(t) }); n != 0 {
						t.Errorf("%v allocations a step", n)
					}
					d.close()
				})
			}
		}
	}
}

// TestDecodeGrows: the end of a block costs a few allocations, for its entry among
// those that others may share and the like, and no more at any depth.
func TestDecodeGrows(t *testing.T) {
	if *ownSteps {
		t.Skip("steps made of ops for tests allocate")
	}
	const block, blocks = 16, 12
	for _, method := range []string{"full", "infllmv2", "dma", "nosa"} {
		t.Run(method, func(t *testing.T) {
			e := streamEngine(t, method, 1, 4096, budget{chunk: 512, threads: 2}, nil)
			cost := func(depth int) (count, bytes float64) {
				d := newDecoder(t, e, 1, depth, compute.Sampling{})
				defer d.close()
				for range 4 * block {
					d.step(t)
				}
				var a, b runtime.MemStats
				runtime.ReadMemStats(&a)
				for range blocks * block {
					d.step(t)
				}
				runtime.ReadMemStats(&b)
				return float64(b.Mallocs-a.Mallocs) / blocks, float64(b.TotalAlloc-a.TotalAlloc) / blocks
			}
			// What the runtime allocates beside it, such as a thread, is counted too, and is
			// not there every time.
			least := func(depth int) (count, bytes float64) {
				count, bytes = cost(depth)
				for range 2 {
					if c, b := cost(depth); c < count {
						count, bytes = c, b
					}
				}
				return count, bytes
			}
			count, bytes := least(256)
			deepCount, deepBytes := least(3500)
			if most := float64(8 * e.model.Layers); count > most || deepCount > count+float64(e.model.Layers) {
				t.Errorf("a block: %.1f allocations at 256 tokens, want %.0f at most, and %.1f at 3,500", count, most, deepCount)
			}
			t.Logf("a block: %.1f allocations, %.0f bytes at 256 tokens, %.1f and %.0f at 3,500", count, bytes, deepCount, deepBytes)
		})
	}
}

// decoder decodes several streams with what their logits say.
type decoder struct {
	e       *Engine
	streams []*Stream
	next    []int32
	sampler compute.Sampler
	draw    func(i int, logits []float32) error
}

func newDecoder(t testing.TB, e *Engine, streams, depth int, sampling compute.Sampling) *decoder {
	t.Helper()
	d := &decoder{e: e, next: make([]int32, streams)}
	for i := range streams {
		s, err := e.NewStream(e.set.Context, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Feed(context.Background(), randomIDs(uint64(i), depth, e.model.Vocab)); err != nil {
			t.Fatal(err)
		}
		d.streams = append(d.streams, s)
	}
	d.draw = func(i int, logits []float32) error {
		d.next[i] = d.sampler.Sample(logits, sampling, d.streams[i].Len()-1)
		return nil
	}
	return d
}

func (d *decoder) step(t testing.TB) {
	if err := d.e.DecodeStep(context.Background(), d.streams, d.next, d.draw); err != nil {
		t.Fatal(err)
	}
}

func (d *decoder) close() {
	for _, s := range d.streams {
		s.Close()
	}
}

func BenchmarkDecodeStep(b *testing.B) {
	for _, method := range []string{"full", "infllmv2", "nosa"} {
		for _, streams := range []int{1, 4} {
			b.Run(fmt.Sprintf("%s/%d", method, streams), func(b *testing.B) {
				b.ReportAllocs()
				e := streamEngine(b, method, streams, 1<<14, budget{chunk: 512, threads: 2}, nil)
				d := newDecoder(b, e, streams, 512, compute.Sampling{})
				for b.Loop() {
					d.step(b)
				}
				d.close()
			})
		}
	}
}
