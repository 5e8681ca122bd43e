package kv

import "math/bits"

// id is that of the block of a layer, KV head and column: the blocks of a block number
// in all layers and heads are born and end together, and their ids follow from one
// number. Those of the last layer and head come first, so that of blocks that were used
// in the same step those go first that are wanted again last. A [compute.Stepper]
// counts them in the same way.
func (s *Store) id(layer, head int, column int32) int32 {
	at := layer*s.cfg.Layout.Heads + head
	return int32(s.cfg.Layers*s.cfg.Layout.Heads-1-at)*s.perHead + column
}

// columnOf is the column of a block.
func (s *Store) columnOf(id int32) int32 { return id % s.perHead }

// freeColumns are the columns of no block. Summaries lie by id, and each query reads
// those of a whole context, head by head: a processor does so twice as fast where they
// lie side by side. So every sequence takes columns from a place of its own, one after
// the other, as long as there is room.
type freeColumns struct {
	bit   []uint64 // by column: whether it is free
	taken []uint64 // by column: whether it lies in the place of a sequence
	left  int
}

func newFreeColumns(n int) freeColumns {
	f := freeColumns{bit: make([]uint64, (n+63)/64), taken: make([]uint64, (n+63)/64)}
	for c := range n {
		f.give(int32(c))
	}
	return f
}

func (f *freeColumns) has(c int32) bool { return f.bit[c/64]>>(c%64)&1 != 0 }

func (f *freeColumns) give(c int32) {
	f.bit[c/64] |= 1 << (c % 64)
	f.left++
}

// take returns the first free column from a wish on, or from the beginning if there is
// none. The caller knows that there is one.
func (f *freeColumns) take(wish int32) int32 {
	word := int(wish / 64)
	if word >= len(f.bit) {
		word, wish = 0, 0
	}
	free := f.bit[word] &^ (1<<(wish%64) - 1)
	for free == 0 {
		if word++; word == len(f.bit) {
			word = 0
		}
		free = f.bit[word]
	}
	at := bits.TrailingZeros64(free)
	f.bit[word] &^= 1 << at
	f.left--
	return int32(64*word + at)
}

// run returns the beginning of the first n free columns in a row that lie in no place,
// or −1.
func (f *freeColumns) run(n int) int32 {
	from, long := 0, 0
	for word := 0; word < len(f.bit) && long < n; word++ {
		for at, free := 0, f.bit[word]&^f.taken[word]; at < 64 && long < n; {
			if gap := min(bits.TrailingZeros64(free>>at), 64-at); gap > 0 {
				at += gap
				from, long = 64*word+at, 0
				continue
			}
			more := bits.TrailingZeros64(^(free >> at))
			at += more
			long += more
		}
	}
	if long < n {
		return -1
	}
	return int32(from)
}

// mark says of n columns that they have come into a place, or have left theirs.
func (f *freeColumns) mark(from int32, n int) {
	for c := from; c < from+int32(n); c++ {
		f.taken[c/64] ^= 1 << (c % 64)
	}
}

// place is where the columns of a sequence lie.
type place struct {
	from int32
	n    int // 0: wherever there are some
}

// least is the shortest run of columns that is worth a place of its own.
const least = 16

// newPlace finds room for so many columns, or for as many as there is.
func (f *freeColumns) newPlace(columns int) place {
	for n := columns; n > 0; n /= 2 {
		if from := f.run(n); from >= 0 {
			f.mark(from, n)
			return place{from, n}
		}
		if n < least {
			break
		}
	}
	return place{}
}

// wish is the column that a sequence had best have after those that it has.
func (p place) wish(columns []int32) int32 {
	switch n := len(columns); {
	case n < p.n:
		return p.from + int32(n)
	case n > 0:
		return columns[n-1] + 1
	}
	return 0
}
