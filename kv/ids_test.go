package kv

import (
	"math/rand/v2"
	"testing"

	"nosa/compute"
)

// TestFreeColumns holds the free columns to a plain list of what is free.
func TestFreeColumns(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 200 {
		n := 1 + rng.IntN(300)
		f := newFreeColumns(n)
		free := make([]bool, n)
		for id := range free {
			free[id] = true
		}
		left := n
		for range 400 {
			if left > 0 && rng.IntN(5) < 3 {
				wish := rng.IntN(n + 100)
				want := wish
				for want = min(want, (n+63)/64*64); want >= n || !free[want]; want++ {
					if want >= n {
						want = -1
					}
				}
				if got := f.take(int32(wish)); int(got) != want {
					t.Fatalf("%d columns, wish %d: got %d, want %d", n, wish, got, want)
				}
				free[want] = false
				left--
			} else if id := rng.IntN(n); !free[id] {
				f.give(int32(id))
				free[id] = true
				left++
			}
			if f.left != left {
				t.Fatalf("%d columns left, want %d", f.left, left)
			}
			long, want := 1+rng.IntN(70), -1 // nothing lies in a place here
			for id, run := 0, 0; id < n; id++ {
				if run++; !free[id] {
					run = 0
				}
				if run == long {
					want = id + 1 - long
					break
				}
			}
			if got := f.run(long); int(got) != want {
				t.Fatalf("%d columns in a row of %d begin at %d, want %d", long, n, got, want)
			}
		}
	}
}

// TestIDsLieTogether: the ids of a layer and head are one run, however a sequence
// grows, as long as there is room; and when there is none for another sequence,
// every id is used all the same.
func TestIDsLieTogether(t *testing.T) {
	layout := compute.Layout{Heads: 2, Dim: 4, Block: 4}
	s := openTest(t, Config{Layout: layout, Layers: 3, Blocks: 6 * 100})
	long := mustNew(t, s, SequenceOptions{Tokens: 4 * 60, NoShare: true})
	short := mustNew(t, s, SequenceOptions{Tokens: 4 * 80, NoShare: true}) // has room for half
	for step := range 60 {
		mustExtend(t, long, ids(0, 4))
		if step < 40 {
			mustExtend(t, short, ids(0, 4))
		}
	}
	for name, q := range map[string]*testSequence{"long": long, "short": short} {
		for layer := range 3 {
			for h, ids := range q.Tables(layer) {
				for i := range ids[1:] {
					if ids[i+1] != ids[i]+1 {
						t.Fatalf("%s: layer %d, head %d: id %d after %d", name, layer, h, ids[i+1], ids[i])
					}
				}
			}
		}
	}
	if s.free.left != 0 {
		t.Errorf("%d columns are free, want none", s.free.left)
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	long.Free()
	short.Free()
	closeTest(t, s)
}
