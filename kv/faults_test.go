package kv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nosa/kv/vfs"
)

// points is the number of transfers at which each fault is tried.
func points() int {
	if testing.Short() {
		return 30
	}
	return 120
}

// requests runs three requests against a store of few places, most of it on
// disk, and returns what each ended with. Contents are compared all the way. A
// request that fails is freed at once; the others go on.
func requests(t *testing.T, s *Store, seed uint64) (errs [3]error) {
	t.Helper()
	ctx := context.Background()
	var live [3]*testSequence
	for i := range live {
		q, err := newTestSequence(s, SequenceOptions{Tokens: 100})
		if err != nil {
			t.Fatal(err)
		}
		if q.Number() != i {
			t.Fatalf("request %d is sequence %d", i, q.Number())
		}
		live[i] = q
	}
	r := rand.New(rand.NewPCG(seed, 1))
	for step := range 12 {
		s.BeginStep()
		for i, q := range live {
			if q == nil {
				continue
			}
			err := q.extend(ctx, ids(1000*i+10*step, 1+r.IntN(8)))
			for layer := 0; layer < s.cfg.Layers && err == nil; layer++ {
				want := q.all()
				if step%3 > 0 { // now and then less than all
					for h := range want {
						want[h] = slices.DeleteFunc(want[h], func(int32) bool { return r.IntN(2) == 0 })
					}
				}
				s.Prefetch(q.Sequence, layer, want)
				err = q.recall(ctx, layer, want, nil)
			}
			if err != nil {
				errs[i] = err
				q.Free()
				live[i] = nil
			}
		}
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range live {
		if q != nil {
			q.Free()
		}
	}
	return errs
}

func faultConfig(fs vfs.FS) Config {
	return Config{
		Layout: testLayout, Layers: 2, Blocks: 300, Slots: 9, HostPages: 12, Workers: 4,
		Disk: &Disk{FS: fs, Dir: "disk"}, Timeout: time.Minute,
	}
}

// named fails the test unless an error says which block of request i it is about.
func named(t *testing.T, i int, err error, is ...error) {
	t.Helper()
	if !strings.Contains(err.Error(), fmt.Sprintf("sequence %d, layer ", i)) || !strings.Contains(err.Error(), ", block ") {
		t.Errorf("request %d: the block is not named: %v", i, err)
	}
	for _, want := range is {
		if !errors.Is(err, want) {
			t.Errorf("request %d: %v, want: %v", i, err, want)
		}
	}
}

// TestFaults lets one transfer go wrong, at many points, and proves that no
// request fails but the one whose transfer it was, that the others get the right
// bytes, and that everything comes back.
func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		fault vfs.Fault
		write bool
		is    error
	}{
		{vfs.FlipBit, false, ErrCorrupt},
		{vfs.ShortRead, false, ErrDisk},
		{vfs.ReadError, false, ErrDisk},
		{vfs.WriteError, true, ErrDisk},
		{vfs.NoSpace, true, ErrDisk},
		{vfs.Stall, false, ErrTimeout},
		{vfs.Stall, true, ErrTimeout},
	} {
		t.Run(fmt.Sprintf("%v/write=%v", tc.fault, tc.write), func(t *testing.T) {
			failed, faultPoints := 0, points()
			for point := range faultPoints {
				synctest.Test(t, func(t *testing.T) {
					at := point // in order at first, then anywhere
					if point >= 20 {
						at = rand.New(rand.NewPCG(uint64(point), 2)).IntN(400)
					}
					n := 0
					fs := &vfs.Faults{FS: &vfs.Memory{}}
					fs.Plan = func(op vfs.Op) vfs.Fault {
						if op.Write != tc.write {
							return vfs.None
						}
						if n++; n != at+1 {
							return vfs.None
						}
						return tc.fault
					}
					cfg := faultConfig(fs)
					if tc.fault != vfs.Stall { // which takes places away
						cfg.HostPages = 1 + point%12
					}
					s := openTest(t, cfg)
					for i, err := range requests(t, s, uint64(point)) {
						if err != nil {
							named(t, i, err, tc.is)
							failed++
						}
					}
					fs.Release()
					synctest.Wait()
					if total := s.Stats().Total; n <= at && total.BytesToDisk == 0 {
						t.Fatal("nothing went to disk")
					}
					closeTest(t, s)
				})
			}
			// A flipped bit or a failed read always hits somebody, unless it was
			// read ahead and found later. A write may fail that nobody waited for.
			t.Logf("%d of %d points failed a request", failed, faultPoints)
			if failed > faultPoints {
				t.Errorf("%d requests failed at %d points: one fault must not reach two", failed, faultPoints)
			}
			if !tc.write && failed < faultPoints/2 {
				t.Errorf("%d requests failed at %d points: too few to prove anything", failed, faultPoints)
			}
		})
	}
}

