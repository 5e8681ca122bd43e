package kv

import (
	"errors"
	"slices"
	"testing"
	"time"

	"nosa/kv/vfs"
)

// TestPrefixMatches takes over what a prompt has in common with a live sequence,
// in whole columns, and never its last token.
func TestPrefixMatches(t *testing.T) {
	s := openTest(t, Config{Blocks: 400})
	first := mustNew(t, s, SequenceOptions{Tokens: 40})
	mustExtend(t, first, ids(0, 18)) // four full columns and two tokens
	other := func(at int) []int32 {
		x := ids(0, 18)
		x[at] = 99
		return x
	}
	for name, tc := range map[string]struct {
		o    SequenceOptions
		want int
	}{
		"same":               {SequenceOptions{Tokens: 40, Prefix: ids(0, 18)}, 16},
		"longer":             {SequenceOptions{Tokens: 40, Prefix: ids(0, 30)}, 16},
		"last token of four": {SequenceOptions{Tokens: 40, Prefix: ids(0, 16)}, 12},
		"one more":           {SequenceOptions{Tokens: 40, Prefix: ids(0, 17)}, 16},
		"short":              {SequenceOptions{Tokens: 40, Prefix: ids(0, 4)}, 0},
		"empty":              {SequenceOptions{Tokens: 40}, 0},
		"differs at once":    {SequenceOptions{Tokens: 40, Prefix: other(0)}, 0},
		"differs later":      {SequenceOptions{Tokens: 40, Prefix: other(9)}, 8},
		"starts later":       {SequenceOptions{Tokens: 40, Prefix: ids(4, 14)}, 0},
		"little room":        {SequenceOptions{Tokens: 11, Prefix: ids(0, 18)}, 8},
		"no room":            {SequenceOptions{Tokens: 0, Prefix: ids(0, 18)}, 0},
		"other salt":         {SequenceOptions{Tokens: 40, Prefix: ids(0, 18), Salt: []byte("b")}, 0},
		"alone":              {SequenceOptions{Tokens: 40, Prefix: ids(0, 18), NoShare: true}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			q := mustNew(t, s, tc.o)
			if q.Len() != tc.want || q.Shared() != tc.want {
				t.Errorf("begins at %d, shared %d, want %d", q.Len(), q.Shared(), tc.want)
			}
			if got, want := q.Stats().Total.Shared, int64(tc.want/4*4); got != want {
				t.Errorf("%d blocks counted, want %d", got, want)
			}
			for layer := range 2 {
				for h, ids := range q.Tables(layer) {
					if !slices.Equal(ids, first.Tables(layer)[h][:tc.want/4]) {
						t.Errorf("layer %d, head %d: blocks %v of %v", layer, h, ids, first.Tables(layer)[h])
					}
				}
				if err := q.recall(t.Context(), layer, q.all(), nil); err != nil {
					t.Error(err)
				}
			}
			q.Free()
		})
	}
	first.Free()
	closeTest(t, s)
}

// TestPrefixOutlivesItsOwner: shared blocks stay for those who hold them, and go
// with the last.
func TestPrefixOutlivesItsOwner(t *testing.T) {
	s := openTest(t, Config{Blocks: 400, Slots: 8, HostPages: 396})
	a := mustNew(t, s, SequenceOptions{Tokens: 40})
	mustExtend(t, a, ids(0, 18))
	b := mustNew(t, s, SequenceOptions{Tokens: 40, Prefix: ids(0, 18)})
	mustExtend(t, b, ids(16, 10))
	a.Free()
	c := mustNew(t, s, SequenceOptions{Tokens: 40, Prefix: ids(0, 26)})
	if c.Shared() != 24 {
		t.Errorf("%d tokens shared, want 24: 16 from the first, 8 from the second", c.Shared())
	}
	for layer := range 2 {
		if err := c.recall(t.Context(), layer, c.all(), nil); err != nil {
			t.Error(err)
		}
	}
	if got := s.Stats().Live; got != 4*7 {
		t.Errorf("%d blocks live, want 28: six shared columns and an open one", got)
	}
	b.Free()
	c.Free()
	if q := mustNew(t, s, SequenceOptions{Tokens: 40, Prefix: ids(0, 18)}); q.Shared() != 0 {
		t.Errorf("%d tokens of the dead shared", q.Shared())
	} else {
		q.Free()
	}
	closeTest(t, s)
}

