package kv

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"nosa/compute"
	"nosa/kv/vfs"
)

// present lists the full blocks of a layer that are in the table, by head.
func (q *testSequence) present(layer int) [][]int32 {
	want := q.all()
	for h := range want {
		if list := q.Numbers(layer, h); list != nil {
			n, _ := slices.BinarySearch(list, int32(q.full()))
			want[h] = slices.Clone(list[:n])
		}
	}
	return want
}

// replace drops blocks of a layer and head, and writes new ones into the first of the holes.
func (q *testSequence) replace(ctx context.Context, layer, head int, drop []int32, n int, seed byte) error {
	q.Rewrite(q.Len())
	if err := q.Drop(layer, head, drop); err != nil {
		return err
	}
	for i, b := range drop {
		key := [3]int{layer, head, int(b)}
		delete(q.written, key)
		if i >= n {
			continue
		}
		data := bytes.Repeat([]byte{seed, byte(i), byte(b)}, q.s.cfg.Layout.BlockBytes())[:q.s.cfg.Layout.BlockBytes()]
		var err error
		if i%2 == 0 {
			err = q.WriteBytes(ctx, layer, head, int(b), data)
		} else {
			l := q.s.cfg.Layout
			x := make([]float32, 2*l.Heads*l.Block*l.Dim)
			for j := range x {
				x[j] = float32(int(seed) + j)
			}
			own := x[head*2*l.Block*l.Dim:][:2*l.Block*l.Dim]
			l.EncodeBlock(data, own[:l.Block*l.Dim], own[l.Block*l.Dim:])
			err = q.Write(ctx, layer, head, int(b), compute.F32s(x, l.Heads, 2, l.Block, l.Dim))
		}
		if err != nil {
			return err
		}
		q.written[key] = data
	}
	return nil
}

