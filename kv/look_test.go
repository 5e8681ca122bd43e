package kv

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"nosa/kv/vfs"
)

var everything = Range{0, 1 << 30}

// checkLook proves that what can be seen of a store is what its books say.
func checkLook(t interface {
	Helper()
	Fatalf(string, ...any)
}, s *Store, live []*testSequence) {
	t.Helper()
	width := s.cfg.Layers * s.cfg.Layout.Heads
	tally := func(cells []Cell) (st Stats) {
		for _, c := range cells {
			st.Live++
			for _, v := range []struct {
				w Where
				n *int
			}{{InSlot, &st.InSlot}, {InHost, &st.InHost}, {OnDisk, &st.OnDisk}} {
				if c.Where&v.w != 0 {
					*v.n++
				}
			}
			if c.Wanted > WatchedSteps || c.Where&Selected != 0 && c.Wanted == 0 || s.watched == nil && c.Wanted > 0 {
				t.Fatalf("watched %v, %+v", s.watched != nil, c)
			}
			if home := c.Where & (InSlot | InHost | OnDisk); c.Where&Unsealed != 0 && home != 0 || c.Where&(Unsealed|Moving) == 0 && home == 0 {
				t.Fatalf("a block is %08b", c.Where)
			}
		}
		return st
	}
	equal := func(got, want Stats) {
		t.Helper()
		if got.Live != want.Live || got.InSlot != want.InSlot || got.InHost != want.InHost || got.OnDisk != want.OnDisk {
			t.Fatalf("%d blocks, %d in slots, %d in pages, %d on disk: want %d, %d, %d, %d",
				got.Live, got.InSlot, got.InHost, got.OnDisk, want.Live, want.InSlot, want.InHost, want.OnDisk)
		}
	}
	// Until a transfer reports, what is seen may change from one look to the next.
	still := s.mover.underWay == 0
	for _, q := range live {
		v := q.Look(everything, everything)
		if n := len(q.columns); len(v.Cells) != n*width || len(v.Numbers) != n || v.Total != n {
			t.Fatalf("%d cells of %d columns", len(v.Cells), n)
		}
		if got := tally(v.Cells); still {
			equal(got, q.Stats())
		}
	}
	v := s.LookCached(everything, everything)
	if v.Total != s.cached.n || len(v.Cells) != v.Total*width || len(v.Numbers) != v.Total {
		t.Fatalf("%d cells of %d cached columns, want %d columns", len(v.Cells), v.Total, s.cached.n)
	}
	if got := tally(v.Cells); still && len(live) == 0 && s.dying == 0 {
		equal(got, s.Stats())
	}
}

