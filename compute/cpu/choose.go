package cpu

import "math"

// Of thousands of blocks a row takes some tens. The greatest of each of 64 lanes
// are found first: of so many elements the n-th is a bound that the n best do not
// fall below, and few others reach it. Those that do are ranked exactly.

// lanes is the number of maxima that tops leaves.
const lanes = 64

// chosen is what a worker needs to choose.
type chosen struct {
	tops []float32
	keys []uint64
	ids  []int32
	rest []uint64
	pick [2][]int32
}

// best returns the want best elements of x that skip does not list, ascending:
// first the greatest, what is not a number last, the lower of equals. skip is
// ascending; there are at least want others. The result is appended to to.
func (m *chosen) best(k *kernels, to []int32, x []float32, skip []int32, want int) []int32 {
	if want <= 0 {
		return to
	}
	ids := m.candidates(k, x, want+len(skip))
	keys := room(&m.keys, grown(len(ids)))[:0]
	for _, i := range ids {
		for len(skip) > 0 && skip[0] < i {
			skip = skip[1:]
		}
		if len(skip) == 0 || skip[0] != i {
			keys = append(keys, rank(x[i], int(i)))
		}
	}
	low := uint64(0)
	if len(keys) > want {
		low = nth(append(room(&m.rest, grown(len(keys)))[:0], keys...), want)
	}
	for _, key := range keys {
		if key >= low {
			to = append(to, int32(uint32(math.MaxUint32-key&math.MaxUint32)))
		}
	}
	return to
}

// grown is room for n elements and more, for what grows with the context: so it is
// made anew every thousand blocks and not with each of them.
func grown(n int) int { return (n + 1023) &^ 1023 }

// candidates returns elements of x among which the n best are, ascending.
func (m *chosen) candidates(k *kernels, x []float32, n int) []int32 {
	ids := room(&m.ids, grown(len(x)+16))
	// Three quarters of the maxima may be asked for: few lanes have two of the best.
	runs := (4*n + 3*lanes - 1) / (3 * lanes)
	if len(x) >= 4*lanes*runs {
		tops, keys := room(&m.tops, lanes*runs), room(&m.keys, grown(lanes*runs))[:lanes*runs]
		for i := range runs {
			k.tops((*[lanes]float32)(tops[i*lanes:]), x[i*len(x)/runs:(i+1)*len(x)/runs])
		}
		for i, top := range tops {
			keys[i] = rank(top, i)
		}
		low := tops[uint32(math.MaxUint32-nth(keys, n)&math.MaxUint32)]
		if found := k.above(ids, x, low); found >= n {
			return ids[:found]
		}
		// So few are numbers.
	}
	ids = ids[:len(x)]
	for i := range ids {
		ids[i] = int32(i)
	}
	return ids
}

// rank is a number that is greater for what is to be taken first: by score, what
// is not a number last, then by lower block. No two blocks have the same.
func rank(score float32, block int) uint64 {
	var order uint32
	switch u := math.Float32bits(score); {
	case score != score:
	case score == 0: // of either sign
		order = 1 << 31
	case u>>31 == 0:
		order = u | 1<<31
	default:
		order = ^u
	}
	return uint64(order)<<32 | uint64(math.MaxUint32-uint32(block))
}

// nth returns the n-th largest of keys, which are all different, and leaves them in
// another order.
func nth(keys []uint64, n int) uint64 {
	at, lo, hi := n-1, 0, len(keys)
	for hi-lo > 1 {
		// Median of three against sorted input; keys are distinct, so every round
		// takes at least the pivot away.
		a, b, c := keys[lo], keys[(lo+hi)/2], keys[hi-1]
		pivot := max(min(a, b), min(max(a, b), c))
		i, j := lo, hi-1
		for i <= j {
			switch {
			case keys[i] > pivot:
				i++
			case keys[j] < pivot:
				j--
			default:
				keys[i], keys[j] = keys[j], keys[i]
				i++
				j--
			}
		}
		// Now keys[lo:j+1] ≥ pivot ≥ keys[i:hi].
		switch {
		case at <= j:
			hi = j + 1
		case at >= i:
			lo = i
		default:
			return keys[at]
		}
	}
	return keys[at]
}

// topsGo and aboveGo: see scoreKernels.
func topsGo(top *[lanes]float32, x []float32) {
	for i := range top {
		top[i] = negInf
	}
	for i, v := range x {
		if v > top[i%lanes] {
			top[i%lanes] = v
		}
	}
}

func aboveGo(ids []int32, x []float32, low float32) int {
	n := 0
	for i, v := range x {
		if v >= low {
			ids[n] = int32(i)
			n++
		}
	}
	return n
}
