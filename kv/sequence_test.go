package kv

import (
	"context"
	"errors"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nosa/kv/vfs"
)

func mustNew(t *testing.T, s *Store, o SequenceOptions) *testSequence {
	t.Helper()
	q, err := newTestSequence(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func mustExtend(t *testing.T, q *testSequence, ids []int32) {
	t.Helper()
	if err := q.extend(t.Context(), ids); err != nil {
		t.Fatal(err)
	}
}

func TestReserve(t *testing.T) {
	s := openTest(t, Config{Blocks: 4 * 5}) // five columns of two layers and heads
	a, b := mustNew(t, s, SequenceOptions{Tokens: 16}), mustNew(t, s, SequenceOptions{Tokens: 100})
	free := func() int { return s.Stats().FreeIDs }
	for _, tc := range []struct {
		name string
		q    *testSequence
		n    int
		is   error
		free int
	}{
		{"none", a, 0, nil, 20},
		{"one token", a, 1, nil, 16},
		{"again", a, 1, nil, 16},
		{"same block", a, 4, nil, 16},
		{"next block", a, 5, nil, 12},
		{"fewer", a, 2, nil, 12},
		{"too long", a, 17, ErrLength, 12},
		{"negative", a, -1, ErrLength, 12},
		{"no room", b, 13, ErrFull, 12},
		{"far from room", b, 100, ErrFull, 12},
		{"just room", b, 12, nil, 0},
		{"no more", a, 9, ErrFull, 0},
	} {
		if err := tc.q.Reserve(tc.n); !errors.Is(err, tc.is) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.is)
		}
		if got := free(); got != tc.free {
			t.Errorf("%s: %d ids free, want %d", tc.name, got, tc.free)
		}
	}
	for layer := range 2 {
		for h, ids := range a.Tables(layer) {
			if len(ids) != 2 {
				t.Errorf("layer %d, head %d: %d blocks, want 2", layer, h, len(ids))
			}
		}
	}
	if err := s.Close(); !errors.Is(err, ErrBusy) {
		t.Errorf("close: %v, want %v", err, ErrBusy)
	}
	b.Free()
	if err := a.Reserve(9); err != nil {
		t.Errorf("after the other one's end: %v", err)
	}
	a.Free()
	a.Free()
	closeTest(t, s)
}

// TestReservePromisesHomes: blocks that would find no home are refused before
// anything is computed for them.
func TestReservePromisesHomes(t *testing.T) {
	// 20 ids, but 8 slots and 16 pages: four full columns, and an open one.
	s := openTest(t, Config{Blocks: 20, Slots: 8, HostPages: 16})
	q := mustNew(t, s, SequenceOptions{Tokens: 100})
	mustExtend(t, q, ids(0, 19))
	if err := q.Reserve(1); !errors.Is(err, ErrFull) {
		t.Errorf("token 20, the last of its block: %v, want %v", err, ErrFull)
	}
	if err := q.recall(t.Context(), 0, q.all(), nil); err != nil {
		t.Error(err)
	}
	q.Free()
	closeTest(t, s)
}

