package decode

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/step"
	"nosa/dtype"
)

// stepper makes steps that look at what they are given.
type stepper struct {
	compute.Device
	t      *testing.T
	shared int
	last   *looking
}

func (s *stepper) StepBytes(compute.Decoder, compute.Layout, compute.StepOptions) (int64, error) {
	return 1 << 20, nil
}

func (s *stepper) NewStep(m compute.Decoder, c *compute.Cache, o compute.StepOptions) (compute.Step, error) {
	s.last = &looking{t: s.t, m: m, c: c, o: o, shared: s.shared, columns: map[int32]bool{}, at: map[int]int32{}}
	return s.last, nil
}

// looking is a step that computes nothing: it checks what it is told.
type looking struct {
	t        *testing.T
	m        compute.Decoder
	c        *compute.Cache
	o        compute.StepOptions
	columns  map[int32]bool
	shared   int // columns that every seat has, the first
	seats    int
	at       map[int]int32 // next position by seat
	runs     int
	replay   *step.Replay
	inSeries bool
	copied   int // blocks a layer
	fetched  bool
	closed   bool
}

func (l *looking) Sit(seat int, tails []compute.Tensor) {
	if seat != l.seats || len(tails) != len(l.m.Layers) || tails[0].Bytes() != l.c.Heads*2*l.c.Block*l.c.Dim*4 {
		l.t.Errorf("seat %d with %d tails %v", seat, len(tails), tails[0].Dims)
	}
	l.seats++
}

func (l *looking) Grow(seat int, columns, pages []int32) {
	if len(columns) != l.shared+(l.o.Columns-l.shared)/l.o.Seats || len(pages) != len(columns)*len(l.m.Layers)*l.c.Heads {
		l.t.Errorf("seat %d gets %d columns and %d pages", seat, len(columns), len(pages))
	}
	for i, c := range columns {
		if c < 0 || int(c) >= l.o.Columns || i >= l.shared && l.columns[c] || i < l.shared && c != int32(i) {
			l.t.Errorf("seat %d gets column %d", seat, c)
		}
		l.columns[c] = true
	}
	for _, p := range pages {
		if p < 0 || !l.o.Resident && (int(p)+1)*l.o.Stride > len(l.o.Pages) {
			l.t.Fatalf("page %d of %d bytes", p, len(l.o.Pages))
		}
	}
}

func (l *looking) Rise(int, []compute.Tensor)     {}
func (l *looking) Drop([]int32)                   {}
func (l *looking) Peak(int) compute.Peak          { return compute.Peak{} }
func (l *looking) Logits(int, int) compute.Tensor { return compute.Tensor{} }
func (l *looking) States(int, int) compute.Tensor { return compute.Tensor{} }
func (l *looking) Close() error                   { l.closed = true; return nil }
func (l *looking) InSeries()                      { l.inSeries = true }
func (l *looking) Replay(r *step.Replay) error    { l.replay = r; return nil }

func (l *looking) Run(rows []compute.StepRow) {
	for i, r := range rows {
		if next, ok := l.at[i]; int(r.Seat) != i || ok && r.Pos != next && r.Pos != l.again(next) || int(r.Pos) >= l.o.Context || int(r.Token) >= l.m.Vocab || r.Token < 0 {
			l.t.Errorf("row %d: %+v", i, r)
		}
		l.at[i] = r.Pos + 1
	}
	l.runs++
}

// again is the position of a step before the next one that is run once more.
func (l *looking) again(next int32) int32 {
	if int(next)%l.c.Block == 0 {
		return next - 2
	}
	return next - 1
}

func (l *looking) CopyMS(blocks int) (float64, error) {
	l.copied = blocks
	return 3, nil
}

func (l *looking) Fetch([]int32) { l.fetched = true }

func (l *looking) Wait() (compute.StepCounts, error) {
	c := compute.StepCounts{Layers: make([]compute.StepCount, len(l.m.Layers))}
	for i := range c.Layers {
		c.Layers[i] = compute.StepCount{Selected: 10, Hits: 8, Misses: int64(2 * i)}
	}
	return c, nil
}