// TestLastingFaults: the disk is full, or gone, from some point on. Whoever needs
// it fails and says so; the rest, and the books, go on.
func TestLastingFaults(t *testing.T) {
	for _, tc := range []struct {
		fault vfs.Fault
		hint  string
	}{
		{vfs.NoSpace, "make room there or give --kv-disk a smaller size"},
		{vfs.WriteError, "is it still there and writable?"},
		{vfs.Vanish, "--kv-disk disk"},
	} {
		t.Run(tc.fault.String(), func(t *testing.T) {
			failed, faultPoints := 0, points()
			for point := range faultPoints {
				synctest.Test(t, func(t *testing.T) {
					at := rand.New(rand.NewPCG(uint64(point), 3)).IntN(200)
					n := 0
					fs := &vfs.Faults{FS: &vfs.Memory{}}
					fs.Plan = func(op vfs.Op) vfs.Fault {
						if n++; n > at && (op.Write || tc.fault == vfs.Vanish) {
							return tc.fault
						}
						return vfs.None
					}
					cfg := faultConfig(fs)
					cfg.HostPages = 12 + 50*(point%4)
					s := openTest(t, cfg)
					for i, err := range requests(t, s, uint64(point)) {
						if err != nil {
							failed++
							named(t, i, err, ErrDisk)
							if !strings.Contains(err.Error(), tc.hint) {
								t.Errorf("%v does not say %q", err, tc.hint)
							}
						}
					}
					closeTest(t, s)
				})
			}
			t.Logf("%d of %d requests failed", failed, 3*faultPoints)
			if failed < faultPoints || failed > 3*faultPoints-faultPoints/8 {
				t.Errorf("%d of %d requests failed: want some that need the disk, and some that do not", failed, 3*faultPoints)
			}
		})
	}
}

// TestStalledPlaces: what a hanging transfer uses stays out of use, and comes
// back when it reports.
func TestStalledPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hang atomic.Bool
		fs := &vfs.Faults{FS: &vfs.Memory{}, Plan: func(op vfs.Op) vfs.Fault {
			if hang.Load() && !op.Write {
				return vfs.Stall
			}
			return vfs.None
		}}
		s := openTest(t, faultConfig(fs))
		q, err := newTestSequence(s, SequenceOptions{Tokens: 100})
		if err != nil {
			t.Fatal(err)
		}
		if err := q.extend(t.Context(), ids(0, 100)); err != nil {
			t.Fatal(err)
		}
		hang.Store(true)
		err = q.recall(t.Context(), 0, q.all(), nil)
		if err == nil {
			t.Fatal("recall did not wait for the disk")
		}
		named(t, 0, err, ErrTimeout)
		q.Free()
		stalled := fs.Stalled()
		if st := s.Stats(); stalled == 0 || st.UnderWay < stalled || st.Live != st.UnderWay {
			t.Errorf("%d transfers hang, %d under way, %d blocks live", stalled, st.UnderWay, st.Live)
		}
		if err := s.Check(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); !errors.Is(err, ErrTimeout) {
			t.Errorf("close: %v, want %v", err, ErrTimeout)
		}
		hang.Store(false)
		fs.Release()
		closeTest(t, s)
		if err := s.Close(); !errors.Is(err, ErrClosed) {
			t.Errorf("close again: %v, want %v", err, ErrClosed)
		}
	})
}

// TestCorruptIsNotShared: a block that can not be trusted is not handed to
// others, and those who come later compute it again.
func TestCorruptIsNotShared(t *testing.T) {
	var flip atomic.Bool
	fs := &vfs.Faults{FS: &vfs.Memory{}, Plan: func(op vfs.Op) vfs.Fault {
		if flip.Load() && !op.Write {
			return vfs.FlipBit
		}
		return vfs.None
	}}
	cfg := faultConfig(fs)
	cfg.Slots, cfg.HostPages = 2, 1
	s := openTest(t, cfg)
	prompt := ids(0, 41)
	a, err := newTestSequence(s, SequenceOptions{Tokens: 60})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.extend(t.Context(), prompt); err != nil {
		t.Fatal(err)
	}
	b, err := newTestSequence(s, SequenceOptions{Tokens: 60, Prefix: prompt})
	if err != nil {
		t.Fatal(err)
	}
	if b.Shared() != 40 {
		t.Fatalf("%d tokens shared, want 40", b.Shared())
	}
	flip.Store(true)
	err = b.recall(t.Context(), 1, [][]int32{{5}, {}}, nil)
	if err == nil {
		t.Fatal("the flipped bit was not found")
	}
	named(t, 1, err, ErrCorrupt)
	if !strings.Contains(err.Error(), "sequence 1, layer 1, head 0, block 5 (record ") || !strings.Contains(err.Error(), "crc ") {
		t.Error(err)
	}
	flip.Store(false)
	c, err := newTestSequence(s, SequenceOptions{Tokens: 60, Prefix: prompt})
	if err != nil {
		t.Fatal(err)
	}
	if c.Shared() != 20 {
		t.Errorf("%d tokens shared, want the 20 before the corrupt block", c.Shared())
	}
	if err := c.extend(t.Context(), prompt[c.Len():]); err != nil {
		t.Fatal(err)
	}
	if err := c.recall(t.Context(), 1, c.all(), nil); err != nil {
		t.Error(err)
	}
	for _, q := range []*testSequence{a, b, c} {
		q.Free()
	}
	closeTest(t, s)
}
