package compute

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// naivePool is exact LRU by walking: the twin that Pool is compared with.
type naivePool struct {
	slots int
	held  map[int32]*naiveBlock // by block id
}

type naiveBlock struct {
	used int64
	pins int
}

// resolve returns which of want were missed and which blocks were evicted.
func (p *naivePool) resolve(want []int32, step int64) (done int, missed, evicted []int32) {
	there := make([]bool, len(want))
	for i, id := range want {
		if b := p.held[id]; b != nil {
			b.used = step
			b.pins++
			there[i] = true
		}
	}
	for i, id := range want {
		if there[i] {
			continue
		}
		if b := p.held[id]; b != nil {
			b.pins++
			continue
		}
		if len(p.held) == p.slots {
			old, ok := p.oldest()
			if !ok {
				for j := i; j < len(want); j++ {
					if there[j] {
						p.held[want[j]].pins--
					}
				}
				return i, missed, evicted
			}
			delete(p.held, old)
			evicted = append(evicted, old)
		}
		p.held[id] = &naiveBlock{used: step, pins: 1}
		missed = append(missed, int32(i))
	}
	return len(want), missed, evicted
}

func (p *naivePool) oldest() (id int32, ok bool) {
	for k, b := range p.held {
		if b.pins == 0 && (!ok || b.used < p.held[id].used || b.used == p.held[id].used && k < id) {
			id, ok = k, true
		}
	}
	return id, ok
}

func TestPoolIsExactLRU(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := rapid.IntRange(1, 40).Draw(t, "slots")
		ids := rapid.IntRange(1, 80).Draw(t, "ids")
		p, twin := NewPool(slots, ids), &naivePool{slots: slots, held: map[int32]*naiveBlock{}}
		var step int64
		var pinned []int32 // slots with a pin that is still to be taken back
		unpin := func(from, to int) {
			for _, s := range pinned[from:to] {
				twin.held[p.Block[s]].pins--
			}
			p.Unpin(pinned[from:to])
			pinned = slices.Delete(pinned, from, to)
		}
		wants := rapid.SliceOfN(rapid.Int32Range(0, int32(ids-1)), 0, 50)
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if err := p.Check(); err != nil {
					t.Fatal(err)
				}
				if got, want := p.Free(), slots-len(twin.held); got != want {
					t.Fatalf("%d slots free, want %d", got, want)
				}
				for id, s := range p.SlotOf {
					b := twin.held[int32(id)]
					if (s >= 0) != (b != nil) {
						t.Fatalf("block %d in slot %d, twin %v", id, s, b)
					}
					if b != nil && (p.Used[s] != b.used || int(p.Pins[s]) != b.pins) {
						t.Fatalf("block %d used %d pins %d, want %d and %d", id, p.Used[s], p.Pins[s], b.used, b.pins)
					}
				}
			},
			"step": func(*rapid.T) { step++ },
			"resolve": func(t *rapid.T) {
				want := wants.Draw(t, "want")
				got := make([]int32, len(want))
				done, missed, evicted := p.Resolve(want, got, step, nil, nil)
				wantDone, wantMissed, wantEvicted := twin.resolve(want, step)
				if done != wantDone || !slices.Equal(missed, wantMissed) || !slices.Equal(evicted, wantEvicted) {
					t.Fatalf("resolve %v: %d served, missed %v, evicted %v; want %d, %v, %v",
						want, done, missed, evicted, wantDone, wantMissed, wantEvicted)
				}
				for i, s := range got {
					if i >= done && s != -1 || i < done && p.Block[s] != want[i] {
						t.Fatalf("resolve %v: slots %v", want, got)
					}
				}
				pinned = append(pinned, got[:done]...)
			},
			"unpin": func(t *rapid.T) {
				from := rapid.IntRange(0, len(pinned)).Draw(t, "from")
				unpin(from, rapid.IntRange(from, len(pinned)).Draw(t, "to"))
			},
			"unpin all": func(*rapid.T) { unpin(0, len(pinned)) },
			"touch": func(t *rapid.T) {
				want := wants.Draw(t, "want")
				p.Touch(want, step)
				for _, id := range want {
					if b := twin.held[id]; b != nil {
						b.used = step
					}
				}
			},
			"drop": func(t *rapid.T) {
				id := rapid.Int32Range(0, int32(ids-1)).Draw(t, "id")
				b := twin.held[id]
				if got, want := p.Drop(id), b == nil || b.pins == 0; got != want {
					t.Fatalf("drop of block %d: %v, want %v", id, got, want)
				}
				if b != nil && b.pins == 0 {
					delete(twin.held, id)
				}
			},
		})
	})
}

