package engine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/kv"
	"nosa/policy"
)

var policyAborts = flag.Int("policy-aborts", 40, "requests of TestPolicyAborts for each policy and place, which are cut off anywhere")

// compress opens an engine over the model of the tests with a policy.
func compress(t *testing.T, method, policy string, kind compute.KVType, tokens int, b budget, change func(*Options)) *Engine {
	t.Helper()
	dev, err := cpu.New(cpu.Options{Threads: max(1, b.threads)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dev.Close() })
	src, err := OpenSource("../model/testdata/nosa")
	if err != nil {
		t.Fatal(err)
	}
	o := NewOptions()
	o.Attention, o.Policy, o.KVType, o.Keep, o.Chunk, o.Context = method, policy, kind, b.keep, max(1, b.chunk), tokens
	if change != nil {
		change(&o)
	}
	b.apply(t, src, &o)
	e, err := Open(dev, src, o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.store.Check(); err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// somePrompt is n ids of the model of the tests.
func somePrompt(n int) []int32 {
	r := rand.New(rand.NewPCG(7, 8))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(r.IntN(32))
	}
	return ids
}

// generated is a hash of the logits that follow the prompt and each token generated after it.
func generated(t *testing.T, e *Engine, prompt []int32, n int) string {
	t.Helper()
	sum := sha256.New()
	e.set.OnLogits = func(pos int, logits []float32) {
		if pos < len(prompt)-1 {
			return
		}
		for _, v := range logits {
			_ = binary.Write(sum, binary.LittleEndian, math.Float32bits(v))
		}
	}
	if _, err := e.Generate(t.Context(), Request{IDs: prompt, MaxTokens: n, IgnoreEnd: true}); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:8])
}

// TestPolicySameBits: tiers, chunks and threads change no bit under a policy.
func TestPolicySameBits(t *testing.T) {
	const prompt, tokens = 200, 90
	for _, tc := range []struct {
		method, policy string
		kind           compute.KVType
	}{
		{"full", "streamingllm:sinks=4,recent=50", compute.KVBF16},
		{"full", "snapkv:keep=64,window=16", compute.KVQ8},
		{"infllmv2", "snapkv:keep=30%,window=8", compute.KVBF16},
		{"full", "h2o:heavy=20,recent=30", compute.KVBF16},
		{"full", "h2o:heavy=20,recent=30", compute.KVQ4},
		{"infllmv2", "random:keep=40", compute.KVF32},
	} {
		t.Run(tc.method+"/"+tc.policy, func(t *testing.T) {
			want := ""
			for _, b := range []budget{
				{name: "resident", chunk: prompt, threads: 2}, {name: "chunks of 7", chunk: 7, threads: 1}, {name: "chunks of 64", chunk: 64, threads: 1},
				{name: "host", device: 0.1, host: 1, chunk: 64, threads: 2}, {name: "selected", device: 0.1, host: 1, keep: kv.KeepSelected, chunk: 100, threads: 2},
				{name: "disk", device: 0.1, host: 0.1, disk: true, chunk: 50, threads: 1},
			} {
				got := generated(t, compress(t, tc.method, tc.policy, tc.kind, prompt+tokens, b, nil), somePrompt(prompt), tokens)
				if want == "" {
					want = got
				}
				if got != want {
					t.Errorf("%s: logits %s, resident %s", b.name, got, want)
				}
			}
			if none := generated(t, compress(t, tc.method, "", tc.kind, prompt+tokens, budget{chunk: 64}, nil), somePrompt(prompt), tokens); none == want {
				t.Error("the logits are those without a policy")
			}
		})
	}
}

// TestPolicyKeepsAll: a policy that has nothing to drop changes no bit.
func TestPolicyKeepsAll(t *testing.T) {
	want := generated(t, compress(t, "full", "none", compute.KVBF16, 300, budget{chunk: 64}, nil), somePrompt(200), 60)
	for _, name := range []string{"streamingllm", "snapkv:keep=100%", "h2o:heavy=100%,recent=100%", "random:keep=200"} {
		if got := generated(t, compress(t, "full", name, compute.KVBF16, 300, budget{chunk: 64}, nil), somePrompt(200), 60); got != want {
			t.Errorf("%s: logits %s, without %s", name, got, want)
		}
	}
}

