package tokenizer

import "unicode/utf8"

// Byte-level vocabularies write each byte as one printable character: printable Latin-1 as itself, the 68 others as
// U+0100 onwards. The words of the model are kept as bytes here; this table is for reading and showing vocabularies.
var (
	byteRune [256]rune
	runeByte [0x144]int16 // -1 for a character that stands for no byte
)

func init() {
	for r := range runeByte {
		runeByte[r] = -1
	}
	next := rune(0x100)
	for b := range 256 {
		r := rune(b)
		if b < '!' || b > '~' && b < 0xA1 || b == 0xAD {
			r = next
			next++
		}
		byteRune[b] = r
		runeByte[r] = int16(b)
	}
}

// byteOf returns the byte that a character stands for, or -1.
func byteOf(r rune) int16 {
	if uint32(r) >= uint32(len(runeByte)) {
		return -1
	}
	return runeByte[r]
}

// toByteLevel appends s with each byte as its character.
func toByteLevel(dst []byte, s string) []byte {
	for i := range len(s) {
		dst = utf8.AppendRune(dst, byteRune[s[i]])
	}
	return dst
}

// fromByteLevel appends the bytes that the characters of s stand for, or reports that one stands for none.
func fromByteLevel(dst []byte, s string) ([]byte, bool) {
	for _, r := range s {
		b := byteOf(r)
		if b < 0 {
			return dst, false
		}
		dst = append(dst, byte(b))
	}
	return dst, true
}