// TestRandomRewrites does what callers do that rewrite blocks, in any order, under any budget,
// beside others that share them: the books are right after each, every block delivered is the one
// that was sealed or written, and nobody else sees what was written.
func TestRandomRewrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		cfg := Config{Layout: testLayout, Layers: rapid.IntRange(1, 2).Draw(t, "layers"), Workers: 3}
		width := cfg.Layers * cfg.Layout.Heads
		cfg.Blocks = width * rapid.SampledFrom([]int{60, 24, 8}).Draw(t, "columns")
		cfg.Spares = cfg.Blocks
		switch rapid.IntRange(0, 2).Draw(t, "tiers") {
		case 1:
			cfg.Slots, cfg.HostPages = rapid.IntRange(2, cfg.Blocks).Draw(t, "slots"), cfg.Blocks
		case 2:
			cfg.Slots, cfg.HostPages = rapid.IntRange(2, cfg.Blocks).Draw(t, "slots"), rapid.IntRange(1, cfg.Blocks/2).Draw(t, "pages")
			cfg.Disk = &Disk{FS: &vfs.Memory{}, Dir: "disk", Lasts: rapid.Bool().Draw(t, "lasts")}
		}
		cfg.Copying, cfg.Retain = rapid.Bool().Draw(t, "copying"), rapid.Bool().Draw(t, "retain")
		s := openTest(&rapidTB{T: t}, cfg)
		var live []*testSequence
		pick := func(t *rapid.T) *testSequence {
			if len(live) == 0 {
				t.Skip("no sequence")
			}
			return live[rapid.IntRange(0, len(live)-1).Draw(t, "sequence")]
		}
		full := func(t *rapid.T, err error) {
			if err != nil && !errors.Is(err, ErrFull) && !errors.Is(err, ErrLength) {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if err := s.Check(); err != nil {
					t.Fatal(err)
				}
			},
			"new": func(t *rapid.T) {
				if len(live) == 4 {
					t.Skip("enough")
				}
				o := SequenceOptions{
					Tokens: rapid.SampledFrom([]int{90, 40}).Draw(t, "tokens"), Rewrites: rapid.IntRange(0, 3).Draw(t, "rewrites") > 0,
					NoShare: rapid.IntRange(0, 3).Draw(t, "alone") == 0, Promise: rapid.Bool().Draw(t, "promise"), Prefix: ids(0, rapid.IntRange(1, 40).Draw(t, "prompt")),
				}
				q, err := newTestSequence(s, o)
				if full(t, err); err != nil {
					return
				}
				live = append(live, q)
				full(t, q.extend(ctx, o.Prefix[q.Len():]))
			},
			"step": func(*rapid.T) { s.BeginStep() },
			"extend": func(t *rapid.T) {
				full(t, pick(t).extend(ctx, ids(rapid.IntRange(0, 2).Draw(t, "first"), rapid.IntRange(1, 9).Draw(t, "n"))))
			},
			"rewrite": func(t *rapid.T) {
				q := pick(t)
				if !q.opt.Rewrites {
					t.Skip("it does not")
				}
				for layer := range cfg.Layers {
					for h, list := range q.present(layer) {
						var drop []int32
						for _, b := range list {
							if rapid.IntRange(0, 3).Draw(t, "drop") > 0 {
								drop = append(drop, b)
							}
						}
						if err := q.replace(ctx, layer, h, drop, rapid.IntRange(0, len(drop)).Draw(t, "write"), byte(rapid.IntRange(0, 255).Draw(t, "seed"))); err != nil {
							if !errors.Is(err, ErrFull) || q.opt.Promise {
								t.Fatal(err)
							}
							q.Free() // it shares what it has dropped, and there is no room for more
							live = slices.DeleteFunc(live, func(x *testSequence) bool { return x == q })
							return
						}
						if err := s.Check(); err != nil {
							t.Fatal(err)
						}
					}
				}
				if rapid.Bool().Draw(t, "goes on") {
					full(t, q.extend(ctx, ids(1, 1))) // which ends the step
				}
			},
			"recall": func(t *rapid.T) {
				q := pick(t)
				for layer := range cfg.Layers {
					if err := q.recall(ctx, layer, q.present(layer), nil); err != nil {
						t.Fatal(err)
					}
				}
			},
			"forget": func(*rapid.T) { s.Forget() },
			"free": func(t *rapid.T) {
				q := pick(t)
				q.Free()
				live = slices.DeleteFunc(live, func(x *testSequence) bool { return x == q })
			},
		})
		for _, q := range live {
			q.Free()
		}
		closeTest(t, s)
	})
}

// TestRewriteGivesBack: what is dropped leaves every tier, ids are used again, and a hole can
// not be recalled.
func TestRewriteGivesBack(t *testing.T) {
	s := openTest(t, Config{Blocks: 80, Spares: 80, Slots: 8, HostPages: 80})
	q := mustNew(t, s, SequenceOptions{Tokens: 80, Rewrites: true, NoShare: true, Promise: true})
	mustExtend(t, q, ids(0, 42)) // ten full columns of two layers and two heads, and an open one
	for turn := range 30 {
		for layer := range 2 {
			for h, list := range q.present(layer) {
				if err := q.replace(t.Context(), layer, h, list, 3, byte(turn)); err != nil {
					t.Fatal(err)
				}
			}
			if err := q.recall(t.Context(), layer, q.present(layer), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if st := q.Stats(); st.Live != 4*4 {
		t.Errorf("%d blocks are held, want 3 full ones and an open one of each layer and head", st.Live)
	}
	if st := s.Stats(); st.Live > 16+st.UnderWay {
		t.Errorf("%d blocks live, %d transfers under way", st.Live, st.UnderWay)
	}
	if n := len(q.rewritten.spares); n > 20 {
		t.Errorf("%d spare columns for 3 blocks", n)
	}
	r := s.Recall(t.Context(), q.Sequence, 0, [][]int32{{9}, nil})
	if err := r.Err(); !errors.Is(err, ErrOpen) {
		t.Errorf("a hole: %v", err)
	}
	r.Close()
	q.Free()
	closeTest(t, s)
}
