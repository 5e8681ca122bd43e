package eval

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
)

// Draws is where a generator's chance comes from.
type Draws interface {
	// Below draws a number from 0 to n-1.
	Below(n int) int
	// Bits draws 64 bits.
	Bits() uint64
	// Sample draws k different numbers from 0 to n-1, in the order in which they were drawn; k is at most n.
	Sample(n, k int) []int
	// Shuffle draws an order of 0 … n-1.
	Shuffle(n int) []int
}

// pcg draws by PCG-DXSM.
type pcg struct{ r *rand.Rand }

// newDraws are the draws of one sample. The two words of the generator's seed are the run's, and the FNV-1a hash of the task's
// name, a zero byte, and length and number as 8 bytes each, little-endian: so a sample depends on nothing else.
func newDraws(seed uint64, task string, length, index int) Draws {
	h := fnv.New64a()
	b := binary.LittleEndian.AppendUint64(append([]byte(task), 0), uint64(length))
	_, _ = h.Write(binary.LittleEndian.AppendUint64(b, uint64(index))) // a hash takes all
	return pcg{rand.New(rand.NewPCG(seed, h.Sum64()))}
}

func (p pcg) Below(n int) int     { return p.r.IntN(n) }
func (p pcg) Bits() uint64        { return p.r.Uint64() }
func (p pcg) Shuffle(n int) []int { return p.r.Perm(n) }

// Sample is the beginning of an order of all, of which only the places that were touched are kept.
func (p pcg) Sample(n, k int) []int {
	out, moved := make([]int, k), make(map[int]int, 2*k)
	at := func(i int) int {
		if v, ok := moved[i]; ok {
			return v
		}
		return i
	}
	for i := range out {
		j := i + p.r.IntN(n-i)
		out[i] = at(j)
		moved[j] = at(i)
	}
	return out
}

// uuid draws one of version 4.
func uuid(d Draws) string {
	hi, lo := d.Bits(), d.Bits()
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 1<<63
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", hi>>32, hi>>16&0xffff, hi&0xffff, lo>>48, lo&(1<<48-1))
}

// letters draws k letters from the one that is named on, of an alphabet of 26.
func letters(d Draws, from byte, k int) string {
	b := make([]byte, k)
	for i := range b {
		b[i] = from + byte(d.Below(26))
	}
	return string(b)
}

// picked are the elements at those places.
func picked[T any](list []T, places []int) []T {
	out := make([]T, len(places))
	for i, p := range places {
		out[i] = list[p]
	}
	return out
}
