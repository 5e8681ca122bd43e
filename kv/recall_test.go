package kv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"nosa/compute"
	"nosa/kv/vfs"
)

// TestRounds: what fits is one round; what does not comes in ascending parts,
// from a single slot upwards.
func TestRounds(t *testing.T) {
	for _, tc := range []struct{ slots, rounds int }{
		{48, 1}, {24, 1}, {23, 3}, {12, 4}, {5, 12}, {3, 24}, {2, 24}, {1, 24},
	} {
		t.Run(fmt.Sprintf("slots=%d", tc.slots), func(t *testing.T) {
			s := openTest(t, Config{Layers: 1, Blocks: 50, Slots: tc.slots, HostPages: 50, Copying: true})
			q := mustNew(t, s, SequenceOptions{Tokens: 100})
			mustExtend(t, q, ids(0, 48)) // 12 blocks of two heads
			for range 3 {
				s.BeginStep()
				if err := q.recall(t.Context(), 0, q.all(), nil); err != nil {
					t.Fatal(err)
				}
			}
			r := s.Recall(t.Context(), q.Sequence, 0, q.all())
			last, rounds := int32(-1), 0
			for r.Next(t.Context()) {
				rounds++
				low := int32(99)
				for _, p := range r.Parts() {
					low = min(low, p.Blocks[0])
				}
				if low < last {
					t.Errorf("block %d after %d", low, last)
				}
				for _, p := range r.Parts() {
					last = max(last, p.Blocks[len(p.Blocks)-1])
				}
			}
			if err := r.Err(); err != nil {
				t.Error(err)
			}
			r.Close()
			if rounds != tc.rounds {
				t.Errorf("%d rounds, want %d", rounds, tc.rounds)
			}
			if got := s.Stats().Total.Rounds; got != int64(4*tc.rounds) {
				t.Errorf("%d rounds counted, want %d", got, 4*tc.rounds)
			}
			q.Free()
			closeTest(t, s)
		})
	}
}

func TestRecallOfNothing(t *testing.T) {
	s := openTest(t, Config{Blocks: 40})
	q := mustNew(t, s, SequenceOptions{Tokens: 30})
	mustExtend(t, q, ids(0, 3))
	r := s.Recall(t.Context(), q.Sequence, 1, [][]int32{{}, nil})
	if r.Next(t.Context()) || r.Err() != nil {
		t.Errorf("a round of nothing; %v", r.Err())
	}
	r.Close()
	want := LayerStats{Selected: 2, Hits: 2, Recalls: 1, Born: 2}
	if got := q.Stats().Layers[1]; got != want {
		t.Errorf("%+v, want the two open blocks: %+v", got, want)
	}
	r = s.Recall(t.Context(), q.Sequence, 1, [][]int32{{}, {0}})
	if r.Next(t.Context()) || !errors.Is(r.Err(), ErrOpen) {
		t.Errorf("recall of an open block: %v, want %v", r.Err(), ErrOpen)
	}
	named(t, 0, r.Err())
	r.Close()
	q.Free()
	closeTest(t, s)
}

// decode runs a request token by token as attention does (recall, then seal),
// with selections drawn at random, slowly changing, and hands each to see.
func decode(t *testing.T, s *Store, q *testSequence, tokens int, seed uint64, see func(layer int, want [][]int32)) {
	t.Helper()
	l := s.cfg.Layout
	r := rand.New(rand.NewPCG(seed, 0))
	chosen := make([]map[int32]bool, s.cfg.Layers*l.Heads)
	for i := range chosen {
		chosen[i] = map[int32]bool{}
	}
	for pos := range tokens {
		s.BeginStep()
		if err := q.Reserve(1); err != nil {
			t.Fatal(err)
		}
		q.tokens = append(q.tokens, int32(pos))
		for layer := range s.cfg.Layers {
			own := pos / l.Block
			want := make([][]int32, l.Heads)
			for h := range want {
				set := chosen[layer*l.Heads+h]
				for b := range own {
					if r.IntN(4) == 0 {
						set[int32(b)] = r.IntN(2) == 0
					}
					if set[int32(b)] || b == own-1 {
						want[h] = append(want[h], int32(b))
					}
				}
			}
			if err := q.recall(t.Context(), layer, want, nil); err != nil {
				t.Fatal(err)
			}
			see(layer, want)
			if (pos+1)%l.Block == 0 {
				tile := compute.Tile{N: 1, Pos: pos, Tables: q.Tables(layer), Tail: q.Tail(layer)}
				for h := range l.Heads {
					copy(tile.Tail.F32()[h*2*l.Block*l.Dim:], q.content(layer, h, q.tokens))
				}
				if err := q.Seal(t.Context(), tile, layer); err != nil {
					t.Fatal(err)
				}
			}
		}
		q.Advance(q.tokens[pos:])
	}
}

