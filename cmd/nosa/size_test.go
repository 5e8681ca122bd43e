package main

import (
	"math"
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]ByteSize{
		"0": 0, "1": 1, "4096": 4096, "512MiB": 512 << 20, "4GiB": 4 << 30, "1.5GB": 1_500_000_000, "1.5GiB": 3 << 29,
		"2 KiB": 2048, "7B": 7, "1kB": 1000, "1KB": 1000, "3MB": 3_000_000, "2TiB": 2 << 40, "1TB": 1e12,
		"0.1KiB": 102, "0.5MiB": 512 << 10, "6.1GiB": 6549825126, "00012": 12, "9223372036854775807": math.MaxInt64, "0.000000001GB": 1,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestParseSizeRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "GiB", "-1", "+1", "-1GiB", "1.5", "1.5B", "1e9", "0x10", "1_000", "4G", "4M", "4g", "4gib", "4GIB", "1,5GB", "1.GB", ".5GB", "1..5GB",
		"1.5.2GB", "NaN", "Inf", "1/2GB", "9223372036854775808", "8388608TiB", "99999999999999999999GiB", "4 GiB ", " 4GiB", "٣GB", "4GiB4GiB",
		strings.Repeat("1", 40), "1\n", "1\x00GB",
	} {
		got, err := ParseSize(text)
		if err == nil {
			t.Errorf("%q is %d, want an error", text, got)
			continue
		}
		if s := err.Error(); strings.ContainsAny(s, "\n\x00") || len(s) > 250 {
			t.Errorf("%q: not one clear line: %q", text, s)
		}
	}
}

func TestSizeString(t *testing.T) {
	for size, want := range map[ByteSize]string{0: "0", 1: "1", 999: "999", 1000: "1KB", 1024: "1KiB", 1 << 30: "1GiB", 3 << 29: "1536MiB", 1_500_000_000: "1500MB", 1<<30 + 1: "1073741825"} {
		if got := size.String(); got != want {
			t.Errorf("%d prints as %q, want %q", int64(size), got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 1<<20 - 1: "1.0 MiB", 1536 << 20: "1.5 GiB", math.MaxInt64: "8192.0 PiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d is %q for people, want %q", n, got, want)
		}
	}
}

// FuzzSize: what is read prints as something that reads the same, and is never negative.
func FuzzSize(f *testing.F) {
	for _, s := range []string{"512MiB", "4GiB", "1.5GB", "0", "-1", "1e9", "9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseSize(text)
		if err != nil {
			if s := err.Error(); strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }) || len(s) > 400 {
				t.Fatalf("%q: not one clear line: %q", text, s)
			}
			return
		}
		if n < 0 {
			t.Fatalf("%q is %d", text, n)
		}
		if again, err := ParseSize(n.String()); err != nil || again != n {
			t.Fatalf("%q is %d, which prints as %q, which is %d, %v", text, n, n, again, err)
		}
	})
}