func TestResolveKeepsWhatIsWanted(t *testing.T) {
	p := NewPool(3, 8)
	slots := make([]int32, 3)
	p.Resolve([]int32{4, 5, 6}, slots, 1, nil, nil)
	p.Unpin(slots)
	// 4 is the next to go by id, but it is wanted itself, after the miss.
	done, missed, evicted := p.Resolve([]int32{7, 4}, slots, 2, nil, nil)
	if done != 2 || !slices.Equal(missed, []int32{0}) || !slices.Equal(evicted, []int32{5}) {
		t.Errorf("served %d, missed %v, evicted %v; want 2, [0], [5]", done, missed, evicted)
	}
}

func TestPoolCheckFindsDamage(t *testing.T) {
	for name, damage := range map[string]func(*Pool){
		"two names":    func(p *Pool) { p.SlotOf[7] = 0 },
		"lost":         func(p *Pool) { p.SlotOf[0] = -1 },
		"free twice":   func(p *Pool) { p.free = append(p.free, p.free[0]) },
		"pins":         func(p *Pool) { p.Pins[1] = -1 },
		"not in order": func(p *Pool) { p.order.Remove(1) },
		"behind":       func(p *Pool) { p.order.Put(1, 1, 99) },
		"heap":         func(p *Pool) { p.order.time[p.order.First()] = 50; p.Used[p.order.First()] = 50 },
	} {
		t.Run(name, func(t *testing.T) {
			p := NewPool(4, 8)
			slots := make([]int32, 3)
			p.Resolve([]int32{0, 1, 2}, slots, 1, nil, nil)
			p.Unpin(slots)
			if err := p.Check(); err != nil {
				t.Fatal(err)
			}
			damage(p)
			if p.Check() == nil {
				t.Error("damage was not found")
			}
		})
	}
}

// BenchmarkResolve resolves a selection of 64 blocks a head for 64 layers and
// heads, of which one in fifty is new, over a pool of twice the selection.
func BenchmarkResolve(b *testing.B) {
	const heads, chosen = 64, 64
	for _, missRate := range []int{0, 2, 100} {
		b.Run(fmt.Sprintf("miss=%d%%", missRate), func(b *testing.B) {
			ids := heads * chosen * 8
			p := NewPool(heads*chosen*2, ids)
			want := make([][]int32, heads)
			for h := range want {
				for i := range chosen {
					want[h] = append(want[h], int32(h*chosen*8+i))
				}
			}
			slots := make([]int32, chosen)
			var missed, evicted []int32
			next, n, misses := make([]int, heads), 0, 0
			for step := int64(1); b.Loop(); step++ {
				for h := range want {
					for i := range want[h] {
						if n++; n*missRate%100 < missRate {
							next[h]++
							want[h][i] = int32(h*chosen*8 + (chosen+next[h])%(chosen*8))
						}
					}
					_, missed, evicted = p.Resolve(want[h], slots, step, missed[:0], evicted[:0])
					p.Unpin(slots)
					misses += len(missed)
				}
			}
			b.ReportMetric(float64(misses)/float64(b.N*heads*chosen), "misses/block")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*heads*chosen), "ns/block")
		})
	}
}
