package kv

import (
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"nosa/compute"
	"nosa/kv/vfs"
)

// directStore is a store over a real file, with blocks of a page each.
func directStore(t *testing.T, cfg Config) *Store {
	cfg.Layout = compute.Layout{Heads: 2, Dim: 16, Block: 64, Type: compute.KVBF16}
	cfg.Disk = &Disk{FS: vfs.OS{}, Dir: t.TempDir(), Direct: true}
	return openTest(t, cfg)
}

// TestLoads: blocks that the owner reads from disk itself are those that were
// written, with pages for few and for many, in place and copied, ahead and in time.
func TestLoads(t *testing.T) {
	for _, pages := range []int{1, 3, 40, 150} {
		for _, copying := range []bool{false, true} {
			s := directStore(t, Config{Layers: 2, Blocks: 400, Slots: 20, HostPages: pages, Copying: copying})
			q := mustNew(t, s, SequenceOptions{Tokens: 60 * 64})
			mustExtend(t, q, ids(0, 60*64))
			seed := rand.Uint64()
			rng := rand.New(rand.NewPCG(seed, 1))
			for range 30 {
				s.BeginStep()
				for layer := range 2 {
					want := make([][]int32, 2)
					for h := range want {
						for b := range 60 {
							if rng.IntN(4) == 0 {
								want[h] = append(want[h], int32(b))
							}
						}
					}
					s.Prefetch(q.Sequence, layer, want)
					if err := q.recall(t.Context(), layer, want, nil); err != nil {
						t.Fatalf("%d pages, copying %v, seed %d: %v", pages, copying, seed, err)
					}
				}
			}
			if got := s.Stats().Total.DiskHits; got == 0 {
				t.Errorf("%d pages: nothing came from disk", pages)
			}
			if err := s.Check(); err != nil {
				t.Error(err)
			}
			q.Free()
			closeTest(t, s)
		}
	}
}

// TestLoadsCorrupt: a block that is not what was written fails its recall, and no
// other.
func TestLoadsCorrupt(t *testing.T) {
	s := directStore(t, Config{Layers: 1, Blocks: 100, Slots: 4, HostPages: 4})
	q := mustNew(t, s, SequenceOptions{Tokens: 30 * 64})
	mustExtend(t, q, ids(0, 30*64))
	for s.Stats().UnderWay > 0 {
		time.Sleep(time.Millisecond)
	}
	onDisk := func(h int) (number int32, b *block) {
		for n, id := range q.Tables(0)[h] {
			if b := &s.blocks[id]; b.inRecord() && b.page < 0 && s.pool.SlotOf[id] < 0 {
				return int32(n), b
			}
		}
		t.Fatal("no block is on disk alone")
		return 0, nil
	}
	number, b := onDisk(0)
	b.crc++
	s.BeginStep()
	if err := q.recall(t.Context(), 0, [][]int32{{number}, nil}, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a damaged block: %v, want %v", err, ErrCorrupt)
	}
	if l := &s.mover.loads; l.reads != nil {
		whole := l.reads
		l.reads = short{whole}
		if err := q.recall(t.Context(), 0, [][]int32{{number}, nil}, nil); !errors.Is(err, ErrDisk) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a file that was cut: %v, want %v", err, ErrDisk)
		}
		l.reads = whole
	}
	other, _ := onDisk(1)
	if err := q.recall(t.Context(), 0, [][]int32{nil, {other}}, nil); err != nil {
		t.Error(err)
	}
	q.Free()
	closeTest(t, s)
}

// TestLoadsRefused: what the system does not take, workers read.
func TestLoadsRefused(t *testing.T) {
	s := directStore(t, Config{Layers: 1, Blocks: 100, Slots: 4, HostPages: 4})
	if s.mover.loads.reads == nil {
		t.Log("no such reads here")
	} else {
		s.mover.loads.reads = refusing{s.mover.loads.reads}
	}
	q := mustNew(t, s, SequenceOptions{Tokens: 30 * 64})
	mustExtend(t, q, ids(0, 30*64))
	for range 3 {
		s.BeginStep()
		if err := q.recall(t.Context(), 0, q.all(), nil); err != nil {
			t.Fatal(err)
		}
	}
	q.Free()
	closeTest(t, s)
}

// short reads half of everything.
type short struct{ vfs.Reads }

func (s short) Ended(to []vfs.Ended, wait time.Duration) []vfs.Ended {
	n := len(to)
	to = s.Reads.Ended(to, wait)
	for i := range to[n:] {
		to[n+i].N, to[n+i].Err = to[n+i].N/2, io.ErrUnexpectedEOF
	}
	return to
}

// refusing takes no read.
type refusing struct{ vfs.Reads }

func (refusing) Start([]vfs.Read) int { return 0 }
