package compute

import (
	"math"
	"testing"

	"nosa/dtype"
)

// TestKeyLogits: softmax over what KeyLogits says, applied to the values, is what Attend says.
func TestKeyLogits(t *testing.T) {
	l := Layout{Heads: 1, Dim: 4, Block: 4, Scores: true, Type: KVF32}
	c := &Cache{Layout: l}
	ref := Reference{}
	c.Slots, _ = ref.Alloc(dtype.U8, 2, l.BlockBytes())
	c.Score, _ = ref.Alloc(dtype.F32, 3, l.Block)
	value := func(i int) float32 { return float32(math.Sin(float64(3 * i))) }
	k, v := make([]float32, 16), make([]float32, 16)
	for slot := range 2 {
		for i := range k {
			k[i], v[i] = value(40*slot+i), value(100+40*slot+i)
		}
		l.EncodeBlock(c.SlotData(int32(slot)), k, v)
	}
	for i := range c.Score.F32() {
		c.Score.F32()[i] = value(300 + i)
	}
	c.Score.F32()[5] = float32(math.Inf(-1))
	tail := make([]float32, 32)
	for i := range tail {
		tail[i] = value(500 + i)
	}
	q := F32s([]float32{.3, -1, .7, 2, 1, .1, -.4, .9}, 1, 2, 4)
	tile := Tile{N: 1, Pos: 10, Tables: [][]int32{{2, 1, 0}}, Tail: F32s(tail, 1, 2, 16)}
	part := Part{Blocks: []int32{0, 1, 2}, Slots: []int32{1, 0, -1}}
	out := F32s(make([]float32, 2*3*4), 1, 2, 3, 4)
	ref.KeyLogits(out, q, c, tile, part)

	state := F32s(make([]float32, 2*StateLen(4)), 1, 2, StateLen(4))
	want := F32s(make([]float32, 8), 1, 2, 4)
	sel := Selection{Blocks: I32s([]int32{-1}, 1, 1, 1), Count: I32s([]int32{-1}, 1, 1)}
	ref.AttendBegin(state, tile, 2, 4)
	ref.Attend(state, q, c, tile, sel, []Part{part})
	ref.AttendEnd(want, state, tile)
	for h := range 2 {
		var sum float64
		acc := make([]float64, 4)
		for i, x := range out.F32()[h*12 : h*12+11] { // the last place is behind position 10
			p := math.Exp(float64(x))
			sum += p
			val := tail[16:]
			if i < 8 {
				l.DecodeBlock(k, v, c.SlotData(part.Slots[i/4]))
				val = v
			}
			for d := range acc {
				acc[d] += p * float64(val[i%4*4+d])
			}
		}
		for d := range acc {
			if got := want.F32()[h*4+d]; math.Abs(float64(got)-acc[d]/sum) > 1e-6 {
				t.Errorf("head %d, channel %d: %v, Attend says %v", h, d, acc[d]/sum, got)
			}
		}
	}
}
