package compute

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// story is a sequence that was appended token by token, its last rows being a
// tile of queries.
type story struct {
	c       *Cache
	t       Tile
	q       Tensor
	k, v, s Tensor // [tokens, kvHeads, dim], [tokens, kvHeads]
	group   int
}

func newStory(rng *rand.Rand, l Layout, group, tokens, rows int) story {
	st := story{
		k: random(rng, tokens, l.Heads, l.Dim), v: random(rng, tokens, l.Heads, l.Dim), s: random(rng, tokens, l.Heads),
		q: random(rng, rows, l.Heads*group, l.Dim), group: group,
	}
	var t Tile
	st.c, t = newCache(l, (tokens+l.Block-1)/l.Block)
	st.t = feed(st.c, t, 3, st.k, st.v, st.s)
	st.t.Row, st.t.N, st.t.Pos = 0, rows, tokens-rows
	return st
}

// every selects all visible blocks of every row.
func (st story) every() Selection {
	n := st.t.N * st.c.Heads
	sel := Selection{Blocks: I32s(make([]int32, n), st.t.N, st.c.Heads, 1), Count: I32s(make([]int32, n), st.t.N, st.c.Heads)}
	for i := range sel.Count.I32() {
		sel.Count.I32()[i] = -1
	}
	return sel
}

// parts are the given blocks of every KV head.
func (st story) parts(blocks ...int32) []Part {
	var parts []Part
	for h := range st.c.Heads {
		p := Part{Head: h, Blocks: blocks}
		for _, b := range blocks {
			slot := st.t.Tables[h][b]
			if int(b) == st.t.Own(st.c.Block) {
				slot = -1
			}
			p.Slots = append(p.Slots, slot)
		}
		parts = append(parts, p)
	}
	return parts
}

func (st story) attend(sel Selection, calls ...[]Part) []float32 {
	heads, dim := st.q.Dims[1], st.c.Dim
	state := F32s(make([]float32, st.t.N*heads*StateLen(dim)), st.t.N, heads, StateLen(dim))
	AttendBegin(state.F32(), dim)
	for _, parts := range calls {
		Attend(state, st.q, st.c, st.t, sel, parts)
	}
	out := make([]float32, st.t.N*heads*dim)
	AttendEnd(out, state.F32(), dim)
	return out
}

// plain is the formula of spec nosa, section 2, in float64, over the tokens for
// which see is true.
func (st story) plain(see func(row, head, token int) bool) []float32 {
	heads, dim := st.q.Dims[1], st.c.Dim
	out := make([]float32, st.t.N*heads*dim)
	for r := range st.t.N {
		for h := range heads {
			kv := h / st.group
			var sum float64
			acc := make([]float64, dim)
			for j := 0; j <= st.t.Pos+r; j++ {
				if !see(r, kv, j) {
					continue
				}
				at := (j*st.c.Heads + kv) * dim
				x := dot(st.q.F32()[(r*heads+h)*dim:][:dim], st.k.F32()[at:at+dim]) / math.Sqrt(float64(dim))
				if st.c.Scores {
					x += float64(st.s.F32()[j*st.c.Heads+kv])
				}
				p := math.Exp(x)
				sum += p
				for d := range acc {
					acc[d] += p * float64(st.v.F32()[at+d])
				}
			}
			for d := range acc {
				if sum > 0 {
					out[(r*heads+h)*dim+d] = float32(acc[d] / sum)
				}
			}
		}
	}
	return out
}

func numbers(n int) []int32 {
	v := make([]int32, n)
	for i := range v {
		v[i] = int32(i)
	}
	return v
}

