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
	"nosa/compute/cuda"
	"nosa/compute/cuda/step"
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

// TestReaders: many requests about one document, which was read once and whose blocks are
// there once, sit at the same time and have the bits that each has alone.
func TestReaders(t *testing.T) {
	const n, document, question, answers, length = 10, 320, 23, 30, 400
	const block = 16
	ids := make([][]int32, n)
	for i := range ids {
		ids[i] = append(randomIDs(7, document, 32), randomIDs(uint64(100+i), question+answers, 32)...)
	}
	for _, method := range []string{"full", "nosa"} {
		plain := streamEngine(t, method, 1, length, budget{chunk: 64, threads: 2}, nil)
		var want [][]uint32
		for i := range ids {
			p := play(t, plain, ids[i], document+question)
			playOut(t, plain, p)
			want = append(want, p.bits)
			p.Close()
		}
		// Room for the document once, and for what is behind it n times; slots for a part of it.
		for name, b := range map[string]budget{"resident": {chunk: 64, threads: 2}, "host": {device: 0.8, host: 1, chunk: 100, threads: 2}} {
			t.Run(method+"/"+name, func(t *testing.T) {
				e, dev := ownReaders(t, method, n, length, b)
				var players []*player
				for i := range ids {
					s, err := e.NewStream(len(ids[i]), ids[i])
					if err != nil {
						t.Fatal(err)
					}
					if i > 0 && s.Shared() != document {
						t.Errorf("stream %d shares %d tokens, want %d", i, s.Shared(), document)
					}
					if err := s.Feed(t.Context(), ids[i][s.Len():document+question]); err != nil {
						t.Fatal(err)
					}
					players = append(players, &player{Stream: s, ids: ids[i], prompt: document + question})
				}
				live := (document + n*(question+answers+block-1)) / block * e.model.Layers * e.model.KVHeads
				for more := true; more; {
					var err error
					if more, err = round(t, e, players); err != nil {
						t.Fatal(err)
					}
					if st := e.store.Stats(); st.Live > live {
						t.Fatalf("%d blocks are there, want %d at most", st.Live, live)
					}
				}
				if err := e.store.Check(); err != nil {
					t.Error(err)
				}
				for i, p := range players {
					if !slices.Equal(p.bits, want[i]) {
						t.Errorf("reader %d has other bits than alone", i)
					}
					p.Close()
				}
				t.Logf("%d steps of %d rows", dev.Steps, dev.Rows)
				if dev.Rows != n*answers {
					t.Error("not every token came from the device's own steps")
				}
			})
		}
	}
}

// ownReaders has room for four whole sequences, and seats for more.
func ownReaders(t *testing.T, method string, seats, context int, b budget) (*Engine, *steptest.Device) {
	t.Helper()
	was := *ownSteps
	*ownSteps, stepped = true, nil
	defer func() { *ownSteps = was }()
	e := streamEngine(t, method, 4, context, b, func(o *Options) { o.Seats = seats })
	return e, stepped[0]
}

