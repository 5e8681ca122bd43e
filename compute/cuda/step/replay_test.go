package step

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"nosa/compute"
)

// lru is a pool of slots for the blocks of all layers and heads.
type lru struct {
	slots      int
	held       map[int]int // place of an id
	ids        []int
	prev, next []int // of a place; 0 is the ring's own
}

func newLRU(slots int) *lru {
	p := &lru{slots: slots, held: map[int]int{}, ids: make([]int, 1, slots+1), prev: make([]int, 1, slots+1), next: make([]int, 1, slots+1)}
	return p
}

// use tells whether an id is held, and with fetch sees to it.
func (p *lru) use(id int, fetch bool) bool {
	at, hit := p.held[id]
	switch {
	case hit:
	case !fetch:
		return false
	case len(p.ids) <= p.slots:
		at = len(p.ids)
		p.ids, p.prev, p.next = append(p.ids, id), append(p.prev, at), append(p.next, at)
	default:
		at = p.prev[0] // the one that was used the longest ago
		delete(p.held, p.ids[at])
	}
	p.next[p.prev[at]], p.prev[p.next[at]] = p.next[at], p.prev[at]
	p.prev[at], p.next[at] = 0, p.next[0]
	p.prev[p.next[at]], p.next[0] = at, at
	p.held[id], p.ids[at] = at, id
	return hit
}

// misses plays a replay to a pool for all of its layers and heads, step by step from the
// first position on, and is the share of selected blocks that were missed in the steps
// from warm on. What a head selects and is there is used before
// anything is fetched for it. The own block takes a slot, as in what was measured, and is there.
func misses(r *Replay, slots float64, warm, steps int) float64 {
	o := r.o
	pool := newLRU(int(slots * float64(o.Select.K*o.Layers*o.Heads*len(r.first))))
	selected, missed := 0, 0
	var blocks, absent []int32
	for n := range steps {
		for layer := range o.Layers {
			for seat := range r.first {
				for head := range o.Heads {
					id := ((seat*o.Layers+layer)*o.Heads + head) << 16
					pos := int(r.first[seat]) + n
					blocks = r.Selection(blocks[:0], seat, layer, head, pos)
					absent = absent[:0]
					for _, b := range blocks {
						if !pool.use(id+int(b), false) {
							absent = append(absent, b)
						}
					}
					for _, b := range absent {
						pool.use(id+int(b), true)
						if n >= warm && int(b) < pos/o.Block {
							missed++
						}
					}
					if n >= warm {
						selected += len(blocks)
					}
				}
			}
		}
	}
	return float64(missed) / float64(selected)
}

var infllmv2 = compute.SelectParams{Init: 1, Local: 16, K: 64, ByQuery: true}