// TestPolicyBytes: what is held is what a policy's formula says: for each layer and KV head as
// many blocks as its cells fill, and the open one, plus one at most for those that only mask.
func TestPolicyBytes(t *testing.T) {
	const prompt, tokens, block, width = 200, 30, 16, 4 // 230 tokens in blocks of 16: 14 full ones and an open one
	for name, cells := range map[string]int{
		"none": prompt + tokens, "snapkv:keep=64": 64 + tokens, "random:keep=64": 64 + tokens, "streamingllm:sinks=4,recent=60": 64, "h2o:heavy=30,recent=34": 64,
	} {
		for _, b := range []budget{{chunk: 64}, {chunk: 64, device: 0.1, host: 1, threads: 1}} {
			e := compress(t, "full", name, compute.KVBF16, prompt+tokens, b, nil)
			st, err := e.NewStream(prompt+tokens, somePrompt(prompt))
			if err != nil {
				t.Fatal(err)
			}
			if err := st.Feed(t.Context(), somePrompt(prompt+tokens)); err != nil {
				t.Fatal(err)
			}
			held := st.Stats()
			open := (prompt + tokens) % block
			least := ((cells - open + block - 1) / block) + 1
			got := held.Live / width
			if held.Live%width != 0 || got < least || got > least+1 {
				t.Errorf("%s: %d blocks for each KV head, want %d for %d tokens, or one more", name, got, least, cells)
			}
			if in := held.InSlot / width; b.device == 0 && in != got-1 { // the open block has no slot
				t.Errorf("%s: %d of %d blocks are in slots", name, in, got)
			}
			st.Close()
			if left := e.store.Stats(); left.Live > left.UnderWay {
				t.Errorf("%s: %d blocks are left", name, left.Live)
			}
		}
	}
}

