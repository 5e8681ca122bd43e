package model

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"nosa/compute"
	"nosa/kv"
	"nosa/kv/vfs"
)

const batchModel = "testdata/nosa"

// guest is one sequence of a batch: its tokens, and how many it brings to each
// step; 0 sits a step out.
type guest struct {
	ids   []int32
	cuts  []int
	seq   *kv.Sequence
	bits  []uint32 // of its logits so far
	err   error
	share bool
}

func (g *guest) join(t *testing.T, r *rig) {
	t.Helper()
	o := kv.SequenceOptions{Tokens: len(g.ids), NoShare: !g.share}
	if g.share {
		o.Prefix = g.ids
	}
	var err error
	if g.seq, err = r.store.NewSequence(o); err != nil {
		t.Fatal(err)
	}
}

// together runs guests in common steps to their ends. One whose sequence fails
// leaves; the others go on.
func (r *rig) together(t *testing.T, guests ...*guest) {
	t.Helper()
	for step := 0; ; step++ {
		r.store.BeginStep()
		var b Batch
		var who []*guest
		done := true
		for _, g := range guests {
			if g.err != nil || g.seq.Len() == len(g.ids) {
				continue
			}
			done = false
			n := min(g.cuts[min(step, len(g.cuts)-1)], len(g.ids)-g.seq.Len())
			if n == 0 {
				continue
			}
			if err := g.seq.Reserve(n); err != nil {
				t.Fatal(err)
			}
			b.Spans = append(b.Spans, Span{Seq: g.seq, Row: len(b.IDs), N: n})
			for i := range n {
				b.IDs = append(b.IDs, g.ids[g.seq.Len()+i])
				b.Pos = append(b.Pos, int32(g.seq.Len()+i))
			}
			who = append(who, g)
		}
		if done {
			return
		}
		if err := r.model.Forward(context.Background(), r.att, r.work, &b); err != nil {
			t.Fatal(err)
		}
		for i, s := range b.Spans {
			if who[i].err = s.Err; s.Err != nil {
				s.Seq.Free()
				continue
			}
			s.Seq.Advance(b.IDs[s.Row : s.Row+s.N])
			for _, v := range r.model.Logits(r.work, s.Row, s.Row+s.N).F32() {
				who[i].bits = append(who[i].bits, math.Float32bits(v))
			}
		}
	}
}

func batchIDs(seed uint64, n int) []int32 {
	rnd := rand.New(rand.NewPCG(seed, 1))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(rnd.IntN(30))
	}
	return ids
}

// alone is the logits of ids in a store of their own.
func alone(t *testing.T, dev compute.Device, rc rigConfig, ids []int32) []uint32 {
	t.Helper()
	r := newRig(t, dev, batchModel, rigConfig{method: rc.method, kind: rc.kind, context: rc.context, chunk: rc.chunk})
	g := &guest{ids: ids, cuts: []int{len(ids)}}
	g.join(t, r)
	r.together(t, g)
	g.seq.Free()
	return g.bits
}

