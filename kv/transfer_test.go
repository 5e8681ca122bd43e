package kv

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nosa/compute"
	"nosa/kv/vfs"
)

// slowDevice has memory of its own, so to say: copies go through workers, and
// hang while held.
type slowDevice struct {
	compute.Reference
	held atomic.Pointer[chan struct{}]
	ups  atomic.Int32
}

func (d *slowDevice) wait() {
	if c := d.held.Load(); c != nil {
		<-*c
	}
}

func (d *slowDevice) CopySlot(c *compute.Cache, dst []byte, slot int32) {
	d.wait()
	d.Reference.CopySlot(c, dst, slot)
}

func (d *slowDevice) FillSlot(c *compute.Cache, slot int32, src []byte) {
	d.wait()
	d.ups.Add(1)
	d.Reference.FillSlot(c, slot, src)
}

func openSlow(t *testing.T, cfg Config) (*Store, *slowDevice) {
	t.Helper()
	dev := &slowDevice{}
	s, err := Open(dev, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.near, s.inPlace = false, false
	return s, dev
}

// TestSlowDevice: sealing goes on while copies hang, until no slot is left; then
// the request that needs one fails, and later the copies report.
func TestSlowDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dev := openSlow(t, Config{Layout: testLayout, Layers: 1, Blocks: 40, Slots: 6, HostPages: 40, Workers: 2, Timeout: time.Minute})
		q := mustNew(t, s, SequenceOptions{Tokens: 80})
		hang := make(chan struct{})
		dev.held.Store(&hang)
		mustExtend(t, q, ids(0, 12)) // six blocks in six slots
		if st := s.Stats(); st.UnderWay != 6 || st.InSlot != 6 || st.InHost != 0 {
			t.Errorf("%d copies under way, %d blocks in slots, %d in the host pool", st.UnderWay, st.InSlot, st.InHost)
		}
		begin := time.Now()
		err := q.extend(t.Context(), ids(0, 4))
		if !errors.Is(err, ErrTimeout) || time.Since(begin) != time.Minute {
			t.Errorf("after %v: %v, want %v", time.Since(begin), err, ErrTimeout)
		}
		named(t, 0, err)
		if wait := q.Stats().Layers[0].Wait; wait != time.Minute {
			t.Errorf("%v counted as waiting", wait)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("too slow for me"))
		defer cancel()
		if err := q.extend(ctx, ids(0, 4)); !errors.Is(err, context.Cause(ctx)) || context.Cause(ctx) == nil {
			t.Errorf("%v, want the context's cause", err)
		}
		q.Free()
		if st := s.Stats(); st.Live != 6 || st.FreeSlots != 0 {
			t.Errorf("%d blocks live and %d slots free under hanging copies", st.Live, st.FreeSlots)
		}
		dev.held.Store(nil)
		close(hang)
		closeTest(t, s)
	})
}

// TestNextRoundIsFetchedAhead: while the caller works on one round, the misses
// of the next are under way.
func TestNextRoundIsFetchedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dev := openSlow(t, Config{Layout: testLayout, Layers: 1, Blocks: 80, Slots: 8, HostPages: 80})
		q := mustNew(t, s, SequenceOptions{Tokens: 160})
		mustExtend(t, q, ids(0, 100))
		synctest.Wait()
		s.BeginStep()
		r := s.Recall(t.Context(), q.Sequence, 0, q.all())
		for round := int32(1); r.Next(t.Context()); round++ {
			synctest.Wait() // as long as the caller works
			if got, want := dev.ups.Load(), min(4*(round+1), 50); got < want-8 || got > want {
				t.Errorf("round %d: %d blocks have come, want about %d", round, got, want)
			}
			if round > 3 && dev.ups.Load() <= 4*round && r.left > 0 {
				t.Errorf("round %d: nothing of the next has come", round)
			}
		}
		if err := r.Err(); err != nil {
			t.Error(err)
		}
		r.Close()
		q.Free()
		closeTest(t, s)
	})
}

// stalledWrites is a disk in memory on which writes stand still while hang says so, until
// Release.
func stalledWrites(hang func() bool) *vfs.Faults {
	return &vfs.Faults{FS: &vfs.Memory{}, Plan: func(op vfs.Op) vfs.Fault {
		if op.Write && hang() {
			return vfs.Stall
		}
		return vfs.None
	}}
}

// TestUrgentFirst: what a recall waits for passes by what nobody does, and finds
// a worker even when writes hang.
func TestUrgentFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hang atomic.Bool
		fs := stalledWrites(hang.Load)
		cfg := faultConfig(fs)
		cfg.HostPages, cfg.Workers = 40, 2
		s := openTest(t, cfg)
		q := mustNew(t, s, SequenceOptions{Tokens: 400})
		mustExtend(t, q, ids(0, 100))
		for range 3 {
			synctest.Wait()
			s.BeginStep()
		}
		hang.Store(true)
		mustExtend(t, q, ids(0, 4)) // four more blocks: some are written to have room for the next
		for range 3 {
			synctest.Wait()
			s.BeginStep()
		}
		if fs.Stalled() == 0 {
			t.Fatal("no write hangs")
		}
		begin := time.Now()
		if err := q.recall(t.Context(), 0, [][]int32{{0, 1}, {0, 1}}, nil); err != nil {
			t.Error(err)
		}
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("waited %v behind writes", waited)
		}
		hang.Store(false)
		fs.Release()
		q.Free()
		closeTest(t, s)
	})
}

func TestFifo(t *testing.T) {
	var f fifo
	var got []int32
	for id := range int32(9) {
		f.push(transfer{id: id})
		if id%3 == 2 {
			for f.len() > int(8-id)/3 {
				got = append(got, f.pop().id)
			}
		}
	}
	for id := range int32(10000) { // never empty, and no longer for it
		f.push(transfer{id: id})
		f.push(transfer{id: id})
		f.pop()
		if f.len() > 5 {
			for range 4 {
				f.pop()
			}
		}
	}
	if len(f.q) > 100 || f.len() == 0 {
		t.Errorf("%d transfers take %d places", f.len(), len(f.q))
	}
	for f.len() > 0 {
		f.pop()
	}
	if want := []int32{0, 1, 2, 3, 4, 5, 6, 7, 8}; f.len() != 0 || !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
