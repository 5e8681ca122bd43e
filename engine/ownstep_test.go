package engine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/compute/steptest"
	"nosa/kv"
)

var (
	ownSteps = flag.Bool("own-steps", false, "run all tests on a device that decodes by itself")
	stepped  []*steptest.Device // that the running tests have opened
)

// testDevice is the device that tests open engines with.
func testDevice(dev compute.Device) compute.Device {
	if !*ownSteps {
		return dev
	}
	d := &steptest.Device{Device: dev}
	stepped = append(stepped, d)
	return d
}

// onSteps runs a test on a device that decodes by itself, and expects that it did.
func onSteps(t *testing.T, name string, test func(*testing.T)) {
	t.Run(name, func(t *testing.T) {
		was := *ownSteps
		*ownSteps, stepped = true, nil
		defer func() { *ownSteps = was }()
		test(t)
		var steps, rows int64
		for _, d := range stepped {
			steps, rows = steps+d.Steps, rows+d.Rows
		}
		if t.Logf("%d engines, %d steps of %d rows", len(stepped), steps, rows); rows == 0 {
			t.Error("no token came from the device's own steps")
		}
	})
}

// TestOwnSteps holds the device's own steps to what the tests ask of the ordinary way.
func TestOwnSteps(t *testing.T) {
	onSteps(t, "streams", TestStreamsSameBits)
	onSteps(t, "mixes", TestStepMixes)
	onSteps(t, "service", TestServiceSameBits)
	onSteps(t, "cancels", TestServiceCancels)
	onSteps(t, "restarts", TestServiceRestarts)
}

// TestOwnStepsSameBits is TestSameBits on a device that decodes by itself, for two formats.
func TestOwnStepsSameBits(t *testing.T) {
	was := *sameTypes
	*sameTypes = "bf16,q4"
	defer func() { *sameTypes = was }()
	onSteps(t, "two formats", testSameBits)
}

// ownEngine opens the model of the tests on a device that decodes by itself.
func ownEngine(t *testing.T, method string, sequences, context int, b budget) (*Engine, *steptest.Device) {
	t.Helper()
	was := *ownSteps
	*ownSteps, stepped = true, nil
	defer func() { *ownSteps = was }()
	e := streamEngine(t, method, sequences, context, b, nil)
	return e, stepped[0]
}

// offloaded are budgets in which some of twelve sequences' rows fit into a step.
var offloaded = map[string]budget{
	"resident": {chunk: 64, threads: 2},
	"host":     {device: 0.35, host: 1, chunk: 100, threads: 2},
	"selected": {device: 0.35, host: 1, keep: kv.KeepSelected, chunk: 64, threads: 1},
	"disk":     {device: 0.35, host: 0.7, disk: true, chunk: 33, threads: 2},
}

