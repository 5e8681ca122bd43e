package kv

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"nosa/kv/vfs"
)

// TestRandomLife does anything that callers do, in any order, under any budget,
// and proves after each that the books are right and every block delivered is
// the one that was sealed.
func TestRandomLife(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		cfg := Config{Layout: testLayout, Layers: rapid.IntRange(1, 3).Draw(t, "layers"), Workers: rapid.IntRange(1, 4).Draw(t, "workers")}
		width := cfg.Layers * cfg.Layout.Heads
		cfg.Blocks = width * rapid.SampledFrom([]int{40, 12, 3, 1}).Draw(t, "columns")
		tail := cfg.Blocks - width
		switch rapid.SampledFrom([]int{2, 1, 0}).Draw(t, "tiers") {
		case 0: // slots alone, or with a host pool that nothing depends on
			cfg.HostPages = rapid.SampledFrom([]int{0, cfg.Blocks, 1}).Draw(t, "pages")
		case 1:
			cfg.Slots = rapid.IntRange(1, cfg.Blocks).Draw(t, "slots")
			cfg.HostPages = max(1, tail+rapid.IntRange(0, width).Draw(t, "more pages"))
		default:
			cfg.Slots = rapid.IntRange(1, cfg.Blocks).Draw(t, "slots")
			cfg.HostPages = rapid.IntRange(1, max(1, cfg.Blocks/2)).Draw(t, "pages")
			cfg.Disk = &Disk{FS: &vfs.Memory{}, Dir: "disk", Records: rapid.IntRange(0, cfg.Blocks).Draw(t, "records"), Lasts: rapid.Bool().Draw(t, "lasts")}
		}
		if (cfg.HostPages >= tail || cfg.Disk != nil) && rapid.Bool().Draw(t, "selected") {
			cfg.Keep = KeepSelected
		}
		cfg.Copying = rapid.Bool().Draw(t, "copying")
		cfg.Retain = rapid.Bool().Draw(t, "retain")
		if cfg.Seats = rapid.SampledFrom([]int{0, 3, 1}).Draw(t, "seats"); cfg.HostPages == 1 && cfg.Disk == nil && tail > 1 {
			cfg.Seats = 0 // blocks that a step fills need homes
		} else if cfg.Seats > 0 && cfg.HostPages > 0 {
			cfg.StepSlots = 1 + rapid.IntRange(0, 9).Draw(t, "slots of steps")
		}
		s := openTest(&rapidTB{T: t}, cfg)
		steps := withSteps(s, cfg.StepSlots)
		s.near = !cfg.Copying || rapid.Bool().Draw(t, "near")
		var live []*testSequence
		var dead [][]int32 // what sequences had that have ended
		pick := func(t *rapid.T) *testSequence {
			if len(live) == 0 {
				t.Skip("no sequence")
			}
			return live[rapid.IntRange(0, len(live)-1).Draw(t, "sequence")]
		}
		check := func(t *rapid.T, q *testSequence, err error) {
			if err != nil && (!errors.Is(err, ErrFull) || q.opt.Promise) && !errors.Is(err, ErrLength) {
				t.Fatal(err)
			}
		}
		wants := func(t *rapid.T, q *testSequence) [][]int32 {
			r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "wanted"), 0))
			density := rapid.IntRange(1, 4).Draw(t, "quarters")
			want := q.all()
			for h := range want {
				want[h] = slices.DeleteFunc(want[h], func(int32) bool { return r.IntN(4) >= density })
			}
			return want
		}
		layer := func(t *rapid.T) int { return rapid.IntRange(0, cfg.Layers-1).Draw(t, "layer") }
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if err := s.Check(); err != nil {
					t.Fatal(err)
				}
				checkLook(t, s, live)
			},
			"watch": func(t *rapid.T) { s.Watch(rapid.Bool().Draw(t, "watch")) },
			"new": func(t *rapid.T) {
				if len(live) == 4 {
					t.Skip("enough")
				}
				o := SequenceOptions{Tokens: rapid.SampledFrom([]int{200, 60, 9, 0}).Draw(t, "tokens"), NoShare: rapid.IntRange(0, 4).Draw(t, "alone") == 0, Promise: rapid.Bool().Draw(t, "promise")}
				if len(live) > 0 && rapid.Bool().Draw(t, "like another") {
					like := live[rapid.IntRange(0, len(live)-1).Draw(t, "which")].tokens
					o.Prefix = slices.Clone(like[:rapid.IntRange(0, len(like)).Draw(t, "same")])
				}
				if len(dead) > 0 && rapid.Bool().Draw(t, "like a dead one") {
					like := dead[rapid.IntRange(0, len(dead)-1).Draw(t, "which")]
					o.Prefix = slices.Clone(like[:rapid.IntRange(0, len(like)).Draw(t, "same")])
				}
				o.Prefix = append(o.Prefix, ids(rapid.IntRange(0, 3).Draw(t, "other"), rapid.SampledFrom([]int{9, 40, 4, 1, 0}).Draw(t, "others"))...)
				q, err := newTestSequence(s, o)
				if o.Promise && errors.Is(err, ErrFull) {
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				live = append(live, q)
				check(t, q, q.extend(ctx, o.Prefix[q.Len():]))
			},
			"step": func(*rapid.T) { s.BeginStep() },
			"save": func(*rapid.T) { s.Save() },
			"extend": func(t *rapid.T) {
				q := pick(t)
				check(t, q, q.extend(ctx, ids(rapid.IntRange(0, 3).Draw(t, "first"), rapid.SampledFrom([]int{1, 2, 4, 7, 16, 33, 0}).Draw(t, "n"))))
			},
			"decode": func(t *rapid.T) {
				q := pick(t)
				for range rapid.IntRange(1, 9).Draw(t, "steps") {
					s.BeginStep()
					check(t, q, q.extend(ctx, ids(7, 3)))
					for layer := range cfg.Layers {
						if err := q.recall(ctx, layer, wants(t, q), nil); err != nil {
							t.Fatal(err)
						}
					}
				}
			},
			"decode seated": func(t *rapid.T) {
				if steps == nil || len(live) == 0 {
					t.Skip("nobody decodes by itself")
				}
				for range rapid.IntRange(1, 9).Draw(t, "steps") {
					qs := slices.DeleteFunc(slices.Clone(live), func(*testSequence) bool { return rapid.IntRange(0, 3).Draw(t, "is in it") == 0 })
					if _, err := steps.decodeSeated(ctx, qs, func(q *testSequence) [][]int32 { return wants(t, q) }); err != nil {
						t.Fatal(err)
					}
					if err := s.Check(); err != nil {
						t.Fatal(err)
					}
				}
			},
			"rise": func(t *rapid.T) { pick(t).Rise() },
			"recall": func(t *rapid.T) {
				q := pick(t)
				if err := q.recall(ctx, layer(t), wants(t, q), nil); err != nil {
					t.Fatal(err)
				}
			},
			"recall all": func(t *rapid.T) {
				q := pick(t)
				if err := q.recall(ctx, layer(t), q.all(), nil); err != nil {
					t.Fatal(err)
				}
			},
			"recall and leave": func(t *rapid.T) {
				q := pick(t)
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				err := q.recall(ctx, layer(t), wants(t, q), func() bool {
					if rapid.Bool().Draw(t, "cancel") {
						cancel()
					}
					return rapid.Bool().Draw(t, "stop")
				})
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
			},
			"prefetch": func(t *rapid.T) {
				q := pick(t)
				s.Prefetch(q.Sequence, layer(t), wants(t, q))
			},
			"forget": func(t *rapid.T) {
				if rapid.IntRange(0, 3).Draw(t, "keep them") > 0 {
					t.Skip("later")
				}
				s.Forget()
				if st := s.Stats(); st.Cached != 0 || len(live) == 0 && st.UnderWay == 0 && st.Live != 0 {
					t.Fatalf("%d blocks are cached, %d live", st.Cached, st.Live)
				}
			},
			"free": func(t *rapid.T) {
				q := pick(t)
				if rapid.SampledFrom([]bool{true, true, false}).Draw(t, "keep it") {
					t.Skip("later")
				}
				q.Free()
				q.Free()
				dead = append(dead, q.tokens)
				live = slices.DeleteFunc(live, func(x *testSequence) bool { return x == q })
			},
		})
		for _, q := range live {
			q.Free()
		}
		closeTest(t, s)
	})
}

// rapidTB lets helpers that take a testing.TB run inside a property.
type rapidTB struct {
	testing.TB
	T *rapid.T
}

func (r *rapidTB) Helper()           {}
func (r *rapidTB) Fatal(args ...any) { r.T.Fatal(args...) }