// TestAttendFormula compares with the formula: dense, and with a choice of its own
// for each row; over more blocks than two splits hold.
func TestAttendFormula(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, tc := range []struct {
		l            Layout
		group        int
		tokens, rows int
	}{
		{Layout{Heads: 1, Dim: 4, Block: 8, Scores: true}, 1, 1, 1},
		{Layout{Heads: 2, Dim: 8, Block: 4, Scores: true}, 2, 4*37 + 3, 3},
		{Layout{Heads: 2, Dim: 5, Block: 16}, 3, 16 * 4, 16},
	} {
		st := newStory(rng, tc.l, tc.group, tc.tokens, tc.rows)
		blocks := numbers(st.t.Own(tc.l.Block) + 1)
		all := func(int, int, int) bool { return true }
		near(t, "dense", st.attend(st.every(), st.parts(blocks...)), st.plain(all), 2e-6)

		sel := st.every()
		k := len(blocks)
		sel.Blocks = I32s(make([]int32, st.t.N*tc.l.Heads*k), st.t.N, tc.l.Heads, k)
		chosen := func(row, head int) []int32 {
			at := row*tc.l.Heads + head
			return sel.Blocks.I32()[at*k:][:sel.Count.I32()[at]]
		}
		for r := range st.t.N {
			for h := range tc.l.Heads {
				list := sel.Blocks.I32()[(r*tc.l.Heads+h)*k:][:0]
				for _, b := range blocks {
					if rng.IntN(2) == 0 || int(b) == k-1 {
						list = append(list, b)
					}
				}
				sel.Count.I32()[r*tc.l.Heads+h] = int32(len(list))
			}
		}
		see := func(row, head, token int) bool {
			return slices.Contains(chosen(row, head), int32(token/tc.l.Block))
		}
		near(t, "selected", st.attend(sel, st.parts(blocks...)), st.plain(see), 2e-6)
	}
}

// TestAttendInParts: wherever the walk is cut, over calls and within one, the bits
// are the same; so are those of a row alone.
func TestAttendInParts(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	l := Layout{Heads: 2, Dim: 8, Block: 4, Scores: true, Type: KVQ8}
	st := newStory(rng, l, 2, 4*(2*Split+5)+2, 2)
	blocks := numbers(st.t.Own(l.Block) + 1)
	want := st.attend(st.every(), st.parts(blocks...))
	for range 50 {
		var calls [][]Part
		for rest := blocks; len(rest) > 0; {
			n := 1 + rng.IntN(len(rest))
			m := rng.IntN(n + 1)
			calls = append(calls, append(st.parts(rest[:m]...), st.parts(rest[m:n]...)...), nil)
			rest = rest[n:]
		}
		if got := st.attend(st.every(), calls...); !slices.Equal(got, want) {
			t.Fatalf("in %d calls: other bits", len(calls))
		}
	}
	for r := range st.t.N {
		one := st
		one.t.Row, one.t.Pos, one.t.N = r, st.t.Pos+r, 1
		n := len(want) / st.t.N
		if got := one.attend(one.every(), one.parts(blocks...)); !slices.Equal(got, want[r*n:(r+1)*n]) {
			t.Fatalf("row %d alone: other bits", r)
		}
	}
}

// TestAttendEdges: rows that see nothing, nothing but −∞, or what is no number.
func TestAttendEdges(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	st := newStory(rng, Layout{Heads: 1, Dim: 4, Block: 4, Scores: true, Type: KVF32}, 1, 4*20, 1)
	zeros := make([]float32, 4)
	near(t, "no parts", st.attend(st.every()), zeros, 0)
	near(t, "an empty part", st.attend(st.every(), []Part{{}}), zeros, 0)

	score := st.c.Score.F32()
	for i := range score {
		score[i] = negInf
	}
	blocks := numbers(20)
	near(t, "nothing but −∞", st.attend(st.every(), st.parts(blocks...)), zeros, 0)
	score[4*18+1] = 3
	near(t, "one key", st.attend(st.every(), st.parts(blocks...)), st.v.F32()[(4*18+1)*4:][:4], 1e-7)
	score[2] = float32(math.NaN())
	for _, x := range st.attend(st.every(), st.parts(blocks...)) {
		if x == x {
			t.Errorf("a score that is not a number gave %v", x)
		}
	}

	// Logits that e^x could not hold: what they have in common falls out.
	for i := range score {
		score[i] = -1e4
	}
	score[0], score[5] = 1e4, 1e4
	clear(st.s.F32())
	want := st.plain(func(_, _, j int) bool { return j == 0 || j == 5 })
	near(t, "large scores", st.attend(st.every(), st.parts(blocks...)), want, 1e-6)
}
