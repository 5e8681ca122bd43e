package corpus

import "math/bits"

// mix is a bijection of 64 bits that leaves no pattern: the finaliser of splitmix64.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// derive makes a seed of a seed and what it is for.
func derive(seed uint64, parts ...uint64) uint64 {
	for _, p := range parts {
		seed = mix(seed+0x9e3779b97f4a7c15) ^ mix(p+0xd1b54a32d192ed03)
	}
	return mix(seed)
}

// random is a stream of numbers that its seed fixes, on every machine and with every version of Go.
type random uint64

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	return mix(uint64(*r))
}

// below returns a number from 0 to n-1; n is at least 1.
func (r *random) below(n int) int {
	hi, _ := bits.Mul64(r.next(), uint64(n))
	return int(hi)
}

// permute returns where place i of n comes in the order of a seed: a bijection of 0 … n-1 that needs no memory, so that a
// position in it is two numbers. It is a Feistel network over the next even power of two, walked until it comes back into
// range (at most 4 steps on average).
func permute(seed, i, n uint64) uint64 {
	half := uint(max(1, (bits.Len64(n-1)+1)/2))
	mask := uint64(1)<<half - 1
	for {
		left, right := i>>half, i&mask
		for round := range uint64(6) {
			left, right = right, left^mix(right^derive(seed, round))&mask
		}
		if i = left<<half | right; i < n {
			return i
		}
	}
}
