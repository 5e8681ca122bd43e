package engine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/compute/cuda"
	"nosa/compute/cuda/step"
	"nosa/compute/steptest"
	"nosa/kv"
)

var (
	soakFor     = flag.Duration("soak", 4*time.Second, "how long TestSoak runs")
	soakDevice  = flag.String("soak-device", "cpu", "on which device: cpu or cuda[:n]")
	soakSeed    = flag.Uint64("soak-seed", 1, "of its requests and settings")
	soakContext = flag.Int("soak-context", 1024, "tokens of its longest requests")
	soakSeats   = flag.Int("soak-seats", 6, "of them that run side by side")
	soakLife    = flag.Duration("soak-life", 0, "how long an engine of it lives; 0: a twelfth of -soak, half a minute at most")
	soakAlone   = flag.Bool("soak-alone", false, "nobody else uses the GPU: what it has free must come back")
)

// TestSoak lets random requests come to one engine after another, for as long as is asked:
// prompts of all lengths, many of which begin alike, several continuations, priorities,
// embeddings, aborts, with blocks in all tiers. No request fails, some are asked again alone and say the same,
// and what the process had at the end of the first engine it has at the end of the last.
//
//	go test ./engine -run TestSoak -v -timeout 30m -soak 20m -soak-device cuda -soak-context 65536 -soak-seats 16
func TestSoak(t *testing.T) {
	k := newSoak(t)
	life := *soakLife
	if life == 0 {
		life = min(30*time.Second, *soakFor/12)
	}
	end := time.Now().Add(*soakFor)
	latest := end.Add(3 * time.Minute) // on a machine that is busy, or with the race detector
	for n := 0; n == 0 || time.Now().Before(end) || !k.seen() && time.Now().Before(latest); n++ {
		k.live(n, life)
		if !k.seen() {
			life = min(2*life, 30*time.Second)
		}
		if t.Failed() {
			return
		}
		if got := k.take(n == 0); n == 0 {
			k.first = got
		}
	}
	k.compare(k.take(true))
}

// soak is a run of TestSoak.
type soak struct {
	t     *testing.T
	rnd   *rand.Rand
	began time.Time
	dev   compute.Device
	gpu   *pinning // nil: none
	model string
	first holdings
	told  time.Time

	came, ended, cancelled, again, steps, drawn atomic.Int64
}

// pinning is a GPU that knows how much of the host's memory it has pinned for others.
type pinning struct {
	gpu
	pinned int64
}

// gpu is what a device with memory and steps of its own can do.
type gpu interface {
	compute.Stepper
	compute.MemoryDevice
	compute.HostAllocator
	Allocated() int64
	Close() error
}

func (p *pinning) AllocHost(n int) ([]byte, error) {
	b, err := p.gpu.AllocHost(n)
	p.pinned += int64(len(b))
	return b, err
}

func (p *pinning) FreeHost(b []byte) error {
	p.pinned -= int64(len(b))
	return p.gpu.FreeHost(b)
}