// TestDiskFilledToTheBrim: with as many blocks as there are homes, all can still
// be moved, through the one page that can be emptied.
func TestDiskFilledToTheBrim(t *testing.T) {
	for _, pages := range []int{1, 2, 3, 9} {
		// Four blocks to a column; homes for three columns, not for four.
		s := openTest(t, Config{Blocks: 40, Slots: 3, HostPages: pages, Disk: &Disk{FS: &vfs.Memory{}, Dir: "d", Records: 16 - pages}})
		q := mustNew(t, s, SequenceOptions{Tokens: 100})
		mustExtend(t, q, ids(0, 15))
		if err := q.Reserve(1); !errors.Is(err, ErrFull) {
			t.Errorf("%d pages: a block without a home: %v, want %v", pages, err, ErrFull)
		}
		for range 3 {
			s.BeginStep()
			for layer := range 2 {
				if err := q.recall(t.Context(), layer, q.all(), nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		q.Free()
		closeTest(t, s)

		s = openTest(t, Config{Blocks: 40, Slots: 3, HostPages: pages, Disk: &Disk{FS: &vfs.Memory{}, Dir: "d", Records: 17 - pages}})
		q = mustNew(t, s, SequenceOptions{Tokens: 100})
		mustExtend(t, q, ids(0, 19))
		for layer := range 2 {
			if err := q.recall(t.Context(), layer, q.all(), nil); err != nil {
				t.Fatal(err)
			}
		}
		q.Free()
		closeTest(t, s)
	}
}

// TestReserveWaitsForTheDying: room that is only held up by a transfer counts.
func TestReserveWaitsForTheDying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var well atomic.Bool
		fs := stalledWrites(func() bool { return !well.Load() })
		cfg := Config{Blocks: 20, Slots: 8, HostPages: 8, Disk: &Disk{FS: fs, Dir: "d", Records: 12}, Timeout: time.Minute}
		s := openTest(t, cfg)
		a := mustNew(t, s, SequenceOptions{Tokens: 100})
		if err := a.extend(t.Context(), ids(0, 8)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // the blocks are in the host pool
		s.BeginStep()
		synctest.Wait() // some are on their way to disk
		a.Free()
		if fs.Stalled() == 0 {
			t.Fatal("nothing is being written")
		}
		b := mustNew(t, s, SequenceOptions{Tokens: 100})
		time.AfterFunc(time.Second, func() {
			well.Store(true)
			fs.Release()
		})
		if err := b.Reserve(19); err != nil {
			t.Error(err)
		}
		b.Free()
		closeTest(t, s)
	})
}

func TestFreedSequence(t *testing.T) {
	s := openTest(t, Config{Blocks: 40, Slots: 4, HostPages: 36})
	q := mustNew(t, s, SequenceOptions{Tokens: 30})
	mustExtend(t, q, ids(0, 17))
	before := q.Stats()
	open := s.Recall(t.Context(), q.Sequence, 0, q.all())
	if !open.Next(t.Context()) {
		t.Fatal(open.Err())
	}
	q.Free() // with a recall open
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	if open.Next(t.Context()) || !errors.Is(open.Err(), ErrClosed) {
		t.Errorf("next: %v, want %v", open.Err(), ErrClosed)
	}
	open.Close()
	if open.Parts() != nil || open.Last() || open.Next(t.Context()) {
		t.Error("a closed recall goes on")
	}
	if err := q.Reserve(1); !errors.Is(err, ErrClosed) {
		t.Errorf("reserve: %v, want %v", err, ErrClosed)
	}
	r := s.Recall(t.Context(), q.Sequence, 0, [][]int32{nil, nil})
	if r.Next(t.Context()) || !errors.Is(r.Err(), ErrClosed) {
		t.Errorf("recall: %v, want %v", r.Err(), ErrClosed)
	}
	r.Close()
	s.Prefetch(q.Sequence, 0, [][]int32{{0}, {0}})
	after := q.Stats()
	if after.Total.Born != before.Total.Born || after.Live != 0 || before.Live != 4*5 {
		t.Errorf("%d and %d born, %d and %d live", before.Total.Born, after.Total.Born, before.Live, after.Live)
	}
	closeTest(t, s)
	if _, err := s.NewSequence(SequenceOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("new sequence: %v, want %v", err, ErrClosed)
	}
}

func TestMisusePanics(t *testing.T) {
	panics := func(name string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", name)
			}
		}()
		f()
	}
	s := openTest(t, Config{Blocks: 40})
	q := mustNew(t, s, SequenceOptions{Tokens: 30})
	if err := q.Reserve(4); err != nil {
		t.Fatal(err)
	}
	panics("advance past the reserved", func() { q.Advance(ids(0, 5)) })
	q2 := mustNew(t, s, SequenceOptions{Tokens: 30})
	if err := q2.Reserve(4); err != nil {
		t.Fatal(err)
	}
	panics("advance past an open block", func() { q2.Advance(ids(0, 4)) })
	s.busy.Store(true)
	panics("two goroutines", func() { s.BeginStep() })
	s.busy.Store(false)
}

// TestStatsAddUp: the sequences' counters and the store's are the same events.
func TestStatsAddUp(t *testing.T) {
	s := openTest(t, Config{Blocks: 200, Slots: 6, HostPages: 8, Disk: &Disk{FS: &vfs.Memory{}, Dir: "d"}})
	var sum LayerStats
	a, b := mustNew(t, s, SequenceOptions{Tokens: 50}), mustNew(t, s, SequenceOptions{Tokens: 50})
	for i, q := range []*testSequence{a, b} {
		mustExtend(t, q, ids(100*i, 21))
		for layer := range 2 {
			if err := q.recall(context.Background(), layer, q.all(), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	st := s.Stats()
	if st.Sequences != 2 || st.Live != 2*4*6 || st.FreeIDs != 200-48 || st.InSlot > 6 || st.InHost > 8 || st.OnDisk == 0 {
		t.Errorf("%+v", st)
	}
	a.Free()
	b.Free()
	for s.Stats().UnderWay > 0 {
		time.Sleep(time.Millisecond)
	}
	for _, q := range []*testSequence{a, b} {
		st := q.Stats()
		if st.Total.Selected != int64(2*(2+10)) || st.Total.Recalls != 2 || st.Total.Rounds < 2 || st.Total.HitRate() > 0.5 {
			t.Errorf("sequence %d: %+v", q.Number(), st.Total)
		}
		sum.add(st.Total)
	}
	if got := s.Stats().Total; !reflect.DeepEqual(got, sum) {
		t.Errorf("store %+v, sequences %+v", got, sum)
	}
	closeTest(t, s)
}