// TestKeepSelectedIsOverlap: with --kv-keep selected a hit is a block that the
// step before had selected too, own block included: the hit rate is the overlap
// of neighbouring selections, computed here from the selections alone.
func TestKeepSelectedIsOverlap(t *testing.T) {
	for name, cfg := range map[string]Config{
		"host":      {Blocks: 400, Slots: 300, HostPages: 400},
		"all slots": {Blocks: 400, HostPages: 400},
		"disk":      {Blocks: 400, Slots: 300, HostPages: 5, Disk: &Disk{FS: &vfs.Memory{}, Dir: "d"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Keep = KeepSelected
			var traced, missed int
			cfg.Trace = func(tr Trace) { traced, missed = traced+len(tr.Selected), missed+len(tr.Missed) }
			s := openTest(t, cfg)
			q := mustNew(t, s, SequenceOptions{Tokens: 120})
			before := make([]map[[2]int32]bool, cfg.Layers+2)
			var selected, overlap int64
			pos := -1
			decode(t, s, q, 120, 7, func(layer int, want [][]int32) {
				if layer == 0 {
					pos++
				}
				now := map[[2]int32]bool{}
				for h, w := range want {
					for _, b := range append(slices.Clone(w), int32(pos/4)) {
						now[[2]int32{int32(h), b}] = true
						// The own block is there whether or not it was before.
						if selected++; before[layer][[2]int32{int32(h), b}] || int(b) == pos/4 {
							overlap++
						}
					}
				}
				before[layer] = now
			})
			got := s.Stats().Total
			if got.Selected != selected || got.Hits != overlap || got.Misses() == 0 {
				t.Errorf("%d hits of %d, want %d of %d", got.Hits, got.Selected, overlap, selected)
			}
			if int64(missed) != got.Misses() || int64(traced) != selected-int64(120*2*2) {
				t.Errorf("traced %d of %d missed, counted %d of %d", missed, traced, got.Misses(), selected)
			}
			q.Free()
			closeTest(t, s)
		})
	}
}

// TestLRUMissesAreExact holds misses against a walk over the same selections
// with the slot pool's definition alone.
func TestLRUMissesAreExact(t *testing.T) {
	for _, slots := range []int{40, 60, 90} {
		s := openTest(t, Config{Blocks: 400, Slots: slots, HostPages: 400, Copying: true})
		q := mustNew(t, s, SequenceOptions{Tokens: 100})
		pool := compute.NewPool(slots, 400)
		var step int64
		var misses int64
		pos := -1
		touch := func(ids []int32) int {
			at := make([]int32, len(ids))
			done, missed, _ := pool.Resolve(ids, at, step, nil, nil)
			if done != len(ids) {
				t.Fatalf("%d slots do not hold %d blocks", slots, len(ids))
			}
			pool.Unpin(at)
			return len(missed)
		}
		decode(t, s, q, 100, 11, func(layer int, want [][]int32) {
			if layer == 0 {
				step++
				pos++
			}
			var wanted, sealed []int32
			for b := range int32(pos / 4) {
				for h, w := range want {
					if slices.Contains(w, b) {
						wanted = append(wanted, q.Tables(layer)[h][b])
					}
				}
			}
			misses += int64(touch(wanted))
			if (pos+1)%4 == 0 {
				for h := range want {
					sealed = append(sealed, q.Tables(layer)[h][pos/4])
				}
				touch(sealed)
			}
		})
		if got := s.Stats().Total; got.Misses() != misses || got.Misses() == 0 {
			t.Errorf("%d slots: %d misses, want %d", slots, got.Misses(), misses)
		}
		q.Free()
		closeTest(t, s)
	}
}

// TestPrefetch: what was read ahead comes from the host pool when it is wanted.
func TestPrefetch(t *testing.T) {
	s := openTest(t, Config{Blocks: 400, Slots: 8, HostPages: 40, Disk: &Disk{FS: &vfs.Memory{}, Dir: "d"}})
	q := mustNew(t, s, SequenceOptions{Tokens: 200})
	mustExtend(t, q, ids(0, 200))
	want := [][]int32{{0, 1, 2}, {3, 4}}
	for _, layer := range []int{1, 0} { // the last recall is what the slots hold
		s.BeginStep()
		if err := q.recall(t.Context(), layer, q.all(), nil); err != nil {
			t.Fatal(err)
		}
	}
	s.BeginStep()
	before := q.Stats().Layers[1]
	s.Prefetch(q.Sequence, 1, want)
	for s.Stats().UnderWay > 0 {
		time.Sleep(time.Millisecond)
	}
	if got := q.Stats().Total.BytesFromDisk; got == 0 {
		t.Error("nothing was read")
	}
	if err := q.recall(t.Context(), 1, want, nil); err != nil {
		t.Fatal(err)
	}
	if after := q.Stats().Layers[1]; after.HostHits-before.HostHits != 5 || after.DiskHits != before.DiskHits {
		t.Errorf("%d from the host pool, %d from disk, want 5 and none", after.HostHits-before.HostHits, after.DiskHits-before.DiskHits)
	}
	// Wanted while it is being read: it goes on to the slot when it is there.
	more := [][]int32{{20, 21, 22, 23}, {20, 21, 22, 23}}
	for range 20 {
		s.BeginStep()
		s.Prefetch(q.Sequence, 0, more)
		if err := q.recall(t.Context(), 0, more, nil); err != nil {
			t.Fatal(err)
		}
		if err := q.recall(t.Context(), 1, q.all(), nil); err != nil {
			t.Fatal(err)
		}
	}
	q.Free()
	closeTest(t, s)
}