// TestCached: blocks of ended sequences are there for those that begin alike, in every
// tier, until room is needed: then the longest unused go, the last columns of a
// sequence before its first ones.
func TestCached(t *testing.T) {
	for name, cfg := range map[string]Config{
		"slots": {},
		"host":  {Slots: 8, HostPages: 40},
		"disk":  {Slots: 8, HostPages: 6, Disk: &Disk{FS: &vfs.Memory{}, Dir: "disk"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Blocks, cfg.Retain = 40, true // ten columns of two layers and heads
			s := openTest(t, cfg)
			begin := func(from, tokens, shared int) *testSequence {
				t.Helper()
				q := mustNew(t, s, SequenceOptions{Tokens: tokens + 1, Prefix: ids(from, tokens+1)})
				if q.Shared() != shared {
					t.Errorf("of %d tokens from %d on %d are shared, want %d", tokens, from, q.Shared(), shared)
				}
				mustExtend(t, q, ids(from+q.Len(), tokens-q.Len()))
				for layer := range 2 {
					if err := q.recall(t.Context(), layer, q.all(), nil); err != nil {
						t.Error(err)
					}
				}
				return q
			}
			cached := func(want int) {
				t.Helper()
				if err := s.Check(); err != nil {
					t.Error(err)
				}
				if got := s.Stats().Cached; got != 4*want {
					t.Errorf("%d blocks are cached, want %d columns", got, want)
				}
			}
			a := begin(0, 16, 0)
			a.Free()
			cached(4)
			b := begin(100, 12, 0)
			b.Free()
			cached(7)
			a = begin(0, 16, 16) // takes its columns back
			cached(3)
			a.Free() // and is the newer one now
			cached(7)
			c := begin(200, 16, 0) // four more: of the second sequence the last one goes
			cached(6)
			b = begin(100, 8, 8)
			cached(4)
			b.Free()
			c.Free()
			cached(10)
			s.Forget()
			cached(0)
			for s.Stats().UnderWay > 0 {
				time.Sleep(time.Millisecond)
			}
			if got := s.Stats(); got.Live != 0 || got.Published != 0 {
				t.Errorf("%d blocks live, %d columns offered", got.Live, got.Published)
			}
			begin(0, 16, 0).Free()
			closeTest(t, s)
		})
	}
}

// TestCachedOverflows asks for more than is free and more than there is.
func TestCachedOverflows(t *testing.T) {
	s := openTest(t, Config{Blocks: 40, Slots: 8, HostPages: 40, Retain: true})
	a := mustNew(t, s, SequenceOptions{Tokens: 40})
	mustExtend(t, a, ids(0, 36))
	a.Free()
	b := mustNew(t, s, SequenceOptions{Tokens: 60})
	if err := b.Reserve(41); !errors.Is(err, ErrFull) || s.Stats().Cached != 36 {
		t.Errorf("%v, and %d blocks are cached", err, s.Stats().Cached)
	}
	if err := b.Reserve(40); err != nil {
		t.Error(err)
	}
	b.Free()
	closeTest(t, s)
}

// TestPromise: what a sequence has been promised is there when it wants it, whatever
// others ask for meanwhile, and comes back with it.
func TestPromise(t *testing.T) {
	s := openTest(t, Config{Blocks: 40, Slots: 8, HostPages: 40, Retain: true})
	a := mustNew(t, s, SequenceOptions{Tokens: 20})
	mustExtend(t, a, ids(0, 20))
	a.Free() // five columns of ten are cached
	b := mustNew(t, s, SequenceOptions{Tokens: 32, Promise: true})
	if _, err := s.NewSequence(SequenceOptions{Tokens: 12, Promise: true}); !errors.Is(err, ErrFull) {
		t.Errorf("a promise of more than is left: %v", err)
	}
	// Its first two columns can be held again, the third one is b's.
	c := mustNew(t, s, SequenceOptions{Tokens: 40, Prefix: ids(0, 20)})
	if c.Shared() != 8 {
		t.Errorf("%d tokens are shared, want 8", c.Shared())
	}
	if err := c.Reserve(1); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	mustExtend(t, b, ids(100, 32))
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	if err := b.Reserve(1); !errors.Is(err, ErrLength) {
		t.Error(err)
	}
	c.Free()
	b.Free()
	d := mustNew(t, s, SequenceOptions{Tokens: 40, Promise: true})
	d.Free()
	closeTest(t, s)
}

// TestKeys: everything that a block depends on is in its key.
func TestKeys(t *testing.T) {
	base := Config{Layout: testLayout, Layers: 2, Blocks: 4, Identity: []byte("model")}
	key := func(change func(*Config), salt string) key {
		cfg := base
		change(&cfg)
		return (&Store{cfg: cfg}).root([]byte(salt)).next(ids(0, 4))
	}
	same := key(func(*Config) {}, "salt")
	if again := key(func(c *Config) { c.Blocks, c.Slots, c.Workers = 400, 3, 9 }, "salt"); again != same {
		t.Error("budgets change the key")
	}
	for name, other := range map[string][32]byte{
		"model":     key(func(c *Config) { c.Identity = []byte("other") }, "salt"),
		"salt":      key(func(*Config) {}, "other"),
		"boundary":  key(func(c *Config) { c.Identity = []byte("models") }, "alt"),
		"layers":    key(func(c *Config) { c.Layers = 3 }, "salt"),
		"format":    key(func(c *Config) { c.Layout.Type++ }, "salt"),
		"scores":    key(func(c *Config) { c.Layout.Scores = false }, "salt"),
		"stride":    key(func(c *Config) { c.Layout.Stride = 4 }, "salt"),
		"no tokens": (&Store{cfg: base}).root([]byte("salt")),
	} {
		if other == same {
			t.Errorf("another %s, the same key", name)
		}
	}
	if a, b := same.next(ids(0, 4)), same.next(ids(1, 4)); a == b {
		t.Error("other tokens, the same key")
	}
}