// open is the first GPU, or the end of the test.
func open(t *testing.T) *cuda.Device {
	t.Helper()
	dev, err := cuda.Open(0)
	if errors.Is(err, cuda.ErrNoDriver) {
		t.Skipf("needs a GPU: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return dev
}

// TestGPU prepares tiny settings of every system and format: what the steps get are
// sequences with columns of their own, and caches of finite numbers, on the device and in
// the host pool.
func TestGPU(t *testing.T) {
	dev := open(t)
	steps := &stepper{Device: dev, t: t}
	r, err := newGPU(dev, steps)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if n := dev.Allocated(); n != 0 {
			t.Errorf("%d bytes of the device are still taken", n)
		}
	}()
	for _, system := range Systems {
		for _, kv := range []string{"bf16", "f16", "f32", "q8", "q4"} {
			t.Run(system+" "+kv, func(t *testing.T) {
				s := Setting{Shape: "tiny", Weights: "bf16", System: system, KVType: kv, Batch: 3, Context: 4480, New: 0.1, Warm: 1, Steps: 2, KVHost: 1 << 20}
				if steps.shared = 0; system == "readers" {
					steps.shared = 4480 / 64
				}
				if system == "nosa" || system == "readers" {
					s.KVDevice = 8 << 20
				}
				if system == "full" {
					s.New = 0
				}
				out, err := r.Run(t.Context(), s)
				if err != nil {
					t.Fatal(err)
				}
				l := steps.last
				if again := repeats + s.Steps; l.runs != 3+again || l.copied != 1 || len(out.Without) != s.Steps || out.CopyMS != 3 {
					t.Errorf("%d runs, %d blocks copied, %+v", l.runs, l.copied, out)
				}
				if !l.closed || l.seats != 3 || len(l.columns) != l.o.Columns || len(out.Milliseconds) != 2 || !slices.Equal(out.Selected, []int64{20, 20}) || !slices.Equal(out.Missed, []int64{0, 4}) {
					t.Errorf("%d runs, %d seats, %d columns, %+v", l.runs, l.seats, len(l.columns), out)
				}
				if selects := system != "full"; (l.replay != nil) != selects || l.inSeries != (system == "nosi") || l.o.Resident != (system == "full" || system == "infllmv2") || l.o.KeepSelected != (system == "nosi") {
					t.Errorf("%+v, replayed: %t, in series: %t", l.o, l.replay != nil, l.inSeries)
				}
			})
		}
	}
	t.Run("no room", func(t *testing.T) {
		s := Setting{Shape: "tiny", Weights: "bf16", System: "full", KVType: "bf16", Batch: 1000, Context: 1 << 20, Steps: 1}
		if _, err := r.Run(t.Context(), s); !errors.Is(err, ErrNoRoom) {
			t.Errorf("%v, want ErrNoRoom", err)
		}
		s = Setting{Shape: "tiny", Weights: "bf16", System: "nosa", KVType: "bf16", Batch: 2, Context: 8192, Steps: 1, Memory: 1 << 20}
		if _, err := r.Run(t.Context(), s); !errors.Is(err, ErrNoRoom) {
			t.Errorf("%v, want ErrNoRoom", err)
		}
		s.Memory, s.KVDevice = 0, 1<<20
		if _, err := r.Run(t.Context(), s); !errors.Is(err, ErrNoRoom) {
			t.Errorf("%v, want ErrNoRoom", err)
		}
	})
}

// TestGPUFill reads contents back: every number is finite, and not all are alike.
func TestGPUFill(t *testing.T) {
	dev := open(t)
	for _, kv := range []string{"bf16", "f16", "f32", "q8", "q4"} {
		s := Setting{Shape: "tiny", Weights: "bf16", System: "nosa", KVType: kv, Batch: 2, Context: 4480, Steps: 2, KVDevice: 8 << 20}
		m, err := s.Meaning()
		if err != nil {
			t.Fatal(err)
		}
		r, err := newGPU(dev, &stepper{Device: dev, t: t})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.load(m); err != nil {
			t.Fatal(err)
		}
		b := newBatch(r, s, m)
		if err := b.open(); err != nil {
			t.Fatal(err)
		}
		l := m.Layout
		raw, n := make([]byte, l.BlockBytes()), b.cache.Slots.Dims[0]
		for name, block := range map[string][]byte{"first": nil, "last": nil, "page": b.o.Pages[len(b.o.Pages)-l.BlockBytes():]} {
			if block == nil {
				slot := 0
				if name == "last" {
					slot = n - 1
				}
				b.d.CopySlot(&b.cache, raw, int32(slot))
				block = raw
			}
			values := make([]float32, 2*l.Block*l.Dim)
			l.DecodeBlock(values[:l.Block*l.Dim], values[l.Block*l.Dim:], block)
			if err := varied(values); err != nil {
				t.Errorf("%s: %s block: %v", kv, name, err)
			}
		}
		for name, x := range map[string]compute.Tensor{"means": b.cache.Segments, "scores of segments": b.cache.SegScore, "scores": b.cache.Score} {
			raw, values := make([]byte, x.Bytes()), make([]float32, x.Len())
			dev.Download(raw, x)
			if err := dev.Sync(); err != nil {
				t.Fatal(err)
			}
			dtype.Decode(x.Type, values, raw)
			if err := varied(values); err != nil {
				t.Errorf("%s: %s: %v", kv, name, err)
			}
		}
		if err := errors.Join(b.close(), r.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// varied tells what is wrong with numbers that should be even between −1 and 1.
func varied(values []float32) error {
	mean, square := 0.0, 0.0
	for _, v := range values {
		if !(v >= -1.1 && v <= 1.1) {
			return fmt.Errorf("%g", v)
		}
		mean += float64(v) / float64(len(values))
		square += float64(v) * float64(v) / float64(len(values))
	}
	if math.Abs(mean) > 0.1 || math.Abs(square-1.0/3) > 0.1 {
		return fmt.Errorf("mean %g, mean square %g", mean, square)
	}
	return nil
}

// TestSteps runs tiny settings of every system by the steps of package step.
func TestSteps(t *testing.T) {
	r, err := Open(0)
	if errors.Is(err, cuda.ErrNoDriver) {
		t.Skipf("needs a GPU: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, system := range Systems {
		for _, kv := range []string{"bf16", "q8", "q4"} {
			t.Run(system+" "+kv, func(t *testing.T) {
				w := Sweep{Shape: "tiny", Systems: []string{system}, Weights: []string{"bf16"}, KVTypes: []string{kv}, Batches: []int{2}, Contexts: []int{12800},
					Common: Setting{New: 0.161, Warm: 2, Steps: 2, KVHost: 1 << 20}, NosiNew: 0.1}
				settings, err := w.Settings()
				if err != nil {
					t.Fatal(err)
				}
				s := settings[0]
				m, err := s.Meaning()
				if err != nil {
					t.Fatal(err)
				}
				s.KVDevice = 3 * 2 * 2 * 2 * 64 / 2 * int64(m.Layout.BlockBytes()) // one and a half times what is selected
				out, err := r.Run(t.Context(), s)
				if errors.Is(err, errors.ErrUnsupported) {
					t.Skip(err)
				}
				if err != nil {
					t.Fatal(err)
				}
				blocks := int64(2 * 2 * 64) // of a layer: rows, KV heads, and what each selects
				if system == "full" {
					blocks = 2 * 2 * 201
				}
				var share float64
				for layer, n := range out.Selected {
					if n != 2*blocks {
						t.Errorf("layer %d: %d blocks selected in 2 steps, want %d", layer, n, 2*blocks)
					}
					share += float64(out.Missed[layer]) / float64(n) / float64(len(out.Selected))
				}
				t.Logf("%.1f %% missed, steps of %.2f ms", 100*share, out.Milliseconds)
				low, high := 0.0, 0.0
				switch system {
				case "nosi":
					low, high = 0.09, 0.11
				case "nosa":
					low, high = 0.05, 0.13 // the pool is not full yet
				case "readers":
					low, high = 0.03, 0.1 // and some of what is new has been another's
				}
				if share < low || share > high {
					t.Errorf("%.3f missed, want %.3f to %.3f", share, low, high)
				}
			})
		}
	}
}
