package cpu

import (
	"encoding/binary"

	"nosa/dtype"
)

// pack lays out the panel of n outputs, 1 to 16, whose rows of so many bytes follow
// each other in src. dst is the whole panel and may hold anything.
//
// Four bytes at a time: a quad of an output is one word of a code vector, and the
// formats of 32 elements have their low and high halves as a panel has them.
func (p *packing) pack(dst, src []byte, rowBytes, n, groups int) {
	if n < panelOutputs {
		clear(dst)
	}
	super := p.format.Block() / groupLen // groups of a block of the file
	size := p.format.BlockBytes()
	for b := 0; b < groups; b += super {
		for o := range n {
			block := src[o*rowBytes+b/super*size:][:size]
			if p.header != 0 {
				p.packSuper(dst[p.at(b)-p.header:], block, o)
			} else {
				p.packGroup(dst[p.at(b):][:p.group], block, o)
			}
		}
	}
}

// word and setWord are the bytes of output o in a vector.
func word(b []byte, i int) uint32       { return binary.LittleEndian.Uint32(b[4*i:]) }
func setWord(b []byte, i int, v uint32) { binary.LittleEndian.PutUint32(b[4*i:], v) }
func setHalf(b []byte, o int, v []byte) { b[2*o], b[2*o+1] = v[0], v[1] }

// packGroup lays out a block of a format of 32 elements.
func (p *packing) packGroup(dst, block []byte, o int) {
	tail := dst[p.codes:]
	setHalf(tail, o, block)
	switch p.format {
	case dtype.Q8_0:
		for q := range 8 {
			setWord(dst, q*16+o, word(block[2:34], q)^0x80808080)
		}
		return
	case dtype.Q4_1:
		setHalf(tail[32:], o, block[2:])
	case dtype.Q5_0:
		setWord(dst, 64+o, fifthBits(word(block[2:], 0)))
	case dtype.Q5_1:
		setHalf(tail[32:], o, block[2:])
		setWord(dst, 64+o, fifthBits(word(block[4:], 0)))
	}
	codes := block[len(block)-16:]
	for q := range 4 {
		setWord(dst, q*16+o, word(codes, q))
	}
}

// fifthBits turns 32 bits by k into four bytes [k of a quad] of a bit for each quad.
func fifthBits(h uint32) (plane uint32) {
	for q := range 8 {
		// Bits 0 to 3 to the lowest places of the four bytes: no two products meet.
		plane |= (h >> (4 * q) & 15 * 0x00204081) & 0x01010101 << q
	}
	return plane
}

// packSuper lays out a block of 256 elements: dst begins at the header.
func (p *packing) packSuper(dst, block []byte, o int) {
	const lows, ones, pairs = 0x0f0f0f0f, 0x01010101, 0x03030303
	if p.format == dtype.Q6_K {
		setHalf(dst, o, block[208:])
		for g := range superGroups {
			out := dst[p.header+g*p.group:][:p.group]
			low, high := block[g/4*64+g&1*32:][:32], block[128+g/4*32:][:32]
			from, shift := g>>1&1*4, 2*(g%4)
			for q := range 4 {
				setWord(out, q*16+o, word(low, q)>>from&lows|word(low, q+4)>>from&lows<<4)
			}
			for half := range 2 {
				var plane uint32
				for j := range 4 {
					plane |= word(high, 4*half+j) >> shift & pairs << (2 * j)
				}
				setWord(out, 64+half*16+o, plane)
			}
			out[p.codes+o], out[p.codes+16+o] = block[192+2*g], block[192+2*g+1]
		}
		return
	}
	setHalf(dst, o, block)
	setHalf(dst[32:], o, block[2:])
	codes := block[len(block)-128:]
	for g := range superGroups {
		out := dst[p.header+g*p.group:][:p.group]
		in, from := codes[g/2*32:][:32], g&1*4
		for q := range 4 {
			setWord(out, q*16+o, word(in, q)>>from&lows|word(in, q+4)>>from&lows<<4)
		}
		if p.format == dtype.Q5_K {
			var plane uint32
			for q := range 8 {
				plane |= word(block[16:48], q) >> g & ones << q
			}
			setWord(out, 64+o, plane)
		}
		scale, minimum := subScales(g, block[4:16])
		out[p.codes+o], out[p.codes+16+o] = scale, minimum
	}
}

// subScales unpacks scale and minimum of a group from the 12 bytes of a block.
func subScales(g int, s []byte) (scale, minimum byte) {
	if g < 4 {
		return s[g] & 63, s[g+4] & 63
	}
	return s[g+4]&15 | s[g-4]>>6<<4, s[g+4]>>4 | s[g]>>6<<4
}