// TestReadersService: the same by a service, whose seats the requests take all at once.
func TestReadersService(t *testing.T) {
	const n, document, length = 9, 320, 400
	_, alone := serve(t, "nosa", 1, length, budget{chunk: 64, threads: 1}, ServiceOptions{}, func(o *Options) { o.Retain = false })
	orders, want := make([]Order, n), make([]outcome, n)
	for i := range orders {
		orders[i].Request = Request{IDs: append(randomIDs(7, document, 32), randomIDs(uint64(100+i), 5+i, 32)...), MaxTokens: 40, IgnoreEnd: true}
		want[i] = answer(t, alone, orders[i])
	}
	was := *ownSteps
	*ownSteps, stepped = true, nil
	defer func() { *ownSteps = was }()
	_, s := serve(t, "nosa", 2, length, budget{device: 0.9, host: 1, chunk: 64, threads: 2}, ServiceOptions{}, func(o *Options) { o.Seats = n })
	answer(t, s, orders[0]) // reads the document
	most := 0
	stepped[0].Fail = func(rows []compute.StepRow) error {
		most = max(most, len(rows))
		return nil
	}
	var all []*Answer
	for _, o := range orders {
		a, err := s.Submit(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	for i, a := range all {
		got, err := collect(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want[i]) {
			t.Errorf("request %d has other tokens than alone", i)
		}
		if u := a.Usage(); u.Shared != document {
			t.Errorf("request %d took over %d tokens", i, u.Shared)
		}
	}
	s.Close()
	if most <= 2 {
		t.Errorf("%d rows in a step, and there is room for two whole requests", most)
	}
}

// TestReadersTogether: of questions about a document that come at the same time the first
// one reads it, and the others wait for that, which they do not if it is cancelled.
func TestReadersTogether(t *testing.T) {
	const n, document, answers, length, block = 6, 3200, 10, 3300, 16
	for name, cancels := range map[string]bool{"in peace": false, "the first is cancelled": true} {
		t.Run(name, func(t *testing.T) {
			e, s := serve(t, "nosa", 2, length, budget{chunk: 64, threads: 2}, ServiceOptions{}, func(o *Options) { o.Seats = n })
			var all []*Answer
			for i := range n {
				ids := append(randomIDs(7, document, e.model.Vocab), randomIDs(uint64(100+i), 5+i, e.model.Vocab)...)
				a, err := s.Submit(t.Context(), Order{Request: Request{IDs: ids, MaxTokens: answers, IgnoreEnd: true}})
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, a)
			}
			// One with nothing in common waits for nobody.
			other, err := s.Submit(t.Context(), Order{Request: Request{IDs: randomIDs(8, 40, e.model.Vocab), MaxTokens: 1, IgnoreEnd: true}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := collect(t.Context(), other); err != nil {
				t.Error(err)
			}
			if cancels {
				all[0].Cancel()
			}
			for i, a := range all {
				if _, err := collect(t.Context(), a); (err != nil) != (cancels && i == 0) {
					t.Errorf("request %d: %v", i, err)
				}
			}
			st, err := s.Look(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			most := int64(document + n*(answers+block+5+n) + 50)
			if cancels {
				most += document // what the first one had read may be lost
			}
			if t.Logf("%d rows", st.Rows); st.Rows > most {
				t.Errorf("%d rows, want %d at most", st.Rows, most)
			}
		})
	}
}

// drawOrders are requests of every kind of draw.
var drawOrders = []Order{
	{}, {Request: Request{Sampling: compute.Sampling{Temperature: 0.8, TopP: 0.95, Seed: 1}}},
	{Request: Request{Sampling: compute.Sampling{Temperature: 1.2, Seed: 2}}, Choices: 3},
	{Request: Request{Sampling: compute.Sampling{Temperature: 1, TopK: 40, TopP: 0.9, Seed: 3}}},
	{Request: Request{Sampling: compute.Sampling{Temperature: 0.7, MinP: 0.05, Seed: 4}}},
	{Request: Request{Sampling: compute.Sampling{Temperature: 1, Seed: 5}, LogProbs: true, TopLogProbs: 3}},
	{Request: Request{Penalties: Penalties{Frequency: 0.5}}},
	{Request: Request{Penalties: Penalties{Bias: map[int32]float32{7: 5}}, Sampling: compute.Sampling{Temperature: 1, Seed: 6}}},
	{Request: Request{LogProbs: true}}, {Request: Request{Sampling: compute.Sampling{Temperature: 1e-3, Seed: 7}}},
}

// drawAll asks for them side by side, and for some of them alone.
func drawAll(t *testing.T, e *Engine, tokens int) (out []outcome) {
	t.Helper()
	s := NewService(e, ServiceOptions{}, slog.New(slog.DiscardHandler))
	order := func(i int) Order {
		o := drawOrders[i]
		o.IDs, o.MaxTokens, o.IgnoreEnd = randomIDs(uint64(i), 80, e.model.Vocab), tokens-i, true
		return o
	}
	var answers []*Answer
	for i := range drawOrders {
		a, err := s.Submit(t.Context(), order(i))
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	for _, a := range answers {
		got, err := collect(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, got)
	}
	s.Close()
	for _, i := range []int{0, 1, 3, 4} {
		got, err := e.Generate(t.Context(), order(i).Request)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(got.Tokens, out[i].Tokens[0], func(id int32, t Token) bool { return id == t.ID }) {
			t.Errorf("request %d: Generate gives %v, the service %v", i, got.Tokens, out[i].Tokens[0])
		}
	}
	return out
}

func sameOutcomes(t *testing.T, got, want []outcome) {
	t.Helper()
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("request %d: %+v\nfrom whole rows %+v", i, got[i], want[i])
		}
	}
}

// TestOwnStepsDraw: what is drawn from what the device says of its logits is what is drawn from
// whole rows, in requests of every kind side by side, in one step or several.
func TestOwnStepsDraw(t *testing.T) {
	run := func(whole bool) ([]outcome, *steptest.Device) {
		e, dev := ownEngine(t, "nosa", 12, 130, offloaded["host"])
		dev.NoPeaks = whole
		if e.plan.StepRows >= len(drawOrders) {
			t.Errorf("%d rows in a step: none has two", e.plan.StepRows)
		}
		return drawAll(t, e, 40), dev
	}
	want, dev := run(true)
	if dev.Peaks != 0 {
		t.Errorf("%d rows were spoken of", dev.Peaks)
	}
	got, dev := run(false)
	if t.Logf("%d of %d rows", dev.Peaks, dev.Rows); dev.Peaks == 0 {
		t.Error("no draw was from what the device says")
	}
	sameOutcomes(t, got, want)
}

// TestGPUDraws is the same on a GPU, where a vocabulary has many chunks.
func TestGPUDraws(t *testing.T) {
	dev, err := step.New(cuda.Options{})
	if errors.Is(err, cuda.ErrNoDriver) {
		t.Skipf("needs a GPU: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	d := &telling{gpu: dev.(gpu)}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	path := randomShape{layers: 2, hidden: 64, heads: 4, kvHeads: 2, dim: 16, mlp: 96, vocab: 2503, topK: 8}.write(t)
	run := func(whole bool) []outcome {
		d.whole, d.drawn = whole, 0
		src, err := OpenSource(path)
		if err != nil {
			t.Fatal(err)
		}
		o := NewOptions()
		o.Context, o.Sequences = 130, 12
		e, err := Open(d, src, o, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}()
		return drawAll(t, e, 13)
	}
	want := run(true)
	got := run(false)
	if t.Logf("%d rows", d.drawn); d.drawn == 0 {
		t.Error("no draw was from what the device says")
	}
	sameOutcomes(t, got, want)
}

// telling is a GPU whose steps may say nothing of their logits.
type telling struct {
	gpu
	whole bool
	drawn int
}

func (d *telling) NewStep(m compute.Decoder, c *compute.Cache, o compute.StepOptions) (compute.Step, error) {
	s, err := d.gpu.NewStep(m, c, o)
	return tellingStep{s, d}, err
}

type tellingStep struct {
	compute.Step
	d *telling
}

func (s tellingStep) Peak(row int) (p compute.Peak) {
	if !s.d.whole {
		if p = s.Step.Peak(row); len(p.Keys) > 0 {
			s.d.drawn++
		}
	}
	return p
}