func newReplay(t testing.TB, o ReplayOptions, positions ...int) *Replay {
	t.Helper()
	r, err := NewReplay(o, positions)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestReplayMisses plays 256 steps of 16 KV heads, the pool being full, and holds what an
// LRU pool misses against the curve: to 7 % of it, and 0.05 % of the blocks.
func TestReplayMisses(t *testing.T) {
	for _, context := range []int{16384, 32768, 131072} {
		r := newReplay(t, ReplayOptions{Layers: 4, Heads: 2, Block: 64, Select: infllmv2, Steps: 640, Seed: 3}, context, context+17)
		for _, slots := range []float64{1, 1.25, 1.5, 2, 3, 4} {
			if slots*64*64 >= float64(context) {
				continue // all of it fits
			}
			t.Run(fmt.Sprintf("%d/%g", context, slots), func(t *testing.T) {
				got, want := misses(r, slots, 384, 640), MissRate(slots)
				t.Logf("%.2f %% missed, the curve has %.2f", 100*got, 100*want)
				if math.Abs(got-want) > 0.07*want+0.0005 {
					t.Errorf("%.2f %% missed, the curve has %.2f", 100*got, 100*want)
				}
			})
		}
	}
}

// TestReplayNew: of neighbouring steps as much differs as was asked for.
func TestReplayNew(t *testing.T) {
	for _, want := range []float64{0.05, 0.1, 0.161, 0.3} {
		r := newReplay(t, ReplayOptions{Layers: 2, Heads: 2, Block: 64, Select: infllmv2, Steps: 100, New: want, Seed: 9}, 32768)
		if got := misses(r, 1, 1, 100); math.Abs(got-want) > 0.01*want+0.0005 { // the window moves, and counts are whole
			t.Errorf("%.2f %% new, want %.2f", 100*got, 100*want)
		}
	}
}

// TestReplaySelection: what is selected is as compute.Select has it: K blocks, ascending,
// with the forced ones; at every position, there and back, in contexts that are just long
// enough to leave blocks out.
func TestReplaySelection(t *testing.T) {
	for name, tc := range map[string]struct {
		s     compute.SelectParams
		block int
		pos   []int
	}{
		"8b":         {infllmv2, 64, []int{64 * 64, 64*65 - 1, 100000, 63}},
		"one free":   {compute.SelectParams{Init: 1, Local: 2, K: 5}, 8, []int{40, 41, 500, 39}},
		"no forced":  {compute.SelectParams{K: 4}, 16, []int{64, 1000, 77}},
		"few blocks": {compute.SelectParams{Init: 2, Local: 3, K: 40}, 4, []int{160, 170, 179}},
	} {
		t.Run(name, func(t *testing.T) {
			const steps = 33
			o := ReplayOptions{Layers: 2, Heads: 3, Block: tc.block, Select: tc.s, Steps: steps, New: 0.5 / float64(tc.s.K), Seed: 5}
			r := newReplay(t, o, tc.pos...)
			changes, of := 0, 0
			for seat, first := range tc.pos {
				for layer := range o.Layers {
					for head := range o.Heads {
						var before []int32
						for n := range 3 * steps {
							pos, own := first+n, int32((first+n)/tc.block)
							got := r.Selection(nil, seat, layer, head, pos)
							if first/tc.block < tc.s.K {
								if len(got) > 0 {
									t.Fatalf("position %d: %v, where every block is selected", pos, got)
								}
								continue
							}
							if len(got) != tc.s.K || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) || got[len(got)-1] != own {
								t.Fatalf("position %d: %v", pos, got)
							}
							for b := range own + 1 {
								if forced := b < int32(tc.s.Init) || b >= own-int32(tc.s.Local); forced && !slices.Contains(got, b) {
									t.Fatalf("position %d: block %d is not selected: %v", pos, b, got)
								}
							}
							for _, b := range got {
								if n > 0 && !slices.Contains(before, b) && b != own {
									changes++
								}
							}
							if n > 0 {
								of++
							}
							before = got
							if at := 2*(steps-1) - n; n >= steps && at >= 0 && pos/tc.block == (first+at)/tc.block && !slices.Equal(got, r.Selection(nil, seat, layer, head, first+at)) {
								t.Fatalf("step %d is not step %d walked back", n, at)
							}
						}
					}
				}
			}
			if rate := float64(changes) / float64(of); rate < 0.4 || rate > 0.6 {
				t.Errorf("%.2f blocks change in a step, want 0.5", rate)
			}
		})
	}
}

// TestReplayAlone: a sequence's selections depend on its seat alone, and no two are alike.
func TestReplayAlone(t *testing.T) {
	o := ReplayOptions{Layers: 2, Heads: 2, Block: 64, Select: infllmv2, Steps: 5, Seed: 1}
	a, b := newReplay(t, o, 32768, 32768, 50000), newReplay(t, o, 32768)
	seen := map[string]string{}
	for seat := range 3 {
		for layer := range 2 {
			for head := range 2 {
				got := a.Selection(nil, seat, layer, head, int(a.first[seat]))
				if seat == 0 && !slices.Equal(got, b.Selection(nil, 0, layer, head, 32768)) {
					t.Errorf("layer %d, head %d: another selection beside others", layer, head)
				}
				key, name := fmt.Sprint(got[1:47]), fmt.Sprint(seat, layer, head)
				if seen[key] != "" {
					t.Errorf("%s selects what %s does", name, seen[key])
				}
				seen[key] = name
			}
		}
	}
}

func TestReplayRefuses(t *testing.T) {
	good := ReplayOptions{Layers: 1, Heads: 1, Block: 64, Select: infllmv2, Steps: 4}
	for name, change := range map[string]func(*ReplayOptions){
		"no layer":      func(o *ReplayOptions) { o.Layers = 0 },
		"one step":      func(o *ReplayOptions) { o.Steps = 1 },
		"nothing free":  func(o *ReplayOptions) { o.Select.K = 18 },
		"negative rate": func(o *ReplayOptions) { o.New = -0.1 },
		"all new":       func(o *ReplayOptions) { o.New = 0.8 },
		"not a number":  func(o *ReplayOptions) { o.New = math.NaN() },
	} {
		o := good
		if change(&o); true {
			if _, err := NewReplay(o, []int{32768}); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	}
	if _, err := NewReplay(good, []int{1 << 30}); err == nil {
		t.Error("a position beyond 16 bits of blocks: no error")
	}
}

// BenchmarkReplay records what a benchmark of 48 sequences of 32K needs.
func BenchmarkReplay(b *testing.B) {
	positions := slices.Repeat([]int{32767}, 48)
	for b.Loop() {
		newReplay(b, ReplayOptions{Layers: 32, Heads: 2, Block: 64, Select: infllmv2, Steps: 64, Seed: 1}, positions...)
	}
}
