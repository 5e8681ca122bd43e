package policy

import (
	"math"
	"slices"
	"unsafe"
)

// spot is where a cell lies: a block number, and a token's place in the block. The spots of a
// head's cells ascend.
type spot struct{ number, row int32 }

const cellBytes = unsafe.Sizeof(Cell{}) + unsafe.Sizeof(spot{})

// cells are those of a head.
type cells struct {
	changed bool // else they are those of the text, one after the other
	list    []Cell
	spots   []spot
	tokens  int // of the text, that are in list
	sums    []float64
	packed  []packed // the blocks that a codec has encoded: the first of all
}

// packed is a block in the bytes of a codec.
type packed struct {
	number int32
	codec  Codec
	from   int // its cells: from from, before to
	to     int
}

// packedIn finds the packed block of a number, or nil.
func (c *cells) packedIn(number int32) *packed {
	for i := range c.packed {
		if c.packed[i].number == number {
			return &c.packed[i]
		}
	}
	return nil
}

// packedCells is how many cells are packed.
func (c *cells) packedCells() int {
	if n := len(c.packed); n > 0 {
		return c.packed[n-1].to
	}
	return 0
}

// upTo takes in the tokens of the text that have come, up to n.
func (c *cells) upTo(n, block int, sums bool) {
	if c.changed {
		for p := c.tokens; p < n; p++ {
			c.list = append(c.list, Cell{Pos: int32(p), Count: 1})
			c.spots = append(c.spots, spot{int32(p / block), int32(p % block)})
		}
	}
	if sums {
		c.sums = slices.Grow(c.sums, n-c.tokens)[:len(c.sums)+n-c.tokens]
		clear(c.sums[len(c.sums)-(n-c.tokens):])
	}
	c.tokens = n
}

// change writes the list out.
func (c *cells) change(text []Cell, block int) {
	if c.changed {
		return
	}
	c.changed = true
	c.list = slices.Clone(text)
	c.spots = make([]spot, len(text))
	for p := range c.spots {
		c.spots[p] = spot{int32(p / block), int32(p % block)}
	}
}

// keep leaves the cells with the given indices.
func (c *cells) keep(at []int) {
	for i, from := range at {
		c.list[i], c.spots[i] = c.list[from], c.spots[from]
		if c.sums != nil {
			c.sums[i] = c.sums[from]
		}
	}
	c.list, c.spots = c.list[:len(at)], c.spots[:len(at)]
	if c.sums != nil {
		c.sums = c.sums[:len(at)]
	}
}

// run is the cells of a block, from, to.
type cellRun struct {
	number   int32
	from, to int
}

// blocks cuts spots into those of each block.
func blocks(spots []spot) []cellRun {
	var list []cellRun
	for i, s := range spots {
		if n := len(list); n > 0 && list[n-1].number == s.number {
			list[n-1].to = i + 1
			continue
		}
		list = append(list, cellRun{s.number, i, i + 1})
	}
	return list
}

// bias is what enters the logits of a block's tokens: that of the cells in it, and −∞ where
// there is none. From open on there is none yet.
func (c *cells) bias(block int, r cellRun, open int) []float32 {
	bias := make([]float32, block)
	for i := range bias[:open] {
		bias[i] = float32(math.Inf(-1))
	}
	for i := r.from; i < r.to; i++ {
		bias[c.spots[i].row] = c.list[i].Bias
	}
	return bias
}
