package main

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// ByteSize is a number of bytes on the command line: 512MiB, 4GiB, 1.5GB, or plain bytes. Units of 1024 have an i, units
// of 1000 have none, as everywhere since 1998; a bare M or G could mean either and is refused.
type ByteSize int64

const maxSizeText = 32

var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"kB", 1e3},
	{"B", 1},
}

// ParseSize reads a size. A fraction of a byte that a unit leaves is dropped.
func ParseSize(s string) (ByteSize, error) {
	number, unit := s, int64(1)
	for _, u := range sizeUnits {
		if n, ok := strings.CutSuffix(s, u.name); ok {
			number, unit = strings.TrimRight(n, " "), u.bytes
			break
		}
	}
	bad := func(why string) (ByteSize, error) {
		return 0, fmt.Errorf("size %q %s: write bytes, or a number with KiB, MiB, GiB, TiB, KB, MB, GB or TB, such as 512MiB or 1.5GB", printable(s, maxSizeText), why)
	}
	if len(s) > maxSizeText {
		return bad("is too long")
	}
	whole, fraction, dotted := strings.Cut(number, ".")
	if !digits(whole) || dotted && !digits(fraction) {
		return bad("is not a number with a unit")
	}
	if dotted && unit == 1 {
		return bad("is a fraction of a byte")
	}
	v, ok := new(big.Rat).SetString(number)
	if !ok {
		return bad("is not a number with a unit")
	}
	v.Mul(v, new(big.Rat).SetInt64(unit))
	n := new(big.Int).Quo(v.Num(), v.Denom())
	if !n.IsInt64() {
		return bad("is more than any memory has")
	}
	return ByteSize(n.Int64()), nil
}

func digits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// String is the shortest exact way to write s; ParseSize reads it back.
func (s ByteSize) String() string {
	plain, best := strconv.FormatInt(int64(s), 10), ""
	for _, u := range sizeUnits {
		if s == 0 || u.bytes == 1 || int64(s)%u.bytes != 0 {
			continue
		}
		if text := strconv.FormatInt(int64(s)/u.bytes, 10) + u.name; best == "" || len(text) < len(best) {
			best = text
		}
	}
	if best == "" || len(plain) < len(best) {
		return plain
	}
	return best
}

// UnmarshalText reads a flag's value.
func (s *ByteSize) UnmarshalText(b []byte) error {
	n, err := ParseSize(string(b))
	if err == nil {
		*s = n
	}
	return err
}

// MarshalText writes what UnmarshalText reads.
func (s ByteSize) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// sizeText is a size for people: three or four digits and a binary unit.
func sizeText(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/(1<<10), 0
	for v >= 1023.95 && unit < 4 {
		v, unit = v/(1<<10), unit+1
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[unit])
}
