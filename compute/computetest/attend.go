package computetest

import (
	"fmt"
	"math"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

var kvTypes = []compute.KVType{compute.KVF32, compute.KVBF16, compute.KVF16, compute.KVQ8, compute.KVQ4}

// attendCases are chosen so that every dimension, group, block size and format
// occurs, with one row, a full tile and what lies between, and with walks shorter
// and longer than a split.
var attendCases = []struct {
	heads, group, dim, block, pos, rows int
	scores                              bool
}{
	{1, 1, 4, 8, 0, 1, false},
	{1, 2, 16, 8, 3, 5, true},
	{2, 3, 64, 64, 130, 1, true},
	{2, 1, 80, 16, 16 * 40, 16, true},
	{1, 8, 128, 64, 64*2 + 10, 3, false},
	{3, 3, 64, 64, 64 * 3, 64, true},
	{2, 4, 7, 8, 8*37 + 1, 6, true},
	{1, 5, 20, 4, 4 * 70, 4, false},
	{3, 2, 32, 16, 16*33 + 15, 1, true},
	{2, 7, 12, 8, 8*16 + 7, 1, false},
	{1, 6, 129, 8, 8*18 + 2, 2, true},
	{1, 16, 128, 64, 64*5 + 30, 20, true},
	{2, 4, 32, 16, 16*150 + 5, 11, true},
	{1, 3, 48, 32, 32*70 + 9, 1, false},
}

// run attends with the parts of each call in turn, and returns the state before
// the end and the output of the tile's rows.
func (sc *scene) run(t *testing.T, dev compute.Device, side func(pair) compute.Tensor, tile compute.Tile,
	c *compute.Cache, sel compute.Selection, calls [][]compute.Part) (state, out []float32) {
	t.Helper()
	heads, dim := sc.layout.Heads*sc.group, sc.layout.Dim
	st := sc.alloc(t, dev, dtype.F32, tile.N, heads, compute.StateLen(dim))
	o := sc.alloc(t, dev, dtype.F32, tile.Row+tile.N, heads, dim)
	dev.AttendBegin(st, tile, heads, dim)
	for _, parts := range calls {
		dev.Attend(st, side(sc.q), c, tile, sel, parts)
	}
	state = read(dev, st)
	dev.AttendEnd(o, st, tile)
	return state, read(dev, o)[tile.Row*heads*dim:]
}

func (s *suite) attend(t *testing.T) {
	for i, tc := range attendCases {
		if heavy(t, i, tc.rows*tc.heads*tc.group*tc.pos*tc.dim) {
			continue
		}
		for _, kv := range kvTypes {
			l := compute.Layout{Heads: tc.heads, Dim: tc.dim, Block: tc.block, Scores: tc.scores, Type: kv}
			sc := s.newScene(t, l, tc.group, tc.pos, tc.rows)
			for name, every := range map[string]func(int, int) bool{
				"every":    func(int, int) bool { return true },
				"selected": func(int, int) bool { return false },
				"mixed":    func(row, _ int) bool { return row%3 == 1 },
			} {
				sc.compare(t, fmt.Sprintf("case %d %v %s", i, kv, name), every)
			}
		}
	}
}

// compare attends once, in parts and row by row.
func (sc *scene) compare(t *testing.T, what string, every func(int, int) bool) {
	t.Helper()
	sel, wanted := sc.choose(t, every)
	parts := sc.parts(wanted)
	c, tile := sc.on(onDev)
	state, out := sc.run(t, sc.dev, onDev, tile, c, sel(onDev), [][]compute.Part{parts})

	rc, rt := sc.on(onRef)
	_, want := sc.run(t, sc.ref, onRef, rt, rc, sel(onRef), [][]compute.Part{parts})
	bound := sc.bound()
	for i, w := range want {
		if d := math.Abs(float64(out[i]) - float64(w)); !(d <= bound) {
			t.Fatalf("%s: element %d is %v, the definition says %v (off by %.3g, allowed %.3g)", what, i, out[i], w, d, bound)
		}
	}

	cutState, cutOut := sc.run(t, sc.dev, onDev, tile, c, sel(onDev), sc.cut(parts))
	same(t, what+", state in parts", cutState, state)
	same(t, what+", in parts", cutOut, out)

	// Single rows, as a decode step at their position would see them.
	stride := len(out) / tile.N
	for _, r := range []int{0, tile.N / 2, tile.N - 1} {
		one := tile
		one.Row, one.Pos, one.N = tile.Row+r, tile.Pos+r, 1
		all := sel(onDev)
		mine := compute.Selection{Blocks: all.Blocks.Rows(r, r+1), Count: all.Count.Rows(r, r+1)}
		gotState, got := sc.run(t, sc.dev, onDev, one, c, mine, sc.cut(parts))
		n := len(state) / tile.N
		same(t, fmt.Sprintf("%s, state of row %d alone", what, r), gotState, state[r*n:(r+1)*n])
		same(t, fmt.Sprintf("%s, row %d alone", what, r), got, out[r*stride:(r+1)*stride])
	}
}

// bound is the error that the tolerance allows an output: the values' size times
// the error of a weight, which is that of its logit and of the sums. Where terms are
// rounded to codes, errors of either sign leave the root of their number: of a head's
// dimensions in a logit, which its scaling takes away, and of a block's rows in the
// values.
func (sc *scene) bound() float64 {
	var q, v float64
	for _, x := range read(sc.ref, sc.q.ref) {
		q = max(q, math.Abs(float64(x)))
	}
	for _, x := range read(sc.ref, sc.tail.ref) {
		if x == x {
			v = max(v, math.Abs(float64(x)))
		}
	}
	v = max(v, 5) // of the blocks too: both are normal
	// |q·k|/√dim is at most √dim·q·k.
	bound := sc.tol.Sum * (1 + math.Sqrt(float64(sc.layout.Dim))*q) * v
	if t := sc.layout.Type; t == compute.KVQ8 || t == compute.KVQ4 {
		bound += sc.tol.Coded * (q*v + math.Sqrt(float64(sc.layout.Block))) * v
	}
	if sc.layout.Type != compute.KVF32 {
		bound += sc.tol.Rounded * v
	}
	return bound
}

// attendMinusInf: keys whose bias is −∞ weigh nothing, also where they are all
// that a row has seen so far, or ever sees.
func (s *suite) attendMinusInf(t *testing.T) {
	l := compute.Layout{Heads: 1, Dim: 16, Block: 8, Scores: true, Type: compute.KVBF16}
	sc := s.newScene(t, l, 2, 8*19+2, 3)
	score := read(s.ref, sc.score.ref)
	for _, masked := range []int{1, 17, sc.blocks} { // the first block, more than a split, all
		for b := range masked {
			for i := range l.Block {
				score[int(sc.tile.Tables[0][b])*l.Block+i] = float32(math.Inf(-1))
			}
		}
		s.dev.Upload(sc.score.dev, bytesOf(score))
		s.ref.Upload(sc.score.ref, bytesOf(score))
		sc.compare(t, fmt.Sprintf("first %d blocks −∞", masked), func(int, int) bool { return true })
	}
}

// attendNotANumber: a key that is not a number shows in the rows that see it, and
// in no other.
func (s *suite) attendNotANumber(t *testing.T) {
	l := compute.Layout{Heads: 2, Dim: 8, Block: 8, Type: compute.KVF32}
	sc := s.newScene(t, l, 2, 8*3, 6)
	tail := read(s.ref, sc.tail.ref)
	tail[5*l.Block+3] = float32(math.NaN()) // the key of row 3, first KV head
	s.dev.Upload(sc.tail.dev, bytesOf(tail))
	sel, wanted := sc.choose(t, func(int, int) bool { return true })
	c, tile := sc.on(onDev)
	_, out := sc.run(t, s.dev, onDev, tile, c, sel(onDev), [][]compute.Part{sc.parts(wanted)})
	heads := l.Heads * sc.group
	for i, x := range out {
		row, head := i/l.Dim/heads, i/l.Dim%heads
		if bad := row >= 3 && head < sc.group; bad != (x != x) {
			t.Fatalf("row %d, query head %d: %v", row, head, x)
		}
	}
}

// attendInfinite: a value that is not finite shows in its channel of the rows that see it.
// All else has the bits that it has without it: weights of 0 are not multiplied by it.
func (s *suite) attendInfinite(t *testing.T) {
	for _, kv := range []compute.KVType{compute.KVF32, compute.KVBF16, compute.KVF16} {
		l := compute.Layout{Heads: 2, Dim: 32, Block: 16, Type: kv}
		sc := s.newScene(t, l, 2, 16*9+2, 12)
		sel, wanted := sc.choose(t, func(row, _ int) bool { return row == 4 })
		c, tile := sc.on(onDev)
		parts := [][]compute.Part{sc.parts(wanted)}
		_, before := sc.run(t, s.dev, onDev, tile, c, sel(onDev), parts)

		const block, channel, token = 3, 5, 7 // a value in a slot, of the second KV head; and one of the own block
		size := l.BlockBytes() / 2 / (l.Block * l.Dim)
		pool := make([]byte, sc.pool.dev.Bytes())
		s.dev.Download(pool, sc.pool.dev)
		at := int(sc.slots[1][block])*l.BlockBytes() + size*(l.Block*l.Dim+token*l.Dim+channel)
		copy(pool[at:at+size], map[compute.KVType][]byte{compute.KVF32: {0, 0, 0x80, 0x7f}, compute.KVBF16: {0x80, 0x7f}, compute.KVF16: {0, 0x7c}}[kv])
		s.dev.Upload(sc.pool.dev, pool)
		tail := read(s.ref, sc.tail.ref)
		tail[(l.Block+token)*l.Dim+channel] = float32(math.Inf(-1))
		s.dev.Upload(sc.tail.dev, bytesOf(tail))
		_, after := sc.run(t, s.dev, onDev, tile, c, sel(onDev), parts)

		first := tile.Pos % l.Block
		for i, x := range after {
			row, head, d := i/l.Dim/(2*sc.group), i/l.Dim%(2*sc.group)/sc.group, i%l.Dim
			sees := first+row >= token
			if head == 1 {
				all := sel(onRef)
				sees = all.Has(row, 1, block)
			}
			switch {
			case d == channel && sees:
				if !math.IsNaN(float64(x)) && !math.IsInf(float64(x), 0) {
					t.Fatalf("%v: row %d sees a value that is not finite, and is %v", kv, row, x)
				}
			case math.Float32bits(x) != math.Float32bits(before[i]):
				t.Fatalf("%v: row %d, KV head %d, channel %d is %v beside a value that is not finite, and %v without it", kv, row, head, d, x, before[i])
			}
		}
	}
}