// TestPolicyRefusals: what does not go together is said in a line.
func TestPolicyRefusals(t *testing.T) {
	src, err := OpenSource("../model/testdata/nosa")
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for name, want := range map[string]string{
		"h2o/nosa":             "--policy h2o with --attention nosa",
		"h2o/dma":              "--policy h2o with --attention dma",
		"nothing/full":         `"nothing": use none`,
		"snapkv:kernel=2/full": "want an odd number",
	} {
		o := NewOptions()
		o.Policy, o.Attention, _ = strings.Cut(name, "/")
		if _, err := src.Prepare(o); !errors.Is(err, policy.ErrPolicy) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// TestPolicyAborts ends requests anywhere: nothing is left of them, and the next one has the
// bits that it has alone.
func TestPolicyAborts(t *testing.T) {
	const prompt, tokens = 120, 40
	for _, name := range []string{"streamingllm:sinks=4,recent=50", "h2o:heavy=20,recent=30", "snapkv:keep=64,window=16"} {
		for _, b := range []budget{{chunk: 30}, {chunk: 30, device: 0.1, host: 1, threads: 1}, {chunk: 30, device: 0.1, host: 0.1, disk: true, threads: 1}} {
			e := compress(t, "full", name, compute.KVBF16, prompt+tokens, b, func(o *Options) { o.Retain = true })
			want := generated(t, e, somePrompt(prompt), tokens)
			r := rand.New(rand.NewPCG(1, 2))
			for range *policyAborts {
				ctx, cancel := context.WithCancelCause(t.Context())
				left := r.IntN(prompt/30 + tokens)
				stop := errors.New("enough")
				tick := func() {
					if left--; left < 0 {
						cancel(stop)
					}
				}
				e.set.OnLogits = nil
				_, err := e.Generate(ctx, Request{IDs: somePrompt(prompt), MaxTokens: tokens, IgnoreEnd: true, OnToken: tick, Progress: func(int, int) { tick() }})
				if err != nil && !errors.Is(err, stop) {
					t.Fatal(err)
				}
				cancel(nil)
				if err := e.store.Check(); err != nil {
					t.Fatal(err)
				}
				if st := e.store.Stats(); st.Sequences != 0 || st.UnderWay == 0 && st.Live != st.Cached {
					t.Fatalf("%d sequences and %d blocks are left, %d of them cached", st.Sequences, st.Live, st.Cached)
				}
			}
			if got := generated(t, e, somePrompt(prompt), tokens); got != want {
				t.Errorf("%s: logits %s after the aborts, %s before", name, got, want)
			}
		}
	}
}

// TestPolicyShares: what requests under a policy take over from each other changes no bit, and
// stays what it was when the one that computed it drops it.
func TestPolicyShares(t *testing.T) {
	const prompt, tokens = 200, 40
	for name, most := range map[string]int{"snapkv:keep=64,window=16": prompt - 16, "streamingllm:sinks=4,recent=50": prompt, "random:keep=64": prompt, "h2o:heavy=20,recent=30": 0} {
		for _, b := range []budget{{chunk: 64}, {chunk: 64, device: 0.2, host: 1, threads: 1}} {
			alone := generated(t, compress(t, "full", name, compute.KVBF16, prompt+tokens, b, nil), somePrompt(prompt), tokens)
			e := compress(t, "full", name, compute.KVBF16, prompt+tokens, b, func(o *Options) { o.Retain, o.Sequences = true, 3 })
			for i := range 3 {
				if got := generated(t, e, somePrompt(prompt), tokens); got != alone {
					t.Errorf("%s, time %d: logits %s, alone %s", name, i, got, alone)
				}
			}
			// Beside one that still holds the prefix, and then drops it.
			first, err := e.NewStream(prompt+tokens, somePrompt(prompt))
			if err != nil {
				t.Fatal(err)
			}
			if want := most / 16 * 16; first.Shared() > want || most > 0 && first.Shared() < want-16 {
				t.Errorf("%s: %d tokens are shared, want %d", name, first.Shared(), want)
			}
			if got := generated(t, e, somePrompt(prompt), tokens); got != alone {
				t.Errorf("%s, beside another: logits %s, alone %s", name, got, alone)
			}
			if err := first.Feed(t.Context(), somePrompt(prompt)[first.Shared():]); err != nil {
				t.Fatal(err)
			}
			if got := generated(t, e, somePrompt(prompt), tokens); got != alone {
				t.Errorf("%s, beside one that has dropped: logits %s, alone %s", name, got, alone)
			}
			first.Close()
			if err := e.store.Check(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestPolicyService: requests under a policy in company, of which some are cancelled, say what
// they say alone.
func TestPolicyService(t *testing.T) {
	for _, name := range []string{"snapkv:keep=40,window=8", "h2o:heavy=10,recent=20"} {
		for _, b := range []budget{{chunk: 32, threads: 2}, {chunk: 32, threads: 2, device: 0.2, host: 0.2, disk: true}} {
			_, s := serve(t, "full", 3, 128, b, ServiceOptions{}, func(o *Options) { o.Policy = name })
			r := rand.New(rand.NewPCG(5, 6))
			prompts := make([][]int32, 6)
			want := make([]outcome, len(prompts))
			order := func(i int) Order {
				return Order{Request: Request{IDs: prompts[i], MaxTokens: 24, IgnoreEnd: true}}
			}
			for i := range prompts {
				prompts[i] = somePrompt(100)[:60+6*i]
				want[i] = answer(t, s, order(i))
			}
			type running struct {
				i      int
				a      *Answer
				cancel context.CancelFunc
			}
			for range 10 {
				var all []running
				for range 6 {
					i := r.IntN(len(prompts))
					ctx, cancel := context.WithCancel(t.Context())
					a, err := s.Submit(ctx, order(i))
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, running{i, a, cancel})
				}
				all[0].cancel()
				for n, x := range all {
					got, err := collect(t.Context(), x.a)
					x.cancel()
					if n == 0 {
						continue // it may have been done before
					}
					if err != nil {
						t.Fatal(err)
					}
					if !reflect.DeepEqual(got.Tokens, want[x.i].Tokens) {
						t.Errorf("%s: prompt %d in company: %v, alone %v", name, x.i, got.Tokens, want[x.i].Tokens)
					}
				}
			}
		}
	}
}