// TestBatch runs three sequences of different lengths in common steps, the long
// prompt of one beside single tokens of the others, with most blocks outside of
// the slots, and expects the bits that each has alone.
func TestBatch(t *testing.T) {
	dev := testDevices(t)[1]
	for _, method := range []string{"full", "infllmv2", "dma", "nosa"} {
		for _, kind := range []compute.KVType{compute.KVF32, compute.KVQ4} {
			for _, slots := range []int{0, 9} {
				t.Run(fmt.Sprintf("%s/%v/slots %d", method, kind, slots), func(t *testing.T) {
					rc := rigConfig{method: method, kind: kind, context: 260, chunk: 400, sequences: 4, slots: slots}
					r := newRig(t, dev, batchModel, rc)
					guests := []*guest{
						{ids: batchIDs(1, 259), cuts: []int{100, 1, 1, 1, 33, 1}},
						{ids: batchIDs(2, 240), cuts: []int{0, 17, 200, 1}},
						{ids: batchIDs(3, 32), cuts: []int{16, 1, 0, 2, 1}},
					}
					for _, g := range guests {
						g.join(t, r)
					}
					r.together(t, guests...)
					for i, g := range guests {
						if !slices.Equal(g.bits, alone(t, dev, rc, g.ids)) {
							t.Errorf("sequence %d has other logits than alone", i)
						}
						g.seq.Free()
					}
					if err := r.store.Check(); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}

// TestFrom: rows that nobody wants leave the same keys and values as any, and do
// not change those that are wanted.
func TestFrom(t *testing.T) {
	dev := testDevices(t)[1]
	for _, method := range []string{"full", "infllmv2", "dma", "nosa"} {
		for _, slots := range []int{0, 9} {
			t.Run(fmt.Sprintf("%s/slots %d", method, slots), func(t *testing.T) {
				rc := rigConfig{method: method, context: 260, chunk: 400, sequences: 2, slots: slots}
				ids := [][]int32{batchIDs(1, 250), batchIDs(2, 250)}
				want := [][]uint32{alone(t, dev, rc, ids[0]), alone(t, dev, rc, ids[1])}
				r := newRig(t, dev, batchModel, rc)
				guests := []*guest{{ids: ids[0]}, {ids: ids[1]}}
				for _, g := range guests {
					g.join(t, r)
				}
				for _, s := range []struct{ rows, from [2]int }{ // of each, and those that are not wanted
					{[2]int{100, 3}, [2]int{100, 2}}, {[2]int{20, 50}, [2]int{7, 0}}, {[2]int{30, 40}, [2]int{30, 40}},
					{[2]int{64, 64}, [2]int{64, 63}}, {[2]int{1, 1}, [2]int{0, 0}}, {[2]int{35, 92}, [2]int{35, 1}},
				} {
					b := Batch{From: s.from[0]}
					if s.from[0] == s.rows[0] {
						b.From += s.from[1]
					}
					r.store.BeginStep()
					at := [2]int{}
					for i, g := range guests {
						if err := g.seq.Reserve(s.rows[i]); err != nil {
							t.Fatal(err)
						}
						at[i] = g.seq.Len()
						b.Spans = append(b.Spans, Span{Seq: g.seq, Row: len(b.IDs), N: s.rows[i]})
						for j := range s.rows[i] {
							b.IDs, b.Pos = append(b.IDs, g.ids[at[i]+j]), append(b.Pos, int32(at[i]+j))
						}
					}
					if err := r.model.Forward(context.Background(), r.att, r.work, &b); err != nil {
						t.Fatal(err)
					}
					for i, sp := range b.Spans {
						if sp.Err != nil {
							t.Fatal(sp.Err)
						}
						sp.Seq.Advance(b.IDs[sp.Row : sp.Row+sp.N])
						for row := max(sp.Row, b.From); row < sp.Row+sp.N; row++ {
							got, pos := r.model.Logits(r.work, row, row+1).F32(), at[i]+row-sp.Row
							for j, v := range got {
								if math.Float32bits(v) != want[i][pos*len(got)+j] {
									t.Fatalf("step %+v: sequence %d, position %d: other logits", s, i, pos)
								}
							}
						}
					}
				}
				for _, g := range guests {
					if g.seq.Len() != len(g.ids) {
						t.Errorf("%d tokens of %d", g.seq.Len(), len(g.ids))
					}
					g.seq.Free()
				}
				if err := r.store.Check(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestBatchFault lets reads from disk fail for one sequence of a batch: it ends
// with an error that names a block, the others with the bits that they have alone.
func TestBatchFault(t *testing.T) {
	dev := testDevices(t)[1]
	for _, method := range []string{"full", "nosa"} {
		t.Run(method, func(t *testing.T) {
			reads, broken := atomic.Int64{}, atomic.Int64{}
			disk := &vfs.Faults{FS: &vfs.Memory{}, Plan: func(op vfs.Op) vfs.Fault {
				if !op.Write && reads.Add(1) == broken.Load() {
					return vfs.FlipBit
				}
				return vfs.None
			}}
			rc := rigConfig{method: method, context: 260, chunk: 400, sequences: 4, slots: 9, pages: 6, disk: &kv.Disk{FS: disk, Dir: "disk"}}
			ids := [][]int32{batchIDs(1, 259), batchIDs(2, 240), batchIDs(3, 150)}
			var want [][]uint32
			for _, x := range ids {
				want = append(want, alone(t, dev, rc, x))
			}
			r := newRig(t, dev, batchModel, rc)
			failed := 0
			for at := int64(1); at < 400; at += 57 {
				reads.Store(0)
				broken.Store(at)
				var guests []*guest
				for _, x := range ids {
					g := &guest{ids: x, cuts: []int{90, 30, 1, 1, 50}}
					g.join(t, r)
					guests = append(guests, g)
				}
				r.together(t, guests...)
				bad := 0
				for i, g := range guests {
					switch {
					case g.err == nil && !slices.Equal(g.bits, want[i]):
						t.Errorf("read %d: sequence %d has other logits than alone", at, i)
					case g.err != nil && (!errors.Is(g.err, kv.ErrCorrupt) || !strings.Contains(g.err.Error(), "block")):
						t.Errorf("read %d: sequence %d: %v", at, i, g.err)
					case g.err != nil:
						bad++
					}
					g.seq.Free()
				}
				if bad > 1 {
					t.Errorf("read %d: %d sequences failed of one fault", at, bad)
				}
				failed += bad
				if err := r.store.Check(); err != nil {
					t.Fatal(err)
				}
			}
			if failed == 0 {
				t.Error("no sequence failed, so nothing was tested")
			}
		})
	}
}

// TestSharedPrefix: a sequence that takes over another's blocks gets the bits that
// it has alone, for every method and KV format, in the slots and out of them, and
// after the first owner has gone.
func TestSharedPrefix(t *testing.T) {
	dev := testDevices(t)[1]
	for _, method := range []string{"full", "infllmv2", "dma", "nosa"} {
		for _, kind := range []compute.KVType{compute.KVF32, compute.KVBF16, compute.KVQ4} {
			for _, slots := range []int{0, 9} {
				t.Run(fmt.Sprintf("%s/%v/slots %d", method, kind, slots), func(t *testing.T) {
					rc := rigConfig{method: method, kind: kind, context: 260, chunk: 400, sequences: 4, slots: slots}
					r := newRig(t, dev, batchModel, rc)
					prompt := batchIDs(4, 200)
					first := &guest{ids: prompt, cuts: []int{77}, share: true}
					first.join(t, r)
					r.together(t, first)
					// One that forks within a block, one after a whole number of blocks, and
					// the same prompt, whose last block is its own to compute.
					forks := []*guest{
						{ids: append(slices.Clone(prompt[:150]), batchIDs(5, 90)...), cuts: []int{40, 1}, share: true},
						{ids: append(slices.Clone(prompt[:160]), batchIDs(6, 30)...), cuts: []int{5}, share: true},
						{ids: prompt, cuts: []int{1}, share: true},
					}
					for i, g := range forks {
						g.join(t, r)
						if got, want := g.seq.Shared(), []int{144, 160, 192}[i]; got != want {
							t.Errorf("fork %d took over %d tokens, want %d", i, got, want)
						}
					}
					first.seq.Free()
					r.together(t, forks...)
					for i, g := range forks {
						want := alone(t, dev, rc, g.ids)
						if !slices.Equal(g.bits, want[len(want)-len(g.bits):]) {
							t.Errorf("fork %d has other logits than alone", i)
						}
						g.seq.Free()
					}
					if err := r.store.Check(); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}

// TestBatchRefusals: a batch whose rows do not fit together is an error, not a
// panic in an op.
func TestBatchRefusals(t *testing.T) {
	dev := testDevices(t)[1]
	r := newRig(t, dev, batchModel, rigConfig{method: "full", context: 64, chunk: 8})
	if err := r.seq.Reserve(8); err != nil {
		t.Fatal(err)
	}
	two := []int32{1, 2}
	for name, b := range map[string]Batch{
		"too many rows":       {IDs: make([]int32, 9), Pos: make([]int32, 9)},
		"positions missing":   {IDs: two, Pos: two[:1]},
		"negative id":         {IDs: []int32{-1}, Pos: []int32{0}},
		"id too high":         {IDs: []int32{1 << 20}, Pos: []int32{0}},
		"span outside":        {IDs: two, Pos: []int32{0, 1}, Spans: []Span{{Seq: r.seq, Row: 1, N: 2}}},
		"span past the end":   {IDs: two, Pos: []int32{0, 1}, Spans: []Span{{Seq: r.seq, Row: 3}}},
		"spans overlap":       {IDs: two, Pos: []int32{0, 1}, Spans: []Span{{Seq: r.seq, N: 2}, {Seq: r.seq, Row: 1, N: 1}}},
		"sequence twice":      {IDs: two, Pos: []int32{0, 0}, Spans: []Span{{Seq: r.seq, N: 1}, {Seq: r.seq, Row: 1, N: 1}}},
		"position of another": {IDs: two, Pos: []int32{4, 5}, Spans: []Span{{Seq: r.seq, N: 2}}},
		"wanted past the end": {IDs: two, Pos: []int32{0, 1}, Spans: []Span{{Seq: r.seq, N: 2}}, From: 3},
		"wanted before":       {IDs: two, Pos: []int32{0, 1}, Spans: []Span{{Seq: r.seq, N: 2}}, From: -1},
		"positions with gaps": {IDs: two, Pos: []int32{0, 2}, Spans: []Span{{Seq: r.seq, N: 2}}},
	} {
		if err := r.model.Forward(context.Background(), r.att, r.work, &b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	empty := Batch{IDs: two, Pos: []int32{0, 1}, Spans: []Span{{Seq: r.seq, N: 2}, {Seq: nil, Row: 2}}}
	if err := r.model.Forward(context.Background(), r.att, r.work, &empty); err != nil || empty.Spans[0].Err != nil {
		t.Errorf("an empty span: %v, %v", err, empty.Spans[0].Err)
	}
	if err := r.model.Forward(context.Background(), r.att, r.work, &Batch{}); err != nil {
		t.Errorf("an empty batch: %v", err)
	}
}