// TestOwnStepsRuns decodes more streams than a step has rows, some of which want their
// hidden states: all have the bits of the ordinary way, in the order of their parts.
func TestOwnStepsRuns(t *testing.T) {
	const n, prompt, length = 12, 90, 160
	for _, method := range []string{"full", "infllmv2", "nosa"} {
		plain := streamEngine(t, method, 1, length, budget{chunk: 64, threads: 2}, nil)
		ids, want := make([][]int32, n), make([][]uint32, n)
		hidden := func(i int) bool { return i%5 == 3 }
		decode := func(e *Engine, streams []*Stream, which []int, out [][]uint32) {
			t.Helper()
			var parts []Part
			for k, s := range streams {
				if i := which[k]; s.Len() < prompt+10+i*5 {
					parts = append(parts, Part{Stream: s, IDs: ids[i][s.Len() : s.Len()+1], Want: 1, Hidden: hidden(i)})
				}
			}
			last := -1
			if err := e.Step(context.Background(), parts, func(k, _ int, v []float32) error {
				if k <= last {
					t.Errorf("part %d after part %d", k, last)
				}
				last = k
				i := which[slices.Index(streams, parts[k].Stream)]
				for _, x := range v {
					out[i] = append(out[i], math.Float32bits(x))
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range ids {
			ids[i] = randomIDs(uint64(i), length, plain.model.Vocab)
			p := play(t, plain, ids[i], prompt)
			for p.Len() < prompt+10+i*5 {
				decode(plain, []*Stream{p.Stream}, []int{i}, want)
			}
			p.Close()
		}
		for name, b := range offloaded {
			t.Run(method+"/"+name, func(t *testing.T) {
				e, dev := ownEngine(t, method, n, length, b)
				got, streams, which := make([][]uint32, n), make([]*Stream, n), make([]int, n)
				for i := range ids {
					streams[i], which[i] = play(t, e, ids[i], prompt).Stream, i
				}
				for range length - prompt - 5 {
					decode(e, streams, which, got)
					if err := e.store.Check(); err != nil {
						t.Fatal(err)
					}
				}
				var misses int64
				for i, s := range streams {
					if !slices.Equal(got[i], want[i]) {
						t.Errorf("stream %d has other bits", i)
					}
					misses += s.Stats().Total.Misses()
					s.Close()
				}
				t.Logf("%d rows in a step, %d slots for steps and %d others: %d steps of %d rows, %d misses", e.plan.StepRows, e.plan.StepSlots, e.plan.Slots, dev.Steps, dev.Rows, misses)
				if e.plan.StepRows > 0 && dev.Rows == 0 || method == "nosa" && e.plan.StepRows == 0 {
					t.Error("no token came from the device's own steps")
				}
			})
		}
	}
}

// TestOwnStepFails lets the first or the second step of a round fail: it ends the streams
// that were in it, and no others.
func TestOwnStepFails(t *testing.T) {
	broken := errors.New("the device is on fire")
	const n, prompt, length = 12, 90, 130
	for at := range 2 {
		e, dev := ownEngine(t, "nosa", n, length, offloaded["host"])
		if e.plan.StepRows < n/2 || e.plan.StepRows >= n {
			t.Fatalf("%d rows in a step", e.plan.StepRows)
		}
		var players []*player
		for i := range n {
			players = append(players, play(t, e, randomIDs(uint64(i), length, e.model.Vocab), prompt))
		}
		if _, err := round(t, e, players); err != nil {
			t.Fatal(err)
		}
		calls := 0
		dev.Fail = func([]compute.StepRow) error {
			if calls++; calls == 1+at {
				return broken
			}
			return nil
		}
		fails := func(i int) bool { return i/e.plan.StepRows == at }
		failed := 0
		for i := range n {
			if fails(i) {
				failed++
			}
		}
		_, err := round(t, e, players)
		var step *StepError
		if !errors.As(err, &step) || !errors.Is(err, broken) || len(step.Failed) != failed {
			t.Fatalf("%v; want %d streams that failed", err, failed)
		}
		for i, p := range players {
			want := 2
			if fails(i) {
				want = 1
			}
			if errors.Is(p.Err(), broken) != fails(i) || len(p.bits) != want*e.model.Vocab {
				t.Errorf("stream %d: %v, %d logits", i, p.Err(), len(p.bits))
			}
		}
		dev.Fail = nil
		playOut(t, e, players...)
		for i, p := range players {
			if p.Err() == nil {
				alone := play(t, e, p.ids, prompt)
				if playOut(t, e, alone); !slices.Equal(p.bits, alone.bits) {
					t.Errorf("stream %d has other logits than alone", i)
				}
				alone.Close()
			}
			p.Close()
		}
		if err := e.store.Check(); err != nil {
			t.Error(err)
		}
		// A step that can not begin, since nobody waits for it any more.
		p := play(t, e, randomIDs(1, length, e.model.Vocab), prompt)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(broken)
		if err := e.DecodeStep(ctx, []*Stream{p.Stream}, p.ids[prompt:prompt+1], nil); !errors.Is(err, broken) || !errors.Is(p.Err(), ErrStream) {
			t.Errorf("%v, the stream's: %v", err, p.Err())
		}
		p.Close()
	}
}

// TestOwnStepsRefused: where the device does not serve a model, or has no room for a row,
// all goes the ordinary way, and no slots are set aside.
func TestOwnStepsRefused(t *testing.T) {
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	for name, tc := range map[string]struct {
		dev  *steptest.Device
		b    budget
		rows int
	}{
		"refused": {&steptest.Device{Device: dev, Refuse: compute.ErrStep}, budget{device: 0.5, chunk: 64}, 0},
		"no room": {&steptest.Device{Device: dev}, budget{device: 0.01, chunk: 64}, 0},
		"room":    {&steptest.Device{Device: dev}, budget{device: 0.9, chunk: 64}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			src, err := OpenSource(*sameModel)
			if err != nil {
				t.Fatal(err)
			}
			o := NewOptions()
			o.Attention, o.Context, o.Chunk = "nosa", 300, tc.b.chunk
			tc.b.apply(t, src, &o)
			e, err := Open(tc.dev, src, o, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := e.Close(); err != nil {
					t.Error(err)
				}
			}()
			if p := e.plan; p.StepRows != tc.rows || (p.StepSlots > 0) != (tc.rows > 0) || (p.Seats > 0) != (tc.rows > 0) {
				t.Errorf("%+v", p)
			}
			if _, err := e.Generate(t.Context(), Request{IDs: randomIDs(1, 100, e.model.Vocab), MaxTokens: 5, IgnoreEnd: true}); err != nil {
				t.Error(err)
			}
			if (tc.dev.Rows > 0) != (tc.rows > 0) {
				t.Errorf("%d rows", tc.dev.Rows)
			}
		})
	}
}

// TestPausedRise: a request that loses its seat to another has none with the device either,
// and goes on with the same tokens.
func TestPausedRise(t *testing.T) {
	was := *ownSteps
	*ownSteps, stepped = true, nil
	defer func() { *ownSteps = was }()
	e, s := serve(t, "nosa", 1, 400, budget{device: 0.9, host: 1, chunk: 64}, ServiceOptions{Piece: 32}, func(o *Options) { o.Sequences = 3; o.Chunk = 2 })
	low := Order{Request: Request{IDs: randomIDs(5, 60, e.model.Vocab), MaxTokens: 120, IgnoreEnd: true}}
	want := answer(t, s, low)
	// In each step, on the service's own goroutine: the tenth waits for the others to come.
	reached, others, begun, paused := make(chan struct{}), make(chan struct{}), 0, 0
	stepped[0].Fail = func([]compute.StepRow) error {
		if begun++; begun == 10 {
			close(reached)
			<-others
		}
		for _, j := range s.sched.waiting {
			if j.opened {
				paused++
				for _, c := range s.runs[j].s.seq.Look(Range{To: 1}, Range{To: 1}).Cells {
					if c.Where&kv.Seated != 0 {
						t.Error("a paused request sits")
					}
				}
			}
		}
		return nil
	}
	a, err := s.Submit(t.Context(), low)
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	var high []*Answer
	for i := range 4 {
		b, err := s.Submit(t.Context(), Order{Request: Request{IDs: randomIDs(uint64(20+i), 30, e.model.Vocab), MaxTokens: 40, IgnoreEnd: true}, Priority: 5})
		if err != nil {
			t.Fatal(err)
		}
		high = append(high, b)
	}
	close(others)
	got, err := collect(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range high {
		if _, err := collect(t.Context(), b); err != nil {
			t.Error(err)
		}
	}
	if paused == 0 {
		t.Error("it was never paused")
	}
	if !reflect.DeepEqual(got, want) {
		t.Error("it went on with other tokens")
	}
}

// TestPlanDevice: a device with memory of its own has its own account, and what is proposed
// for it fits.
func TestPlanDevice(t *testing.T) {
	c := smol(t)
	on := func(free int64, change func(*Options)) (*Plan, error) {
		o := NewOptions()
		change(&o)
		set, err := o.resolve(c, false)
		if err != nil {
			t.Fatal(err)
		}
		set.free = free
		return plan(c, set, 100<<20, 1<<30)
	}
	p, err := on(2<<30, func(*Options) {})
	if err != nil {
		t.Fatal(err)
	}
	if device := p.Weights + p.SlotBytes + p.Tails + p.Summaries + p.Step; p.Device != device || p.Memory != p.Tables+stepSlack {
		t.Errorf("%+v", p)
	}
	_, err = on(p.Device-1<<20, func(*Options) {})
	if !errors.Is(err, ErrPlan) || !strings.Contains(err.Error(), "of the device's memory") {
		t.Fatalf("%v", err)
	}
	_, flag, ok := strings.Cut(err.Error(), "try --kv-device ")
	var mib int64
	if _, e := fmt.Sscanf(flag, "%dMiB", &mib); !ok || e != nil {
		t.Fatalf("%v", err)
	}
	if small, err := on(p.Device-1<<20, func(o *Options) { o.KVDevice = mib << 20 }); err != nil || small.Slots >= p.Slots || small.Host == 0 {
		t.Errorf("%+v, %v", small, err)
	}
	if _, err := on(2<<30, func(o *Options) { o.KVDevice, o.Sequences = 64<<20, 8 }); !errors.Is(err, ErrPlan) || !strings.Contains(err.Error(), "of the host's memory") {
		t.Errorf("%v", err)
	}
}

// still is a step that computes nothing.
type still struct {
	compute.Step
	counts compute.StepCounts
	zeros  compute.Tensor
}

func (s *still) Run([]compute.StepRow)              {}
func (s *still) Wait() (compute.StepCounts, error)  { return s.counts, nil }
func (s *still) Logits(from, to int) compute.Tensor { return s.zeros.Rows(from, to) }

// TestOwnStepAllocates: what the engine and the store do about a device's own step
// allocates nothing inside a block.
func TestOwnStepAllocates(t *testing.T) {
	const n, block = 4, 16
	for _, b := range []budget{{chunk: 64}, {device: 0.9, host: 1, chunk: 64}} {
		e, _ := ownEngine(t, "nosa", n, 300, b)
		if e.plan.StepRows < n {
			t.Fatalf("%d rows in a step", e.plan.StepRows)
		}
		streams, next := make([]*Stream, n), make([]int32, n)
		for i := range streams {
			streams[i] = play(t, e, randomIDs(uint64(i), 200, e.model.Vocab), 8*block).Stream
		}
		e.dec = &still{e.dec, compute.StepCounts{Layers: make([]compute.StepCount, e.model.Layers), Rows: make([]compute.StepCount, n)},
			compute.F32s(make([]float32, n*e.model.Vocab), n, e.model.Vocab)}
		step := func() {
			if err := e.DecodeStep(context.Background(), streams, next, func(int, []float32) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		step()
		step()
		if got := testing.AllocsPerRun(block/2, step); got != 0 {
			t.Errorf("%v allocations a step", got)
		}
		if len(e.rows) != n {
			t.Errorf("%d streams sit, want %d", len(e.rows), n)
		}
		for _, s := range streams {
			s.Close()
		}
	}
}
