package kv

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/kv/vfs"
)

// testLayout has small blocks of odd sizes: 2 heads of 3 channels, 4 tokens, 48
// bytes.
var testLayout = compute.Layout{Heads: 2, Dim: 3, Block: 4, Kernel: 4, Stride: 2, Scores: true, Type: compute.KVF16}

// testSequence drives a sequence as model and attention do, with contents that
// its token ids determine, and knows what every block must hold.
type testSequence struct {
	*Sequence
	s       *Store
	tokens  []int32
	written map[[3]int][]byte // by layer, head and number: what replaces it
}

func newTestSequence(s *Store, o SequenceOptions) (*testSequence, error) {
	q, err := s.NewSequence(o)
	if err != nil {
		return nil, err
	}
	return &testSequence{Sequence: q, s: s, tokens: slices.Clone(o.Prefix[:q.Len()]), written: map[[3]int][]byte{}}, nil
}

// mix is FNV-1a over numbers.
type mix uint64

func (h *mix) add(x int32) { *h = (*h ^ mix(uint32(x))) * 1099511628211 }

// content is the tail [2, Block, Dim] that these tokens make as their last block.
func (q *testSequence) content(layer, head int, upTo []int32) []float32 {
	var seed mix = 14695981039346656037
	seed.add(int32(layer))
	seed.add(int32(head))
	for _, id := range upTo {
		seed.add(id)
	}
	r := rand.New(rand.NewPCG(uint64(seed), 0))
	x := make([]float32, 2*q.s.cfg.Layout.Block*q.s.cfg.Layout.Dim)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// sealed is what the block must hold in any tier.
func (q *testSequence) sealed(layer, head, number int) []byte {
	if b := q.written[[3]int{layer, head, number}]; b != nil {
		return b
	}
	l := q.s.cfg.Layout
	x := q.content(layer, head, q.tokens[:(number+1)*l.Block])
	b := make([]byte, l.BlockBytes())
	l.EncodeBlock(b, x[:len(x)/2], x[len(x)/2:])
	return b
}

// extend appends tokens, as far as one step goes: reserved at once, each full
// block sealed in each layer, then all advanced.
func (q *testSequence) extend(ctx context.Context, ids []int32) error {
	if err := q.Reserve(len(ids)); err != nil {
		return err
	}
	q.Rise()
	l := q.s.cfg.Layout
	first, all := q.Len()/l.Block, slices.Concat(q.tokens, ids)
	for layer := range q.s.cfg.Layers {
		for b := first; b < len(all)/l.Block; b++ {
			t := compute.Tile{N: 1, Pos: b*l.Block + l.Block - 1, Tables: q.Tables(layer), Tail: q.Tail(layer)}
			for h := range l.Heads {
				copy(t.Tail.F32()[h*2*l.Block*l.Dim:], q.content(layer, h, all[:(b+1)*l.Block]))
			}
			if err := q.Seal(ctx, t, layer); err != nil {
				return err
			}
		}
	}
	q.tokens = all
	q.everyBlock(first, len(all)/l.Block, func(id int32, want []byte) {
		q.s.summary(id, want, func(b []byte, t compute.Tensor) { q.s.dev.Upload(t, b) })
	})
	q.Advance(ids)
	return nil
}

// full is the number of full blocks.
func (q *testSequence) full() int { return q.Len() / q.s.cfg.Layout.Block }

// recall wants blocks and compares what it gets. stop, if not nil, is asked
// before each round whether to leave it at that.
func (q *testSequence) recall(ctx context.Context, layer int, want [][]int32, stop func() bool) error {
	r := q.s.Recall(ctx, q.Sequence, layer, want)
	defer r.Close()
	got, rounds, last := make([][]int32, len(want)), 0, false
	for r.Next(ctx) {
		if last {
			return fmt.Errorf("layer %d: a round after %d, which was the last", layer, rounds)
		}
		rounds, last = rounds+1, r.Last()
		for _, p := range r.Parts() {
			if len(p.Blocks) == 0 || len(p.Blocks) != len(p.Slots) {
				return fmt.Errorf("part of %d blocks and %d slots", len(p.Blocks), len(p.Slots))
			}
			for i, b := range p.Blocks {
				slot := p.Slots[i]
				if have := q.s.cache.SlotData(slot); !bytes.Equal(have, q.sealed(layer, p.Head, int(b))) {
					return fmt.Errorf("layer %d, head %d, block %d: slot %d holds something else", layer, p.Head, b, slot)
				}
			}
			got[p.Head] = append(got[p.Head], p.Blocks...)
		}
		if stop != nil && stop() {
			return nil
		}
	}
	if err := r.Err(); err != nil {
		return err
	}
	if rounds > 0 && !last {
		return fmt.Errorf("layer %d: %d rounds, of which none is the last", layer, rounds)
	}
	for h := range want {
		if !slices.Equal(got[h], want[h]) {
			return fmt.Errorf("layer %d, head %d: got blocks %v, want %v", layer, h, got[h], want[h])
		}
	}
	return nil
}

// all wants every full block of a layer.
func (q *testSequence) all() [][]int32 {
	want := make([][]int32, q.s.cfg.Layout.Heads)
	for h := range want {
		for b := range q.full() {
			want[h] = append(want[h], int32(b))
		}
	}
	return want
}

// ids counts up from from.
func ids(from, n int) []int32 {
	x := make([]int32, n)
	for i := range x {
		x[i] = int32(from + i)
	}
	return x
}

// openTest opens a store and proves at the end that nothing is left of it.
func openTest(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.Layout == (compute.Layout{}) {
		cfg.Layout = testLayout
	}
	if cfg.Layers == 0 {
		cfg.Layers = 2
	}
	if cfg.Workers == 0 {
		cfg.Workers = 3
	}
	s, err := Open(compute.Reference{}, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// closeTest ends a store and proves that all of it has come back.
func closeTest(t interface {
	Helper()
	Fatal(...any)
	Errorf(string, ...any)
}, s *Store) {
	t.Helper()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s.mover.underWay != 0 || s.free.left != len(s.left) || s.live != 0 || s.dyingColumns != 0 || s.pool.Free() != s.cfg.Slots || len(s.columns) != 0 ||
		s.due != 0 || s.dying != 0 || len(s.faults) != 0 || len(s.recalls) != 0 {
		t.Errorf("left: %d transfers, %d blocks, %d of %d columns, %d slots, %d columns, %d due, %d dying, %d faults, %d recalls", s.mover.underWay,
			s.live, s.free.left, len(s.left), s.cfg.Slots-s.pool.Free(), len(s.columns), s.due, s.dying, len(s.faults), len(s.recalls))
	}
	if s.host != nil && len(s.host.free) != s.cfg.HostPages {
		t.Errorf("%d host pages left", s.cfg.HostPages-len(s.host.free))
	}
	if s.disk != nil {
		if s.disk.left() != s.disk.most {
			t.Errorf("%d records left", s.disk.most-s.disk.left())
		}
		if m, ok := s.cfg.Disk.FS.(*vfs.Memory); ok && m.OpenFiles() != 0 {
			t.Errorf("%d files left", m.OpenFiles())
		}
	}
	var sum LayerStats
	for _, l := range s.layers {
		sum.add(l)
	}
	if sum.Born != sum.Freed {
		t.Errorf("%d blocks born, %d freed", sum.Born, sum.Freed)
	}
}
