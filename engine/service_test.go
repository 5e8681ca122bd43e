package engine

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nosa/compute"
	"nosa/kv/vfs"
)

var (
	manyOrders  = flag.Int("service-requests", 60, "random requests of TestServiceSameBits and TestServiceRestarts")
	manyCancels = flag.Int("service-cancels", 400, "requests of TestServiceCancels, of which most are cancelled")
)

// serve opens a service over the model of the tests.
func serve(t *testing.T, method string, sequences, length int, b budget, o ServiceOptions, change func(*Options)) (*Engine, *Service) {
	t.Helper()
	e := streamEngine(t, method, sequences, length, b, func(o *Options) {
		o.Retain = true
		if change != nil {
			change(o)
		}
	})
	s := NewService(e, o, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		s.Close()
		if err := e.store.Check(); err != nil {
			t.Error(err)
		}
		if st := e.store.Stats(); st.Sequences != 0 || st.UnderWay == 0 && st.Live != st.Cached {
			t.Errorf("%d sequences and %d blocks are left, %d of them cached", st.Sequences, st.Live, st.Cached)
		}
	})
	return e, s
}

// outcome is all that an answer says.
type outcome struct {
	Text   []string
	Tokens [][]Token
	Finish []string
	Prompt []Token
	Vector []float32
}

// collect takes an answer to its end.
func collect(ctx context.Context, a *Answer) (outcome, error) {
	n := a.o.Choices
	out := outcome{make([]string, n), make([][]Token, n), make([]string, n), nil, nil}
	for {
		e, err := a.Next(ctx)
		if errors.Is(err, io.EOF) {
			out.Vector = a.Vector()
			if out.Prompt = a.Prompt(); len(out.Prompt) > 0 {
				out.Prompt = out.Prompt[1:] // NaN is equal to nothing
			}
			return out, nil
		}
		if err != nil {
			return out, err
		}
		if out.Finish[e.Choice] != "" {
			return out, errors.New("an event after the last one")
		}
		out.Text[e.Choice] += e.Text
		out.Tokens[e.Choice] = append(out.Tokens[e.Choice], e.Tokens...)
		out.Finish[e.Choice] = e.Finish
	}
}

