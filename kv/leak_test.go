package kv

import (
	"context"
	"errors"
	"os"
	"runtime"
	"testing"

	"nosa/compute"
	"nosa/kv/vfs"
)

// TestCancel leaves recalls at every round, with the disk at work.
func TestCancel(t *testing.T) {
	fs := &vfs.Memory{}
	cfg := faultConfig(fs)
	cfg.Slots = 5
	s := openTest(t, cfg)
	q, err := newTestSequence(s, SequenceOptions{Tokens: 100})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.extend(t.Context(), ids(0, 100)); err != nil {
		t.Fatal(err)
	}
	mine := errors.New("the client has gone")
	for leave := range 30 {
		s.BeginStep()
		ctx, cancel := context.WithCancelCause(t.Context())
		round := 0
		if leave == 0 {
			cancel(mine)
		}
		err := q.recall(ctx, leave%2, q.all(), func() bool {
			if round++; round == leave {
				cancel(mine)
			}
			return false
		})
		cancel(nil)
		if round <= leave && err != nil && !errors.Is(err, mine) {
			t.Errorf("left at round %d: %v, want %v", leave, err, mine)
		}
		if round < leave && err != nil {
			t.Errorf("round %d: %v", leave, err)
		}
		if err := s.Check(); err != nil {
			t.Fatalf("left at round %d: %v", leave, err)
		}
	}
	if err := q.recall(t.Context(), 0, q.all(), nil); err != nil {
		t.Error(err)
	}
	q.Free()
	closeTest(t, s)
}

// TestNothingLeft opens and ends stores over a real directory: no file, no
// goroutine and no descriptor stays, whatever was under way.
func TestNothingLeft(t *testing.T) {
	dir := t.TempDir()
	before := runtime.NumGoroutine()
	files := openFiles(t)
	for range 5 {
		cfg := faultConfig(vfs.OS{})
		cfg.Disk.Dir, cfg.Disk.Direct = dir, true
		// 4 KiB blocks, so that the file is direct where the system has it.
		cfg.Layout = compute.Layout{Heads: 2, Dim: 64, Block: 16, Type: compute.KVBF16}
		s := openTest(t, cfg)
		q, err := newTestSequence(s, SequenceOptions{Tokens: 400})
		if err != nil {
			t.Fatal(err)
		}
		if err := q.extend(t.Context(), ids(0, 400)); err != nil {
			t.Fatal(err)
		}
		if err := q.recall(t.Context(), 1, q.all(), nil); err != nil {
			t.Fatal(err)
		}
		if s.Stats().OnDisk == 0 {
			t.Fatal("nothing is on disk")
		}
		s.Prefetch(q.Sequence, 0, q.all())
		r := s.Recall(t.Context(), q.Sequence, 0, q.all())
		r.Next(t.Context())
		r.Close()
		r.Close()
		q.Free()
		closeTest(t, s)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, were %d", n, before)
	}
	if n := openFiles(t); n > files {
		t.Errorf("%d open files, were %d", n, files)
	}
}

// openFiles counts descriptors where the system lists them, else 0.
func openFiles(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(fds)
}