// TestLook: a view has the layers, columns and steps that were asked for.
func TestLook(t *testing.T) {
	ctx := context.Background()
	for name, cfg := range map[string]Config{
		"slots":          {Blocks: 80},
		"slots and host": {Blocks: 80, Slots: 9, HostPages: 80},
		"three tiers":    {Blocks: 80, Slots: 9, HostPages: 9, Disk: &Disk{FS: &vfs.Memory{}, Dir: "disk"}},
		"copied":         {Blocks: 80, Slots: 9, HostPages: 9, Disk: &Disk{FS: &vfs.Memory{}, Dir: "disk"}, Copying: true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Retain = true
			s := openTest(t, cfg)
			defer closeTest(t, s)
			q, err := newTestSequence(s, SequenceOptions{Tokens: 60})
			if err != nil {
				t.Fatal(err)
			}
			s.BeginStep()
			if err := q.extend(ctx, ids(1, 41)); err != nil { // ten blocks and a token
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(1, 2))
			// history is, by layer, head and block, what was wanted, the last step first.
			history := make([][]bool, 2*2*11)
			s.Watch(true)
			for range 70 {
				s.BeginStep()
				for layer := range 2 {
					want := q.all()
					for h := range want {
						want[h] = slices.DeleteFunc(want[h], func(b int32) bool { return r.IntN(12) < int(b) })
						for b := range 11 {
							at := &history[(layer*2+h)*11+b]
							*at = slices.Insert(*at, 0, slices.Contains(want[h], int32(b)))
						}
					}
					if err := q.recall(ctx, layer, want, nil); err != nil {
						t.Fatal(err)
					}
				}
				v := q.Look(everything, everything)
				for i, c := range v.Cells {
					n := 0
					for _, w := range history[i][:min(WatchedSteps, len(history[i]))] {
						if w {
							n++
						}
					}
					if int(c.Wanted) != n || (c.Where&Selected != 0) != history[i][0] {
						t.Fatalf("cell %d is %+v, want %d of %v", i, c, n, history[i])
					}
					if open := i%11 == 10; (c.Where&Unsealed != 0) != open {
						t.Fatalf("cell %d is %+v", i, c)
					}
				}
			}
			whole := q.Look(everything, everything)
			part := q.Look(Range{1, 9}, Range{3, 5})
			if part.Layers != (Range{1, 2}) || part.Columns != (Range{3, 5}) || part.Total != 11 || part.Heads != 2 || !slices.Equal(part.Numbers, []int32{3, 4}) ||
				!slices.Equal(part.Cells, []Cell{whole.Cells[2*11+3], whole.Cells[2*11+4], whole.Cells[3*11+3], whole.Cells[3*11+4]}) {
				t.Errorf("%+v of %+v", part, whole)
			}
			for _, odd := range []Range{{-3, -1}, {5, 2}, {99, 100}} {
				if v := q.Look(odd, odd); len(v.Cells) != 0 || v.Layers.Len() < 0 || v.Columns.Len() < 0 {
					t.Errorf("%+v gives %+v", odd, v)
				}
			}
			s.Watch(false)
			if v := q.Look(everything, everything); v.Cells[0].Wanted != 0 || s.watched != nil {
				t.Errorf("nobody watches: %+v", v.Cells[0])
			}
			q.Free()
			if v := q.Look(everything, everything); v.Total != 0 || len(v.Cells) != 0 {
				t.Errorf("of a sequence that has ended: %+v", v)
			}
			v := s.LookCached(everything, Range{1, 4})
			if v.Total != 10 || !slices.Equal(v.Numbers, []int32{1, 2, 3}) || len(v.Cells) != 12 {
				t.Errorf("cached: %+v", v)
			}
		})
	}
}

// TestLookBounds: a look at a large context is cut to what takes no time.
func TestLookBounds(t *testing.T) {
	s := openTest(t, Config{Layers: 5, Blocks: 5 * 2 * 9000})
	defer closeTest(t, s)
	q, err := s.NewSequence(SequenceOptions{Tokens: 4 * 9000})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Free()
	if err := q.Reserve(4 * 9000); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		layers, columns Range
		want            Range
	}{
		{everything, everything, Range{0, 3}}, // of 18,000 cells each
		{Range{3, 5}, everything, Range{3, 5}},
		{everything, Range{8000, 9000}, Range{0, 5}},
	} {
		v := q.Look(tc.layers, tc.columns)
		if v.Layers != tc.want || len(v.Cells) > MaxCells || len(v.Cells) != v.Layers.Len()*2*v.Columns.Len() || v.Columns.To != 9000 {
			t.Errorf("%v of %v: %v, %v, %d cells", tc.layers, tc.columns, v.Layers, v.Columns, len(v.Cells))
		}
	}
}

// BenchmarkLook: as many cells as can be looked at at a time.
func BenchmarkLook(b *testing.B) {
	s := openTest(b, Config{Layers: 8, Blocks: 8 * 2 * 4096, Slots: 9000, HostPages: 8 * 2 * 4096})
	defer closeTest(b, s)
	q, err := newTestSequence(s, SequenceOptions{Tokens: 4 * 4096})
	if err != nil {
		b.Fatal(err)
	}
	defer q.Free()
	s.Watch(true)
	if err := q.extend(context.Background(), ids(0, 4*4096)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if v := q.Look(everything, everything); len(v.Cells) != MaxCells {
			b.Fatal(len(v.Cells))
		}
	}
}

// BenchmarkWatch: what a recall of 2×64 blocks that are in slots takes, without and with
// somebody who watches.
func BenchmarkWatch(b *testing.B) {
	for _, on := range []bool{false, true} {
		b.Run(map[bool]string{false: "off", true: "on"}[on], func(b *testing.B) {
			s, q := benchStore(b, Config{HostPages: 2 * 64}, 64)
			defer closeTest(b, s)
			defer q.Free()
			s.Watch(on)
			want := make([][]int32, 2)
			for b.Loop() {
				walk(b, s, q, want, 0, 64)
			}
		})
	}
}
