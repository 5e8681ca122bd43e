package dtype

import (
	"encoding/binary"
	"fmt"
)

// GroupLen is the number of elements of a Group.
const GroupLen = 32

// Group is 32 neighbouring elements of a quantised format as the integers that are stored, for products in integers:
// element i is Factor(i/16)·(Code[i] − Zero) + Minimum, each step rounded to float32, which is what Decode gives.
type Group struct {
	Type   Type
	Code   [GroupLen]uint8 // Q8_0's signed codes are moved up by 128, to be of one kind with the others
	D, M   uint16          // float16: scale, and minimum (Q4_1, Q5_1) or scale of minima (Q4_K, Q5_K)
	Sub    [2]uint8        // of 256-element formats: scale of elements 0–15 and of 16–31, signed in Q6_K
	SubMin uint8           // of Q4_K and Q5_K
}

// ReadGroup sets g to the group of number at, counted from 0, of a row whose bytes begin at row. It panics when t is
// not quantised or row is shorter.
func ReadGroup(t Type, g *Group, row []byte, at int) {
	if !t.Quantised() {
		panic(fmt.Sprintf("dtype.ReadGroup: %v has no groups", t))
	}
	size, groups := t.BlockBytes(), t.Block()/GroupLen
	block := row[at/groups*size:][:size]
	at %= groups
	*g = Group{Type: t}
	switch t {
	case Q8_0:
		g.D = binary.LittleEndian.Uint16(block)
		for i, q := range block[2:34] {
			g.Code[i] = q ^ 0x80
		}
	case Q4_0:
		g.D = binary.LittleEndian.Uint16(block)
		g.halves(block[2:18], 0)
	case Q4_1:
		g.D, g.M = binary.LittleEndian.Uint16(block), binary.LittleEndian.Uint16(block[2:])
		g.halves(block[4:20], 0)
	case Q5_0:
		g.D = binary.LittleEndian.Uint16(block)
		g.halves(block[6:22], binary.LittleEndian.Uint32(block[2:]))
	case Q5_1:
		g.D, g.M = binary.LittleEndian.Uint16(block), binary.LittleEndian.Uint16(block[2:])
		g.halves(block[8:24], binary.LittleEndian.Uint32(block[4:]))
	case Q4_K, Q5_K:
		g.D, g.M = binary.LittleEndian.Uint16(block), binary.LittleEndian.Uint16(block[2:])
		sc, mn := scaleMin(at, block[4:16])
		g.Sub, g.SubMin = [2]uint8{sc, sc}, mn
		codes := block[size-128:][at/2*32:][:32]
		for i, q := range codes {
			g.Code[i] = q >> (at & 1 * 4) & 15
		}
		if t == Q5_K {
			for i, h := range block[16:48] {
				g.Code[i] |= h >> at & 1 << 4
			}
		}
	case Q6_K:
		g.D = binary.LittleEndian.Uint16(block[208:])
		g.Sub = [2]uint8{block[192+2*at], block[192+2*at+1]}
		n, r := at/4, at%4
		low, high := block[n*64+r&1*32:][:32], block[128+n*32:][:32]
		for i := range g.Code {
			g.Code[i] = low[i]>>(r>>1*4)&15 | high[i]>>(2*r)&3<<4
		}
	}
}

// halves sets the codes from 16 bytes, element i in the low and i+16 in the high half, and their fifth bits.
func (g *Group) halves(q []byte, high uint32) {
	for i, b := range q {
		g.Code[i] = b&15 | uint8(high>>i&1<<4)
		g.Code[i+16] = b>>4 | uint8(high>>(i+16)&1<<4)
	}
}

// Zero is the code that stands for the integer 0.
func (t Type) Zero() int {
	switch t {
	case Q8_0:
		return 128
	case Q4_0:
		return 8
	case Q5_0:
		return 16
	case Q6_K:
		return 32
	}
	return 0
}

// Factor is the scale of the elements of a half: 0 to 15 or 16 to 31.
func (g *Group) Factor(half int) float32 {
	d := F16ToF32(g.D)
	switch g.Type {
	case Q4_K, Q5_K:
		return float32(d * float32(g.Sub[half]))
	case Q6_K:
		return float32(d * float32(int8(g.Sub[half])))
	}
	return d
}

// HasMinimum says whether the groups of a format have a minimum to add.
func (t Type) HasMinimum() bool { return t == Q4_1 || t == Q5_1 || t == Q4_K || t == Q5_K }

// Minimum is what is added to each element; 0 in formats without one.
func (g *Group) Minimum() float32 {
	switch g.Type {
	case Q4_1, Q5_1:
		return F16ToF32(g.M)
	case Q4_K, Q5_K:
		return float32(-F16ToF32(g.M) * float32(g.SubMin))
	}
	return 0
}
