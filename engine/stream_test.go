package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/kv"
	"nosa/kv/vfs"
)

// streamEngine opens the model of the tests for several sequences, with its
// blocks spread over the tiers as b says.
func streamEngine(t testing.TB, method string, sequences, context int, b budget, change func(*Options)) *Engine {
	t.Helper()
	dev, err := cpu.New(cpu.Options{Threads: max(1, b.threads)})
	if err != nil {
		t.Fatal(err)
	}
	src, err := OpenSource(*sameModel)
	if err != nil {
		t.Fatal(err)
	}
	o := NewOptions()
	o.Attention, o.Sequences, o.Context, o.Chunk, o.Keep = method, sequences, context, b.chunk, b.keep
	b.apply(t, src, &o)
	if change != nil {
		change(&o)
	}
	e, err := Open(testDevice(dev), src, o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if n := dev.Allocated(); n != 0 {
			t.Errorf("%d bytes of device memory not given back", n)
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func randomIDs(seed uint64, n, vocab int) []int32 {
	rnd := rand.New(rand.NewPCG(seed, 9))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(rnd.IntN(vocab))
	}
	return ids
}

// player is a stream with the text that it will hold, decoded from prompt on.
type player struct {
	*Stream
	ids    []int32
	prompt int
	bits   []uint32 // of its logits from prompt on
}

func play(t testing.TB, e *Engine, ids []int32, prompt int) *player {
	t.Helper()
	s, err := e.NewStream(len(ids), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Feed(context.Background(), ids[:prompt]); err != nil {
		t.Fatal(err)
	}
	return &player{Stream: s, ids: ids, prompt: prompt}
}

// round decodes one token of each player that has any left, and reports whether
// there was one.
func round(t testing.TB, e *Engine, players []*player) (bool, error) {
	t.Helper()
	var streams []*Stream
	var next []int32
	var who []*player
	for _, p := range players {
		if p.Err() == nil && p.Len() < len(p.ids) {
			streams, next, who = append(streams, p.Stream), append(next, p.ids[p.Len()]), append(who, p)
		}
	}
	if len(who) == 0 {
		return false, nil
	}
	return true, e.DecodeStep(context.Background(), streams, next, func(i int, logits []float32) error {
		for _, v := range logits {
			who[i].bits = append(who[i].bits, math.Float32bits(v))
		}
		return nil
	})
}

// playOut decodes all that the players have left.
func playOut(t testing.TB, e *Engine, players ...*player) {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = round(t, e, players); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStreamsSameBits decodes eight sequences of different lengths, whose block
// borders fall on different steps, together, and each alone: in the same bits,
// with everything resident and with most of it in the lower tiers.
func TestStreamsSameBits(t *testing.T) {
	prompts, steps := []int{200, 1, 63, 64, 17, 130, 31, 95}, []int{30, 40, 5, 33, 20, 38, 17, 35}
	for _, method := range []string{"full", "infllmv2", "nosa"} {
		want := make([][]uint32, len(prompts))
		for _, b := range []budget{
			{name: "resident", chunk: 64, threads: 2},
			{name: "offload", device: 0.1, host: 1, chunk: 100, threads: 2},
			{name: "disk", device: 0.1, host: 0.1, disk: true, chunk: 33, threads: 1},
		} {
			t.Run(method+"/"+b.name, func(t *testing.T) {
				e := streamEngine(t, method, len(prompts), 230, b, nil)
				ids := make([][]int32, len(prompts))
				for i := range ids {
					ids[i] = randomIDs(uint64(i), prompts[i]+steps[i], e.model.Vocab)
				}
				if want[0] == nil { // alone, all resident
					for i := range ids {
						p := play(t, e, ids[i], prompts[i])
						playOut(t, e, p)
						p.Close()
						want[i] = p.bits
					}
				}
				var players []*player
				for i := range ids {
					players = append(players, play(t, e, ids[i], prompts[i]))
				}
				playOut(t, e, players...)
				for i, p := range players {
					if len(p.bits) != steps[i]*e.model.Vocab || !slices.Equal(p.bits, want[i]) {
						t.Errorf("stream %d has other logits in company", i)
					}
					if b.device > 0 && p.prompt > 100 && p.Stats().Total.Misses() == 0 {
						t.Errorf("stream %d missed no block", i)
					}
					p.Close()
				}
				if err := e.store.Check(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestStepMixes feeds prompts in pieces of any length beside streams that are being
// decoded, with everything resident and with most of it in the lower tiers: each stream
// has the bits that it has alone.
func TestStepMixes(t *testing.T) {
	prompts, steps := []int{200, 1, 63, 64, 17, 130}, []int{20, 40, 5, 33, 20, 38}
	for _, method := range []string{"full", "infllmv2", "nosa"} {
		want := make([][]uint32, len(prompts))
		for _, b := range []budget{
			{name: "resident", chunk: 64, threads: 2},
			{name: "disk", device: 0.1, host: 0.1, disk: true, chunk: 48, threads: 1},
		} {
			t.Run(method+"/"+b.name, func(t *testing.T) {
				e := streamEngine(t, method, len(prompts), 230, b, nil)
				rnd := rand.New(rand.NewPCG(8, 9))
				var players []*player
				for i, n := range prompts {
					ids := randomIDs(uint64(i), n+steps[i], e.model.Vocab)
					if want[i] == nil { // alone, all resident
						p := play(t, e, ids, n)
						playOut(t, e, p)
						p.Close()
						want[i] = p.bits
					}
					s, err := e.NewStream(len(ids), nil)
					if err != nil {
						t.Fatal(err)
					}
					players = append(players, &player{Stream: s, ids: ids, prompt: n})
				}
				mixed := 0
				for left := len(players); left > 0; {
					var parts []Part
					var who []*player
					room, pieces, singles := e.Rows(), 0, 0
					left = 0
					for _, i := range rnd.Perm(len(players)) {
						p := players[i]
						if p.Len() == len(p.ids) {
							continue
						}
						left++
						if room == 0 || rnd.IntN(4) == 0 {
							continue
						}
						n := 1
						if p.Len() < p.prompt {
							// Up to the token of which the first logits are wanted.
							n = 1 + rnd.IntN(min(room, p.prompt+1-p.Len(), 40))
							pieces++
						} else {
							singles++
						}
						room -= n
						piece := Part{Stream: p.Stream, IDs: p.ids[p.Len() : p.Len()+n]}
						switch end := p.Len() + n; {
						case end > p.prompt:
							piece.Want = 1
						case rnd.IntN(3) == 0: // of its last tokens, or of all
							piece.Want = 1 + rnd.IntN(n)
						}
						parts = append(parts, piece)
						who = append(who, p)
					}
					if pieces > 0 && singles > 0 {
						mixed++
					}
					told := make([]int, len(parts))
					err := e.Step(context.Background(), parts, func(i, at int, logits []float32) error {
						p := who[i]
						if told[i]++; at != len(parts[i].IDs)-parts[i].Want+told[i]-1 {
							t.Fatalf("part %d: logits after token %d as the %d. of %d wanted of %d", i, at, told[i], parts[i].Want, len(parts[i].IDs))
						}
						if p.Len() <= p.prompt { // within the prompt
							return nil
						}
						for _, v := range logits {
							p.bits = append(p.bits, math.Float32bits(v))
						}
						return nil
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				if mixed == 0 {
					t.Error("no step had both")
				}
				for i, p := range players {
					if len(p.bits) != steps[i]*e.model.Vocab || !slices.Equal(p.bits, want[i]) {
						t.Errorf("stream %d has other logits in company", i)
					}
					p.Close()
				}
			})
		}
	}
}

// TestStreamIsGenerate: greedy decoding by hand gives what Generate gives.
func TestStreamIsGenerate(t *testing.T) {
	e := streamEngine(t, "nosa", 1, 200, budget{chunk: 50}, nil)
	ids := randomIDs(3, 150, e.model.Vocab)
	out, err := e.Generate(context.Background(), Request{IDs: ids, MaxTokens: 40, IgnoreEnd: true})
	if err != nil {
		t.Fatal(err)
	}
	p := play(t, e, append(slices.Clone(ids), make([]int32, 40)...), 149)
	defer p.Close()
	for next := ids[149]; p.Len() < 189; {
		err := e.DecodeStep(context.Background(), []*Stream{p.Stream}, []int32{next}, func(_ int, logits []float32) error {
			next = compute.Sample(logits, compute.Sampling{}, 0)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := out.Tokens[p.Len()-150]; next != want {
			t.Fatalf("after %d tokens: %d, want %d", p.Len(), next, want)
		}
	}
}

// TestStreamPrefix: a stream that begins as another one takes its full blocks
// over, and goes on with the bits of one that does not.
func TestStreamPrefix(t *testing.T) {
	e := streamEngine(t, "infllmv2", 3, 120, budget{chunk: 50}, nil)
	ids := randomIDs(4, 110, e.model.Vocab)
	first := play(t, e, ids, 100)
	s, err := e.NewStream(110, ids[:70])
	if err != nil {
		t.Fatal(err)
	}
	if s.Shared() != 64 || s.Len() != 64 || s.Stats().Total.Shared == 0 {
		t.Errorf("took over %d tokens, holds %d", s.Shared(), s.Len())
	}
	second := &player{Stream: s, ids: ids}
	if err := s.Feed(context.Background(), ids[s.Len():100]); err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		if more, err = round(t, e, []*player{first, second}); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(first.bits, second.bits) {
		t.Error("the second stream has other logits")
	}
	first.Close()
	second.Close()
}

// TestStreamFault lets a read fail for one of three streams: that one fails and
// says so, the others go on with the bits that they have alone.
func TestStreamFault(t *testing.T) {
	var reads, broken atomic.Int64
	disk := &vfs.Faults{FS: &vfs.Memory{}, Plan: func(op vfs.Op) vfs.Fault {
		if !op.Write && reads.Add(1) == broken.Load() {
			return vfs.FlipBit
		}
		return vfs.None
	}}
	e := streamEngine(t, "nosa", 3, 240, budget{device: 0.1, host: 0.1, disk: true, chunk: 100, threads: 2}, func(o *Options) { o.DiskDir, o.DiskFS = "disk", disk })
	prompts := []int{200, 150, 180}
	start := func() []*player {
		var players []*player
		for i, n := range prompts {
			players = append(players, play(t, e, randomIDs(uint64(i), n+30, e.model.Vocab), n))
		}
		return players
	}
	var want [][]uint32
	for _, p := range start() {
		playOut(t, e, p)
		want = append(want, p.bits)
		p.Close()
	}
	failed := 0
	for after := int64(1); after < 200; after += 37 {
		players := start()
		broken.Store(reads.Load() + after)
		for more := true; more; {
			var err error
			if more, err = round(t, e, players); err == nil {
				continue
			}
			var step *StepError
			if !errors.As(err, &step) || len(step.Failed) != 1 || !errors.Is(err, kv.ErrCorrupt) {
				t.Fatalf("read %d: %v, want one stream with %v", after, err, kv.ErrCorrupt)
			}
			if i := step.Failed[0].Index; i >= len(players) || !strings.Contains(err.Error(), fmt.Sprintf("stream %d: ", i)) || strings.Contains(err.Error(), "\n") {
				t.Errorf("read %d: %q", after, err)
			}
		}
		bad := 0
		for i, p := range players {
			switch {
			case p.Err() == nil && !slices.Equal(p.bits, want[i]):
				t.Errorf("read %d: stream %d has other logits than alone", after, i)
			case p.Err() != nil:
				bad++
				if err := p.Feed(context.Background(), []int32{1}); !errors.Is(err, ErrStream) || !errors.Is(err, kv.ErrCorrupt) {
					t.Errorf("read %d: a failed stream takes more: %v", after, err)
				}
			}
			p.Close()
		}
		broken.Store(0)
		if bad > 1 {
			t.Errorf("read %d: %d streams failed of one fault", after, bad)
		}
		failed += bad
		if err := e.store.Check(); err != nil {
			t.Fatal(err)
		}
	}
	if failed == 0 {
		t.Error("no stream failed, so nothing was tested")
	}
}

func TestStreamRefusals(t *testing.T) {
	e := streamEngine(t, "full", 2, 40, budget{chunk: 16}, nil)
	other := streamEngine(t, "full", 1, 40, budget{chunk: 16}, nil)
	none := func(int, []float32) error { return nil }
	ctx := context.Background()
	vocab := int32(e.model.Vocab)
	for name, tc := range map[string]struct {
		tokens int
		prefix []int32
		want   error
	}{"no tokens": {0, nil, ErrOptions}, "too many": {41, nil, ErrContext}, "id too high": {4, []int32{vocab}, ErrOptions}} {
		if _, err := e.NewStream(tc.tokens, tc.prefix); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	a, b, far := play(t, e, make([]int32, 40), 4), play(t, e, make([]int32, 5), 5), play(t, other, make([]int32, 40), 4)
	defer far.Close()
	for name, tc := range map[string]struct {
		streams []*Stream
		next    []int32
	}{
		"more streams than tokens": {[]*Stream{a.Stream, b.Stream}, []int32{1}},
		"negative id":              {[]*Stream{a.Stream}, []int32{-1}},
		"id too high":              {[]*Stream{a.Stream}, []int32{vocab}},
		"a stream twice":           {[]*Stream{a.Stream, a.Stream}, []int32{1, 1}},
		"another engine's":         {[]*Stream{a.Stream, far.Stream}, []int32{1, 1}},
		"more streams than rows":   {slices.Repeat([]*Stream{a.Stream}, 17), make([]int32, 17)},
	} {
		if err := e.DecodeStep(ctx, tc.streams, tc.next, none); !errors.Is(err, ErrOptions) || a.Len() != 4 || a.Err() != nil {
			t.Errorf("%s: %v, and %d tokens", name, err, a.Len())
		}
	}
	if err := a.Feed(ctx, []int32{vocab}); !errors.Is(err, ErrOptions) || a.Len() != 4 {
		t.Errorf("%v, and %d tokens", err, a.Len())
	}
	if err := e.DecodeStep(ctx, nil, nil, none); err != nil {
		t.Errorf("a step of nothing: %v", err)
	}
	for name, parts := range map[string][]Part{
		"no tokens":       {{Stream: a.Stream, IDs: nil, Want: 0}},
		"too many tokens": {{Stream: a.Stream, IDs: make([]int32, 9), Want: 1}, {Stream: b.Stream, IDs: make([]int32, 8), Want: 0}},
		"too many logits": {{Stream: a.Stream, IDs: make([]int32, 9), Want: 10}},
		"fewer than none": {{Stream: a.Stream, IDs: make([]int32, 9), Want: -1}},
	} {
		if err := e.Step(ctx, parts, func(int, int, []float32) error { return nil }); !errors.Is(err, ErrOptions) || a.Len() != 4 || a.Err() != nil {
			t.Errorf("%s: %v, and %d tokens", name, err, a.Len())
		}
	}
	// One that is full says so and is not harmed; the other goes on.
	pair, ids := []*Stream{b.Stream, a.Stream}, []int32{1, 2}
	err := e.DecodeStep(ctx, pair, ids, none)
	var step *StepError
	if !errors.As(err, &step) || len(step.Failed) != 1 || step.Failed[0].Index != 0 || !errors.Is(err, kv.ErrLength) || b.Err() != nil || a.Len() != 5 {
		t.Errorf("%v, and %d tokens", err, a.Len())
	}
	// What the caller refuses is that stream's, which has its token all the same.
	mine := errors.New("mine")
	err = e.DecodeStep(ctx, pair[1:], ids[1:], func(int, []float32) error { return mine })
	if !errors.Is(err, mine) || !errors.As(err, &step) || a.Err() != nil || a.Len() != 6 {
		t.Errorf("%v, and %d tokens", err, a.Len())
	}
	// A step that is cut short is the end of all that were in it.
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := e.DecodeStep(ended, pair[1:], ids[1:], none); !errors.Is(err, context.Canceled) || errors.As(err, new(*StepError)) {
		t.Error(err)
	}
	if err := a.Feed(ctx, []int32{1}); !errors.Is(err, ErrStream) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	b.Close()
	b.Close()
	if err := b.Feed(ctx, []int32{1}); !errors.Is(err, ErrStream) {
		t.Error(err)
	}
	a.Close()
	if s := e.store.Stats(); s.Live != 0 || s.Sequences != 0 {
		t.Errorf("%d blocks of %d sequences are left", s.Live, s.Sequences)
	}
}

// TestStreamRoom: streams that need more blocks than there are wait for one to
// end, and then go on.
func TestStreamRoom(t *testing.T) {
	e := streamEngine(t, "full", 1, 64, budget{chunk: 16}, nil)
	a, b := play(t, e, make([]int32, 64), 48), play(t, e, make([]int32, 64), 16)
	none := func(int, []float32) error { return nil }
	step := func() error {
		return e.DecodeStep(context.Background(), []*Stream{a.Stream, b.Stream}, []int32{1, 2}, none)
	}
	err := step()
	if !errors.Is(err, kv.ErrFull) || a.Len()+b.Len() != 64 || b.Err() != nil {
		t.Fatalf("%v, and %d and %d tokens", err, a.Len(), b.Len())
	}
	a.Close()
	if err := e.DecodeStep(context.Background(), []*Stream{b.Stream}, []int32{2}, none); err != nil || b.Len() != 17 {
		t.Errorf("%v, and %d tokens", err, b.Len())
	}
	b.Close()
}