// TestPrefetchTakesNothingInUse: pages of this step's blocks stay.
func TestPrefetchTakesNothingInUse(t *testing.T) {
	s := openTest(t, Config{Blocks: 400, Slots: 2, HostPages: 8, Disk: &Disk{FS: &vfs.Memory{}, Dir: "d"}})
	q := mustNew(t, s, SequenceOptions{Tokens: 200})
	mustExtend(t, q, ids(0, 200))
	idle := func() {
		for s.Stats().UnderWay > 0 {
			time.Sleep(time.Millisecond)
		}
	}
	idle()
	s.BeginStep()
	idle() // nothing waits to be written
	s.BeginStep()
	if err := q.recall(t.Context(), 0, [][]int32{{0, 1, 2, 3}, {0, 1, 2, 3}}, nil); err != nil {
		t.Fatal(err)
	}
	idle()
	before := s.Stats().Total.BytesFromDisk
	more := [][]int32{{0, 1, 2, 3}, {0, 1, 2, 3}}
	s.Prefetch(q.Sequence, 1, more)
	idle()
	if got := s.Stats().Total.BytesFromDisk; got != before {
		t.Errorf("%d bytes were read over pages of this step", got-before)
	}
	s.BeginStep()
	s.Prefetch(q.Sequence, 1, more)
	idle()
	if got := s.Stats().Total.BytesFromDisk; got == before {
		t.Error("nothing was read over pages of the step before")
	}
	q.Free()
	closeTest(t, s)
}

// TestWrittenOnce: a full block goes down once and is evicted without writing.
func TestWrittenOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  Config
		down bool
	}{
		"slots alone": {Config{Blocks: 400}, false},
		"one slot":    {Config{Blocks: 400, Slots: 1, HostPages: 400}, true},
		"host":        {Config{Blocks: 400, Slots: 20, HostPages: 400}, true},
		"disk":        {Config{Blocks: 400, Slots: 20, HostPages: 1, Disk: &Disk{FS: &vfs.Memory{}, Dir: "d"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, tc.cfg)
			q := mustNew(t, s, SequenceOptions{Tokens: 100})
			mustExtend(t, q, ids(0, 98))
			for range 3 {
				s.BeginStep()
				for layer := range 2 {
					if err := q.recall(t.Context(), layer, q.all(), nil); err != nil {
						t.Fatal(err)
					}
				}
			}
			for s.Stats().UnderWay > 0 {
				time.Sleep(time.Millisecond)
			}
			got := q.Stats().Total
			size := int64(testLayout.BlockBytes())
			var want int64
			if tc.down {
				want = 24 * 4 * size // full blocks; the open ones stay
			}
			if got.BytesDown != want {
				t.Errorf("%d bytes down, want %d", got.BytesDown, want)
			}
			if got.BytesToDisk > 24*4*size || got.BytesToDisk != got.Spilled*size {
				t.Errorf("%d bytes of %d blocks to disk, there are %d blocks", got.BytesToDisk, got.Spilled, 24*4)
			}
			q.Free()
			closeTest(t, s)
		})
	}
}

// TestTwoRecallsAtOnce: one that can not get a slot, since another holds all,
// says so instead of waiting for ever.
func TestTwoRecallsAtOnce(t *testing.T) {
	s := openTest(t, Config{Blocks: 80, Slots: 4, HostPages: 80, Copying: true})
	q := mustNew(t, s, SequenceOptions{Tokens: 40})
	mustExtend(t, q, ids(0, 40))
	a := s.Recall(t.Context(), q.Sequence, 0, [][]int32{{0, 1}, {0, 1}})
	if !a.Next(t.Context()) {
		t.Fatal(a.Err())
	}
	b := s.Recall(t.Context(), q.Sequence, 1, [][]int32{{0}, {}})
	if b.Next(t.Context()) || !errors.Is(b.Err(), ErrFull) {
		t.Errorf("%v, want %v", b.Err(), ErrFull)
	}
	named(t, 0, b.Err())
	b.Close()
	a.Close()
	if err := q.recall(context.Background(), 1, q.all(), nil); err != nil {
		t.Error(err)
	}
	q.Free()
	closeTest(t, s)
}