func answer(t *testing.T, s *Service, o Order) outcome {
	t.Helper()
	a, err := s.Submit(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	out, err := collect(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// randomOrder is any request; many begin alike.
func randomOrder(rnd *rand.Rand, vocab, length int) Order {
	ids := randomIDs(uint64(rnd.IntN(4)), length, vocab)[:1+rnd.IntN(length-1)]
	if rnd.IntN(2) == 0 {
		ids[len(ids)-1] = int32(rnd.IntN(vocab))
	}
	o := Order{Tenant: string(rune('a' + rnd.IntN(3))), Priority: rnd.IntN(2)}
	o.IDs, o.MaxTokens, o.IgnoreEnd = ids, rnd.IntN(min(40, length-len(ids)+1)), rnd.IntN(2) == 0
	if rnd.IntN(3) > 0 {
		o.Sampling = compute.Sampling{Temperature: 0.5 + rnd.Float32(), TopK: rnd.IntN(30), TopP: 0.5 + rnd.Float32()/2, Seed: rnd.Uint64()}
	}
	if rnd.IntN(3) == 0 {
		o.Penalties = Penalties{Repetition: 1.2, Frequency: 0.3, Presence: 0.2, Bias: map[int32]float32{int32(rnd.IntN(vocab)): 2}}
	}
	if o.LogProbs = rnd.IntN(2) == 0; o.LogProbs {
		o.TopLogProbs = rnd.IntN(4)
	}
	if rnd.IntN(4) == 0 {
		o.Choices = 1 + rnd.IntN(3)
	}
	o.PromptLogProbs = rnd.IntN(8) == 0
	if rnd.IntN(3) == 0 {
		o.Stop = []string{"e", "th"}
	}
	if rnd.IntN(6) == 0 { // a vector, and no text
		o.Embed, o.MaxTokens, o.Choices, o.PromptLogProbs = []Pooling{PoolMean, PoolLast}[rnd.IntN(2)], 0, 1, false
	}
	return o
}

// TestServiceSameBits: random requests get the same tokens and log-probabilities, to
// the bit, alone on an engine whose blocks are all resident and among others, with
// blocks in all tiers, prefixes from the cache, and seats taken away from them.
func TestServiceSameBits(t *testing.T) {
	const length = 200
	for _, method := range []string{"full", "infllmv2", "nosa"} {
		t.Run(method, func(t *testing.T) {
			_, alone := serve(t, method, 1, length, budget{chunk: 64, threads: 2}, ServiceOptions{}, func(o *Options) { o.Retain = false })
			seats := max(6, *manyOrders/4) // so that some wait and some lose theirs
			e, s := serve(t, method, min(seats, 64), length, budget{device: 0.05, host: 0.1, disk: true, chunk: 80, threads: 2}, ServiceOptions{Patience: 50 * time.Millisecond}, nil)
			rnd := rand.New(rand.NewPCG(11, 12))
			var orders []Order
			var want []outcome
			for range *manyOrders {
				o := randomOrder(rnd, e.model.Vocab, length)
				orders = append(orders, o)
				want = append(want, answer(t, alone, o))
			}
			shared := 0
			for range 2 { // the second time with what the first one left
				var wait sync.WaitGroup
				var mu sync.Mutex
				for i, o := range orders {
					a, err := s.Submit(t.Context(), o)
					if err != nil {
						t.Fatal(err)
					}
					wait.Go(func() {
						got, err := collect(context.Background(), a)
						if err != nil {
							t.Errorf("request %d: %v", i, err)
						} else if !reflect.DeepEqual(got, want[i]) {
							t.Errorf("request %d: %+v\nin company, alone %+v", i, got, want[i])
						}
						mu.Lock()
						shared += a.Usage().Shared
						mu.Unlock()
					})
				}
				wait.Wait()
			}
			if shared == 0 {
				t.Error("no prompt was found in the cache")
			}
			if st := e.store.Stats(); st.Total.DiskHits == 0 || st.Total.HostHits == 0 {
				t.Errorf("%d hits on disk, %d in the host pool", st.Total.DiskHits, st.Total.HostHits)
			}
		})
	}
}

// TestServiceIsGenerate: an answer is what Generate gives, and a prompt's
// log-probabilities are Score's.
func TestServiceIsGenerate(t *testing.T) {
	e, s := serve(t, "nosa", 2, 200, budget{chunk: 50, threads: 2}, ServiceOptions{}, nil)
	r := Request{IDs: randomIDs(3, 150, e.model.Vocab), MaxTokens: 40, Sampling: compute.Sampling{Temperature: 1, Seed: 5}}
	got := answer(t, s, Order{Request: r, PromptLogProbs: true})
	s.Close()
	want, err := e.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	var ids []int32
	for _, tok := range got.Tokens[0] {
		ids = append(ids, tok.ID)
	}
	if !slices.Equal(ids, want.Tokens) || got.Text[0] != want.Text || got.Finish[0] != want.Finish {
		t.Errorf("%v %q %s, want %v %q %s", ids, got.Text[0], got.Finish[0], want.Tokens, want.Text, want.Finish)
	}
	scores, err := e.Score(t.Context(), r.IDs, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Prompt) != len(r.IDs)-1 {
		t.Fatalf("%d tokens of the prompt", len(got.Prompt))
	}
	for i, tok := range got.Prompt {
		if tok.ID != r.IDs[i+1] || tok.LogProb != scores.LogProbs[i+1] {
			t.Errorf("token %d: %d, %v, want %d, %v", i+1, tok.ID, tok.LogProb, r.IDs[i+1], scores.LogProbs[i+1])
		}
	}
}

// TestServiceChoices: each of several choices is what a request of its own would be,
// and the prompt is computed once.
func TestServiceChoices(t *testing.T) {
	e, s := serve(t, "full", 3, 200, budget{chunk: 50, threads: 2}, ServiceOptions{}, nil)
	o := Order{Request: Request{IDs: randomIDs(3, 150, e.model.Vocab), MaxTokens: 20, IgnoreEnd: true, Sampling: compute.Sampling{Temperature: 1, Seed: 7}}, Choices: 5}
	a, err := s.Submit(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := collect(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if u := a.Usage(); u.Completion != 100 || u.Prompt != 150 || a.Stats().Total.Shared != int64(4*9*e.model.Layers*e.model.KVHeads) {
		t.Errorf("%+v, %d blocks shared", u, a.Stats().Total.Shared)
	}
	tokens, _ := e.Blocks()
	if st := a.Stats(); st.Live != 5*((150+20-1+tokens-1)/tokens)*e.model.Layers*e.model.KVHeads || st.InSlot == 0 || st.InSlot > st.Live { // nothing has read a last token
		t.Errorf("at their end they held %d blocks, %d of them in slots", st.Live, st.InSlot)
	}
	for i := range 5 {
		one := o
		one.Choices, one.Sampling.Seed = 1, 7+uint64(i)
		if want := answer(t, s, one); !reflect.DeepEqual(got.Tokens[i], want.Tokens[0]) || got.Text[i] != want.Text[0] {
			t.Errorf("choice %d: %v, want %v", i, got.Tokens[i], want.Tokens[0])
		}
	}
}

// TestServiceLogProbs: they are those of the model, whatever leads the draw.
func TestServiceLogProbs(t *testing.T) {
	e, s := serve(t, "full", 1, 100, budget{chunk: 50, threads: 1}, ServiceOptions{}, nil)
	r := Request{IDs: randomIDs(3, 50, e.model.Vocab), MaxTokens: 10, IgnoreEnd: true, LogProbs: true, TopLogProbs: 3, Penalties: Penalties{Presence: 5, Bias: map[int32]float32{7: 100}}}
	got := answer(t, s, Order{Request: r})
	text := slices.Clone(r.IDs)
	for _, tok := range got.Tokens[0] {
		text = append(text, tok.ID)
	}
	s.Close()
	scores, err := e.Score(t.Context(), text, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, tok := range got.Tokens[0] {
		if want := scores.LogProbs[50+i]; math.Abs(tok.LogProb-want) > 1e-12 || len(tok.Top) != 3 || tok.Top[0].LogProb < tok.Top[1].LogProb || tok.ID != 7 {
			t.Errorf("token %d: %+v, want %v", i, tok, want)
		}
	}
}

// TestServiceCancels ends requests at random moments, by their context, by Cancel, or
// in front of a fault of the disk: nothing is left of them and the others have the
// tokens that they have alone.
func TestServiceCancels(t *testing.T) {
	const length = 200
	goroutines := runtime.NumGoroutine()
	t.Run("storm", func(t *testing.T) {
		_, alone := serve(t, "nosa", 1, length, budget{chunk: 64, threads: 1}, ServiceOptions{}, nil)
		e, s := serve(t, "nosa", 4, length, budget{device: 0.05, host: 0.1, disk: true, chunk: 32, threads: 2}, ServiceOptions{Queue: 50}, nil)
		rnd := rand.New(rand.NewPCG(1, 2))
		orders := make([]Order, 8)
		want := make([]outcome, len(orders))
		for i := range orders {
			orders[i] = randomOrder(rnd, e.model.Vocab, length)
			want[i] = answer(t, alone, orders[i])
		}
		rounds := *manyCancels
		if testing.Short() {
			rounds = min(rounds, 60)
		}
		ended, cancelled := 0, 0
		var mu sync.Mutex
		var wait sync.WaitGroup
		for range rounds {
			i, keep, direct := rnd.IntN(len(orders)), rnd.IntN(4) == 0, rnd.IntN(2) == 0
			after := time.Duration(rnd.IntN(30000)) * time.Microsecond
			ctx, cancel := context.WithCancel(context.Background())
			a, err := s.Submit(ctx, orders[i])
			if errors.Is(err, ErrBusy) {
				cancel()
				time.Sleep(time.Millisecond)
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if !keep {
				time.AfterFunc(after, func() {
					if direct {
						a.Cancel()
					}
					cancel()
				})
			}
			wait.Go(func() {
				defer cancel()
				got, err := collect(context.Background(), a)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					ended++
					if !reflect.DeepEqual(got, want[i]) {
						t.Errorf("request %d has other tokens in the storm", i)
					}
				case keep || !errors.Is(err, ErrCancelled) && !errors.Is(err, context.Canceled):
					t.Errorf("request %d: %v", i, err)
				default:
					cancelled++
				}
			})
		}
		wait.Wait()
		if ended == 0 || cancelled == 0 {
			t.Errorf("%d ended, %d were cancelled", ended, cancelled)
		}
		t.Logf("%d ended, %d were cancelled", ended, cancelled)
	})
	waitGoroutines(t, goroutines)
}

// TestServiceFaults: a fault of the disk fails the request that wanted the block, with
// an error that names it, and no other.
func TestServiceFaults(t *testing.T) {
	const length = 240
	disk := &vfs.Faults{FS: &vfs.Memory{}}
	var mu sync.Mutex
	broken := -1
	reads := 0
	disk.Plan = func(op vfs.Op) vfs.Fault {
		mu.Lock()
		defer mu.Unlock()
		if !op.Write {
			if reads++; reads == broken {
				return vfs.FlipBit
			}
		}
		return vfs.None
	}
	e, s := serve(t, "nosa", 3, length, budget{device: 0.05, host: 0.05, disk: true, chunk: 64, threads: 2}, ServiceOptions{}, func(o *Options) { o.DiskDir, o.DiskFS = "disk", disk })
	orders := make([]Order, 3)
	want := make([]outcome, 3)
	for i := range orders {
		orders[i].Request = Request{IDs: randomIDs(uint64(10+i), 150+20*i, e.model.Vocab), MaxTokens: 30, IgnoreEnd: true, Salt: []byte{byte(i)}}
		want[i] = answer(t, s, orders[i])
	}
	failed := 0
	for after := 1; after < 200; after += 20 {
		mu.Lock()
		broken = reads + after
		mu.Unlock()
		var wait sync.WaitGroup
		bad := 0
		for i, o := range orders {
			a, err := s.Submit(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			wait.Go(func() {
				got, err := collect(context.Background(), a)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil && !reflect.DeepEqual(got, want[i]):
					t.Errorf("request %d has other tokens", i)
				case err != nil && !strings.Contains(err.Error(), "corrupt"):
					t.Error(err)
				case err != nil:
					bad++
				}
			})
		}
		wait.Wait()
		if bad > 1 {
			t.Errorf("%d requests failed of one fault", bad)
		}
		failed += bad
	}
	if failed == 0 {
		t.Error("no request failed, so nothing was tested")
	}
}

// TestServiceRefusals: what can not be is refused at once, and a full queue says so.
func TestServiceRefusals(t *testing.T) {
	e, s := serve(t, "full", 1, 40, budget{chunk: 16}, ServiceOptions{Queue: 2}, nil)
	ids := someIDs(10, e.model.Vocab)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		ctx  context.Context
		o    Order
		want error
	}{
		"too long":        {t.Context(), Order{Request: Request{IDs: ids, MaxTokens: 31}}, ErrContext},
		"no prompt":       {t.Context(), Order{}, ErrOptions},
		"choices":         {t.Context(), Order{Request: Request{IDs: ids}, Choices: maxChoices + 1}, ErrOptions},
		"negative choice": {t.Context(), Order{Request: Request{IDs: ids}, Choices: -1}, ErrOptions},
		"stop":            {t.Context(), Order{Request: Request{IDs: ids, Stop: []string{""}}}, ErrOptions},
		"penalty":         {t.Context(), Order{Request: Request{IDs: ids, Penalties: Penalties{Repetition: -1}}}, ErrOptions},
		"top":             {t.Context(), Order{Request: Request{IDs: ids, TopLogProbs: 1}}, ErrOptions},
		"ended":           {ended, Order{Request: Request{IDs: ids}}, context.Canceled},
	} {
		if _, err := s.Submit(tc.ctx, tc.o); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	long := Order{Request: Request{IDs: ids, MaxTokens: 30, IgnoreEnd: true}}
	var answers []*Answer
	for {
		a, err := s.Submit(t.Context(), long)
		if errors.Is(err, ErrBusy) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if answers = append(answers, a); len(answers) > 1000 {
			t.Fatal("the queue has no end")
		}
	}
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(context.Background()) }()
	for _, a := range answers {
		if out, err := collect(t.Context(), a); err != nil || len(out.Tokens[0]) != 30 {
			t.Errorf("while draining: %v", err)
		}
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if _, err := s.Submit(t.Context(), long); !errors.Is(err, ErrDraining) {
		t.Error(err)
	}
}

// three submits requests of 100 tokens.
func three(t *testing.T, e *Engine, s *Service, tokens int) (answers []*Answer) {
	t.Helper()
	for i := range 3 {
		a, err := s.Submit(t.Context(), Order{Request: Request{IDs: randomIDs(uint64(i), 100, e.model.Vocab), MaxTokens: tokens, IgnoreEnd: true}})
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	return answers
}

// hold makes the loop stand still, between two steps, until its state is taken.
func (s *Service) hold() <-chan State {
	l := make(chan State)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks = append(s.looks, func() { l <- s.state() })
	s.poke()
	return l
}

// TestServiceLook: the state adds up before, while and after requests run.
func TestServiceLook(t *testing.T) {
	e, s := serve(t, "full", 1, 400, budget{chunk: 16}, ServiceOptions{}, nil)
	held := s.hold()
	answers := three(t, e, s, 300)
	<-held
	// The next hold is there before this one is let go, so that no step is missed.
	held = s.hold()
	for running := 0; running == 0; {
		next := s.hold()
		st := <-held
		held = next
		running = st.Running
		if st.Running > 1 || st.Running+st.Waiting != 3 || st.Paused != 0 || st.Store.Sequences != st.Running {
			t.Fatalf("%+v", st)
		}
	}
	<-held
	for _, a := range answers {
		if _, err := collect(t.Context(), a); err != nil {
			t.Error(err)
		}
	}
	if st, err := s.Look(t.Context()); err != nil || st.Running+st.Waiting != 0 || st.Rows != 3*399 || st.Steps == 0 {
		t.Errorf("%+v, %v", st, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Look(ended); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.Close()
	if _, err := s.Look(t.Context()); !errors.Is(err, ErrDraining) {
		t.Error(err)
	}
}

// TestServiceCloses: Close ends what runs and what waits.
func TestServiceCloses(t *testing.T) {
	e, s := serve(t, "full", 1, 4000, budget{chunk: 16}, ServiceOptions{}, nil)
	answers := three(t, e, s, 3900)
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errors.New("my patience"))
	defer cancel()
	if err := s.Drain(ctx); err == nil || err.Error() != "my patience" {
		t.Error(err)
	}
	s.Close()
	s.Close()
	for i, a := range answers {
		for {
			_, err := a.Next(t.Context())
			if errors.Is(err, ErrCancelled) {
				break
			}
			if err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
		}
		a.Cancel()
	}
}
