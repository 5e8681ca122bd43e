package kv

import (
	"slices"
	"testing"
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
