package kv

import (
	"errors"
	"slices"
	"testing"

	"nosa/compute"
)

// TestSealTiles: blocks that are sealed together hold what those sealed one by one do, WhereAll
// and Recall find them in the same slots, and counters add up.
func TestSealTiles(t *testing.T) {
	for name, cfg := range map[string]Config{
		"resident":  {Blocks: 60},
		"above":     {Blocks: 60, HostPages: 60},
		"offloaded": {Blocks: 60, Slots: 16, HostPages: 60, Copying: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, cfg)
			l := s.cfg.Layout
			q := mustNew(t, s, SequenceOptions{Tokens: 5 * l.Block, NoShare: true})
			const full = 3
			s.BeginStep()
			if err := q.Reserve(full*l.Block + 1); err != nil {
				t.Fatal(err)
			}
			if s.Together() < full {
				t.Fatalf("%d tiles may be sealed together, want %d", s.Together(), full)
			}
			for layer := range s.cfg.Layers {
				var tiles []compute.Tile
				var blocks [][]byte // by tile and head: what a block is to hold
				for i := range full {
					tail := make([]float32, l.Heads*2*l.Block*l.Dim)
					for j := range tail {
						tail[j] = float32(1000*layer + 100*i + j%37)
					}
					tiles = append(tiles, compute.Tile{N: l.Block, Pos: i * l.Block, Tables: q.Tables(layer), Tail: compute.F32s(tail, l.Heads, 2, l.Block, l.Dim)})
					for h := range l.Heads {
						n := l.Block * l.Dim
						b := make([]byte, l.BlockBytes())
						l.EncodeBlock(b, tail[h*2*n:][:n], tail[(h*2+1)*n:][:n])
						blocks = append(blocks, b)
					}
				}
				if err := q.SealTiles(t.Context(), compute.Reference{}, tiles, layer); err != nil {
					t.Fatal(err)
				}
				if err := q.SealTiles(t.Context(), compute.Reference{}, tiles, layer); err != nil { // they are full already
					t.Fatal(err)
				}
				want := make([][]int32, l.Heads)
				for h := range want {
					want[h] = []int32{0, 1, 2}
				}
				r := s.Recall(t.Context(), q.Sequence, layer, want)
				if !r.Next(t.Context()) || !r.Last() {
					t.Fatalf("not one round: %v", r.Err())
				}
				slots := make([][]int32, l.Heads)
				for _, p := range r.Parts() {
					slots[p.Head] = slices.Clone(p.Slots)
					for i, slot := range p.Slots {
						if got := s.cache.SlotData(slot); !slices.Equal(got, blocks[i*l.Heads+p.Head]) {
							t.Errorf("layer %d, head %d, block %d is not what was sealed", layer, p.Head, i)
						}
					}
				}
				r.Close()
				if s.Resident() {
					before := s.Stats().Total
					where := make([][]int32, l.Heads)
					q.WhereAll(layer, full, 1, where)
					for h := range where {
						if !slices.Equal(where[h], slots[h]) {
							t.Errorf("layer %d, head %d: slots %v, a recall says %v", layer, h, where[h], slots[h])
						}
					}
					after := s.Stats().Total
					if n := int64((full + 1) * l.Heads); after.Selected-before.Selected != n || after.Hits-before.Hits != n {
						t.Errorf("%d selected, %d hits, want %d", after.Selected-before.Selected, after.Hits-before.Hits, n)
					}
				}
			}
			q.Free()
			if err := q.SealTiles(t.Context(), compute.Reference{}, nil, 0); !errors.Is(err, ErrClosed) {
				t.Errorf("after the end: %v, want %v", err, ErrClosed)
			}
			closeTest(t, s)
		})
	}
}

// TestResident: blocks that may move, and stores that somebody watches, are not.
func TestResident(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  Config
		want bool
	}{
		"all in slots":  {Config{Blocks: 40}, true},
		"a tier below":  {Config{Blocks: 40, HostPages: 40}, true},
		"fewer slots":   {Config{Blocks: 40, Slots: 39, HostPages: 40}, false},
		"keep selected": {Config{Blocks: 40, HostPages: 40, Keep: KeepSelected}, false},
		"traced":        {Config{Blocks: 40, Trace: func(Trace) {}}, false},
	} {
		s := openTest(t, tc.cfg)
		if got := s.Resident(); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
		s.Watch(true)
		if s.Resident() {
			t.Errorf("%s: resident while it is watched", name)
		}
		closeTest(t, s)
	}
}