func newSoak(t *testing.T) *soak {
	k := &soak{t: t, rnd: rand.New(rand.NewPCG(*soakSeed, 1)), began: time.Now()}
	switch kind, number, _ := strings.Cut(*soakDevice, ":"); kind {
	case "cpu":
		dev, err := cpu.New(cpu.Options{})
		if err != nil {
			t.Fatal(err)
		}
		k.dev = &steptest.Device{Device: dev}
	case "cuda":
		n := 0
		if number != "" {
			var err error
			if n, err = strconv.Atoi(number); err != nil {
				t.Fatalf("-soak-device %s: %v", *soakDevice, err)
			}
		}
		dev, err := step.New(cuda.Options{GPU: n})
		if err != nil {
			t.Fatalf("-soak-device %s: %v", *soakDevice, err)
		}
		k.gpu = &pinning{gpu: dev.(gpu)}
		k.dev = k.gpu
	default:
		t.Fatalf("-soak-device %s: use cpu or cuda[:n]", *soakDevice)
	}
	t.Cleanup(func() {
		if c, ok := k.dev.(interface{ Close() error }); ok {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	shape := randomShape{layers: 2, hidden: 64, heads: 4, kvHeads: 2, dim: 16, mlp: 96, vocab: 256, topK: 8}
	if *soakContext >= 1<<14 { // heads as those of the released models
		shape = randomShape{layers: 3, hidden: 512, heads: 32, kvHeads: 2, dim: 128, mlp: 1024, vocab: 2048, topK: 64}
	}
	k.model = shape.write(t)
	return k
}

// soakSetting is how an engine of a soak keeps its blocks.
type soakSetting struct {
	method  string
	kv      compute.KVType
	tier    string // the lowest: device, host or disk
	keep    kv.Keep
	chunk   int
	compare bool // requests say the same alone
}

func (k *soak) setting(n int) soakSetting {
	s := soakSetting{
		method: []string{"nosa", "infllmv2", "full"}[k.rnd.IntN(3)], kv: []compute.KVType{compute.KVBF16, compute.KVQ8, compute.KVQ4}[k.rnd.IntN(3)],
		tier: []string{"host", "disk", "device"}[n%3], chunk: []int{64, 200, 512, 2048}[k.rnd.IntN(4)],
	}
	if k.rnd.IntN(3) == 0 {
		s.keep = kv.KeepSelected
	}
	// On a GPU a sequence that finds no room to sit goes another way for a while, with other
	// bits. Where all blocks have pages it always does.
	s.compare = k.gpu == nil || s.tier != "disk"
	return s
}

func (s soakSetting) String() string {
	return fmt.Sprintf("%s, KV %v, %v kept, down to the %s, chunks of %d", s.method, s.kv, s.keep, s.tier, s.chunk)
}

// open is an engine of a setting.
func (k *soak) open(s soakSetting) *Engine {
	src, err := OpenSource(k.model)
	if err != nil {
		k.t.Fatal(err)
	}
	o := NewOptions()
	o.Attention, o.KVType, o.Keep, o.Chunk, o.Context, o.Sequences, o.Retain = s.method, s.kv, s.keep, min(s.chunk, *soakContext), *soakContext, *soakSeats, true
	if s.tier != "device" {
		set, err := o.resolve(src.Config, true)
		if err != nil {
			k.t.Fatal(err)
		}
		p, err := plan(src.Config, set, src.Checkpoint.Bytes(), 0)
		if err != nil {
			k.t.Fatal(err)
		}
		// All rows of a step find room for what they select, and for some of what they did.
		least := compute.StepSlots(set.layout, set.method.Params(set.constants), o.Context, o.Sequences) * 3 / 2
		share := max(least, p.Blocks/(5+k.rnd.IntN(10)))
		o.KVDevice = p.Tails + int64(min(share*4/3, p.Blocks*9/10))*p.BlockLen
		if s.tier == "disk" {
			o.DiskDir = k.t.TempDir()
			o.KVHost = int64(p.Blocks/3) * int64(kv.Config{Layout: set.layout, Disk: &kv.Disk{Direct: true}}.RecordBytes())
		}
	}
	e, err := Open(k.dev, src, o, slog.New(slog.DiscardHandler))
	if err != nil {
		k.t.Fatalf("%v: %v", s, errors.Join(err, src.Close()))
	}
	return e
}

// asked is a request that was answered.
type asked struct {
	o    Order
	said outcome
}

// live has an engine serve for so long.
func (k *soak) live(n int, life time.Duration) {
	set := k.setting(n)
	e := k.open(set)
	s := NewService(e, ServiceOptions{Patience: time.Second}, slog.New(slog.DiscardHandler))
	k.say(s, "engine %d: %v; %d rows in a step of %d seats, %d slots, %d pages, %d records", n, set, e.plan.StepRows, e.plan.Seats, e.plan.Slots+e.plan.StepSlots, e.plan.Pages, e.plan.Records)
	var kept []asked
	var mu sync.Mutex
	var wait sync.WaitGroup
	open := make(chan struct{}, 4**soakSeats)
	rnd := rand.New(rand.NewPCG(*soakSeed, uint64(n)+2))
	mean := float64(life) / float64(20**soakSeats)
	for end := time.Now().Add(life); time.Now().Before(end) && !k.t.Failed(); {
		if time.Since(k.told) > 10*time.Second {
			k.say(s, "engine %d", n)
		}
		time.Sleep(min(time.Until(end), time.Duration(mean*rnd.ExpFloat64())))
		select {
		case open <- struct{}{}:
		default: // as many as may be: an arrival less
			continue
		}
		o := soakOrder(rnd, e.model.Vocab)
		keep, direct, after := rnd.IntN(3) > 0, rnd.IntN(2) == 0, time.Duration(rnd.Float64()*float64(life)/4)
		ctx, cancel := context.WithCancel(context.Background())
		a, err := s.Submit(ctx, o)
		if err != nil {
			cancel()
			k.t.Errorf("%v: %v", set, err)
			break
		}
		k.came.Add(1)
		timer := time.AfterFunc(after, func() {
			switch {
			case keep:
			case direct:
				a.Cancel()
			default:
				cancel()
			}
		})
		wait.Go(func() {
			defer func() { timer.Stop(); cancel(); <-open }()
			said, err := collect(context.Background(), a)
			switch {
			case err == nil:
				k.ended.Add(1)
				mu.Lock()
				if len(kept) < 64 {
					kept = append(kept, asked{o, said})
				}
				mu.Unlock()
			case errors.Is(err, ErrCancelled) || errors.Is(err, context.Canceled):
				k.cancelled.Add(1)
			default:
				k.t.Errorf("%v: a prompt of %d tokens: %v", set, len(o.IDs), err)
			}
		})
	}
	// Those that are still there get as long again, and some of them no chance.
	ctx, cancel := context.WithTimeout(context.Background(), life)
	if err := s.Drain(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		k.t.Error(err)
	}
	cancel()
	st, err := s.Look(context.Background())
	if err != nil {
		k.t.Error(err)
	}
	k.steps.Add(st.Steps)
	k.drawn.Add(st.Drawn)
	s.Close()
	wait.Wait()
	if set.compare {
		k.askAgain(e, set, kept, life/2)
	}
	if err := e.store.Check(); err != nil {
		k.t.Errorf("%v: %v", set, err)
	}
	if st := e.store.Stats(); st.Sequences != 0 || st.UnderWay == 0 && st.Live != st.Cached {
		k.t.Errorf("%v: %d sequences and %d blocks are left, %d of them cached", set, st.Sequences, st.Live, st.Cached)
	}
	if err := e.Close(); err != nil {
		k.t.Errorf("%v: %v", set, err)
	}
}

// askAgain asks for what was answered in company, each alone and with nothing from the
// cache, for at most so long.
func (k *soak) askAgain(e *Engine, set soakSetting, all []asked, most time.Duration) {
	s := NewService(e, ServiceOptions{}, slog.New(slog.DiscardHandler))
	defer s.Close()
	for end := time.Now().Add(most); len(all) > 0 && (time.Now().Before(end) || k.again.Load() == 0) && !k.t.Failed(); all = all[1:] {
		o := all[0].o
		o.Salt = []byte{1}
		a, err := s.Submit(context.Background(), o)
		if err != nil {
			k.t.Fatal(err)
		}
		said, err := collect(context.Background(), a)
		if err != nil {
			k.t.Errorf("%v: alone: %v", set, err)
		} else if !reflect.DeepEqual(said, all[0].said) {
			k.t.Errorf("%v: a prompt of %d tokens, %d choices, alone: %+v\nin company %+v", set, len(o.IDs), o.Choices, said.Text, all[0].said.Text)
		}
		k.again.Add(1)
	}
}

// soakOrder is any request: short ones are more frequent, and many begin alike.
func soakOrder(rnd *rand.Rand, vocab int) Order {
	most := *soakContext
	length := int(math.Exp(rnd.Float64() * math.Log(float64(most))))
	ids := randomIDs(uint64(rnd.IntN(6)), length, vocab)
	if rnd.IntN(2) == 0 {
		for i := range min(length, 1+rnd.IntN(40)) {
			ids[length-1-i] = int32(rnd.IntN(vocab))
		}
	}
	o := Order{Tenant: string(rune('a' + rnd.IntN(4))), Priority: rnd.IntN(3)}
	o.IDs, o.MaxTokens, o.IgnoreEnd = ids, rnd.IntN(min(200, most-length+1)), rnd.IntN(4) > 0
	if rnd.IntN(4) > 0 {
		o.Sampling = compute.Sampling{Temperature: 0.2 + rnd.Float32(), TopK: rnd.IntN(50), TopP: 0.3 + 0.7*rnd.Float32(), Seed: rnd.Uint64()}
	}
	if rnd.IntN(4) == 0 {
		o.Penalties = Penalties{Repetition: 1.1, Frequency: 0.2, Presence: 0.1, Bias: map[int32]float32{int32(rnd.IntN(vocab)): 1}}
	}
	if o.LogProbs = rnd.IntN(3) == 0; o.LogProbs {
		o.TopLogProbs = rnd.IntN(5)
	}
	if rnd.IntN(5) == 0 {
		o.Choices = 2 + rnd.IntN(3)
	}
	o.PromptLogProbs = length < 2000 && rnd.IntN(10) == 0
	if rnd.IntN(12) == 0 {
		o.Embed, o.MaxTokens, o.Choices, o.PromptLogProbs = []Pooling{PoolMean, PoolLast}[rnd.IntN(2)], 0, 1, false
	}
	return o
}

// holdings is what a process has.
type holdings struct {
	goroutines, files  int
	resident           int64 // bytes of its memory
	free               int64 // bytes of the GPU that nobody has
	allocated, pinned  int64 // by the device
	residentIs, freeIs bool  // known
}

// take looks at what there is between two engines. settled: it waits for what ends by itself.
func (k *soak) take(settled bool) (h holdings) {
	if settled {
		debug.FreeOSMemory()
		time.Sleep(50 * time.Millisecond)
	}
	h.goroutines, h.files = runtime.NumGoroutine(), -1
	if list, err := os.ReadDir("/proc/self/fd"); err == nil {
		h.files = len(list)
	}
	if data, err := os.ReadFile("/proc/self/status"); err == nil {
		if _, after, ok := strings.Cut(string(data), "VmRSS:"); ok {
			var kib int64
			if _, err := fmt.Sscan(after, &kib); err == nil {
				h.resident, h.residentIs = kib<<10, true
			}
		}
	}
	if k.gpu != nil {
		free, _, err := k.gpu.Memory()
		if err != nil {
			k.t.Error(err)
		}
		h.free, h.freeIs, h.pinned = free, true, k.gpu.pinned
	}
	if a, ok := k.dev.(interface{ Allocated() int64 }); ok {
		h.allocated = a.Allocated()
	}
	return h
}

func (h holdings) String() string {
	s := fmt.Sprintf("%d goroutines, %d files, %d MiB resident, %d MiB allocated", h.goroutines, h.files, h.resident>>20, h.allocated>>20)
	if h.freeIs {
		s += fmt.Sprintf(", %d MiB pinned, %d MiB of the GPU free", h.pinned>>20, h.free>>20)
	}
	return s
}

// compare holds the end against what there was behind the first engine.
func (k *soak) compare(last holdings) {
	first := k.first
	for deadline := time.Now().Add(10 * time.Second); last.goroutines > first.goroutines && time.Now().Before(deadline); last = k.take(true) {
	}
	k.t.Logf("%s: at the end %v; behind the first engine %v; %d requests came, %d ended, %d were cancelled, %d were asked again; %d steps, %d tokens drawn",
		k.at(), last, first, k.came.Load(), k.ended.Load(), k.cancelled.Load(), k.again.Load(), k.steps.Load(), k.drawn.Load())
	switch {
	case last.goroutines > first.goroutines, last.files > first.files, last.allocated != 0, last.pinned != 0:
		k.t.Error("not all is given back")
	case last.residentIs && last.resident > first.resident+first.resident/4+(256<<20):
		k.t.Error("the process has grown")
	case *soakAlone && last.free < first.free-(64<<20):
		k.t.Error("the GPU has less memory")
	}
	if !k.seen() {
		k.t.Error("nothing ended, nothing was cancelled, or nothing was asked again: -soak is too short for -soak-context")
	}
}

// seen reports whether all that can become of a request has become of some.
func (k *soak) seen() bool {
	return k.ended.Load() > 0 && k.cancelled.Load() > 0 && k.again.Load() > 0
}

func (k *soak) at() string { return time.Since(k.began).Round(time.Second).String() }

// say tells how it is going.
func (k *soak) say(s *Service, format string, args ...any) {
	k.told = time.Now()
	st, err := s.Look(context.Background())
	if err != nil {
		k.t.Error(err)
		return
	}
	k.t.Logf("%s: %s; %d running, %d waiting, %d paused; %d came, %d ended, %d cancelled, %d asked again; hits %.3f; %v", k.at(), fmt.Sprintf(format, args...),
		st.Running, st.Waiting, st.Paused, k.came.Load(), k.ended.Load(), k.cancelled.Load(), k.again.Load(), st.Store.Total.HitRate(), k.take(false))
}
