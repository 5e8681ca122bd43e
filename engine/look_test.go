package engine

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"nosa/kv"
)

var (
	wholeRange = Range{From: 0, To: math.MaxInt}
	anybody    = func(string) bool { return true }
)

// TestServiceRequests: every request is seen in each phase it goes through, by those who
// may see it, and not when it has ended.
func TestServiceRequests(t *testing.T) {
	const length = 12000
	e, s := serve(t, "nosa", 1, length, budget{device: 0.02, host: 0.02, disk: true, chunk: 32, threads: 2}, ServiceOptions{}, nil)
	order := func(id, tenant string, priority int) *Answer {
		o := Order{ID: id, Tenant: tenant, Priority: priority}
		o.IDs, o.MaxTokens, o.IgnoreEnd = randomIDs(uint64(priority), 900, e.model.Vocab), 3000, true
		a, err := s.Submit(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	low := order("low", "alice", 0)
	seen := map[Phase]bool{}
	ids := map[string]bool{}
	watch := func(done func([]RequestState) bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; {
			states, left, err := s.Requests(t.Context(), anybody, 10)
			if err != nil || left != 0 {
				t.Fatal(left, err)
			}
			for _, r := range states {
				seen[r.Phase], ids[r.ID] = true, true
				running := r.Phase == Prefill || r.Phase == Decode
				if r.Prompt != 900 || r.Most != 3900 || r.Held > r.Most || r.Age <= 0 || running != (r.Seat == 0) || r.Phase == Waiting && r.Held > 0 ||
					r.Phase == Prefill && (r.Held >= 900 || r.Written > 0) || r.Written > 0 && r.Held != 899+r.Written {
					t.Errorf("%+v", r)
				}
			}
			if done(states) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("it does not come; seen: %v", seen)
			}
		}
	}
	watch(func(s []RequestState) bool { return seen[Decode] })
	high := order("high", "bob", 5)
	watch(func([]RequestState) bool { return seen[Paused] })
	last := order("last", "alice", -1)
	watch(func([]RequestState) bool { return seen[Waiting] && ids["last"] })
	if !seen[Prefill] {
		t.Errorf("seen: %v", seen)
	}

	alice := func(tenant string) bool { return tenant == "alice" }
	states, left, err := s.Requests(t.Context(), alice, 1)
	if err != nil || len(states) != 1 || states[0].Tenant != "alice" || left != 1 {
		t.Errorf("alice sees %+v and %d more, %v", states, left, err)
	}
	if _, err := s.Blocks(t.Context(), alice, "high", 0, wholeRange, wholeRange); !errors.Is(err, ErrNoRequest) {
		t.Errorf("alice looks at bob's blocks: %v", err)
	}
	for _, bad := range []struct {
		id     string
		choice int
	}{{"other", 0}, {"", 0}, {"high", 1}, {"high", -1}} {
		if _, err := s.Blocks(t.Context(), anybody, bad.id, bad.choice, wholeRange, wholeRange); !errors.Is(err, ErrNoRequest) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	v, err := s.Blocks(t.Context(), anybody, "low", 0, wholeRange, wholeRange)
	if err != nil || v.Total < 900/v.Block || v.Layers.To != e.model.Layers || len(v.Cells) != v.Layers.Len()*v.Heads*v.Total {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := s.Blocks(t.Context(), anybody, "last", 0, wholeRange, wholeRange); err != nil || len(v.Cells) != 0 {
		t.Errorf("of a request that waits: %+v, %v", v, err)
	}
	for _, a := range []*Answer{low, high, last} {
		a.Cancel()
		if _, err := collect(t.Context(), a); !errors.Is(err, ErrCancelled) {
			t.Error(err)
		}
	}
	watch(func(states []RequestState) bool { return len(states) == 0 })
	if _, err := s.Blocks(t.Context(), anybody, "low", 0, wholeRange, wholeRange); !errors.Is(err, ErrNoRequest) {
		t.Errorf("of a request that has ended: %v", err)
	}
	kept, err := s.Kept(t.Context(), wholeRange, wholeRange)
	if err != nil || kept.Total == 0 {
		t.Errorf("kept: %+v, %v", kept, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Kept(ended, wholeRange, wholeRange); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.Close()
	if _, _, err := s.Requests(t.Context(), anybody, 1); !errors.Is(err, ErrDraining) {
		t.Errorf("after Close: %v", err)
	}
}

// TestServiceBlocks: the blocks of a long request are seen in all three tiers, and those
// that attention wants as wanted; the watch ends some time after the last look.
func TestServiceBlocks(t *testing.T) {
	const length = 2000
	e, s := serve(t, "nosa", 1, length, budget{device: 0.05, host: 0.1, disk: true, chunk: 64, threads: 2}, ServiceOptions{}, nil)
	o := Order{ID: "one"}
	o.IDs, o.MaxTokens, o.IgnoreEnd = randomIDs(1, 1500, e.model.Vocab), 500, true
	a, err := s.Submit(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var where kv.Where
	wanted, unwanted := 0, 0
	for deadline := time.Now().Add(30 * time.Second); ; {
		v, err := s.Blocks(t.Context(), anybody, "one", 0, wholeRange, wholeRange)
		if err != nil {
			t.Fatalf("%v; seen: %08b, %d wanted, %d not", err, where, wanted, unwanted)
		}
		for _, c := range v.Cells {
			where |= c.Where
			if c.Wanted > 0 {
				wanted++
			} else {
				unwanted++
			}
		}
		if all := kv.InSlot | kv.InHost | kv.OnDisk | kv.Unsealed | kv.Selected; where&all == all && wanted > 0 && unwanted > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("seen: %08b, %d wanted, %d not", where, wanted, unwanted)
		}
	}
	a.Cancel()
	if _, err := collect(t.Context(), a); !errors.Is(err, ErrCancelled) {
		t.Error(err)
	}
	watched := func() (on bool) {
		on, err := ask(t.Context(), s, func() bool { return !s.watched.IsZero() })
		if err != nil {
			t.Fatal(err)
		}
		return on
	}
	if !watched() {
		t.Error("nobody watches after a look")
	}
	if _, err := ask(t.Context(), s, func() bool { s.watched = s.watched.Add(-2 * watchFor); return true }); err != nil {
		t.Fatal(err)
	}
	if watched() {
		t.Error("it is still watched when nobody has looked for long")
	}
}
