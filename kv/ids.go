package kv

import "math/bits"

// freeIDs are the ids of no block. Summaries lie by id, and each query reads those
// of a whole context, head by head: a processor does so twice as fast where they lie
// side by side. So every layer and head of a sequence takes ids from a place of its
// own, one after the other, as long as there is room.
type freeIDs struct {
	bit   []uint64 // by id: whether it is free
	taken []uint64 // by id: whether it lies in the place of a sequence
	left  int
}

func newFreeIDs(n int) freeIDs {
	f := freeIDs{bit: make([]uint64, (n+63)/64), taken: make([]uint64, (n+63)/64)}
	for id := range n {
		f.give(int32(id))
	}
	return f
}

func (f *freeIDs) has(id int32) bool { return f.bit[id/64]>>(id%64)&1 != 0 }

func (f *freeIDs) give(id int32) {
	f.bit[id/64] |= 1 << (id % 64)
	f.left++
}

// take returns the first free id from a wish on, or from the beginning if there is
// none. The caller knows that there is one.
func (f *freeIDs) take(wish int32) int32 {
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

// run returns the beginning of the first n free ids in a row that lie in no place,
// or −1.
func (f *freeIDs) run(n int) int32 {
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

// mark says of n ids that they have come into a place, or have left theirs.
func (f *freeIDs) mark(from int32, n int) {
	for id := from; id < from+int32(n); id++ {
		f.taken[id/64] ^= 1 << (id % 64)
	}
}

// place is where the ids of a sequence lie: those of the last layer and head first,
// so that of blocks that were used in the same step those go first that are wanted
// again last.
type place struct {
	from   int32
	stride int // ids of each layer and head; 0: wherever there are some
}

// least is the shortest run of ids that is worth a place of its own.
const least = 16

// newPlace finds room for so many blocks of each of width layers and heads, or for
// as many as there is.
func (f *freeIDs) newPlace(width, blocks int) place {
	for stride := blocks; stride > 0; stride /= 2 {
		if from := f.run(width * stride); from >= 0 {
			f.mark(from, width*stride)
			return place{from, stride}
		}
		if stride < least {
			break
		}
	}
	return place{}
}

// wish is the id that a block of a layer and head, the at-th of width, had best
// have; ids are those of the blocks before it.
func (p place) wish(width, at int, ids []int32) int32 {
	switch n := len(ids); {
	case n < p.stride:
		return p.from + int32((width-1-at)*p.stride+n)
	case n > 0:
		return ids[n-1] + 1
	}
	return 0
}
