package dtype_test

import (
	"math"
	"testing"

	"nosa/dtype"
)

// f16 is binary16 by the book: sign, exponent and mantissa put together in float64, which holds each value exactly.
func f16(h uint16) float64 {
	sign := 1 - 2*float64(h>>15)
	exp, man := int(h>>10&31), float64(h&0x3ff)
	switch exp {
	case 0:
		return sign * math.Ldexp(man, -24)
	case 31:
		if man == 0 {
			return sign * math.Inf(1)
		}
		return math.NaN()
	}
	return sign * math.Ldexp(1024+man, exp-25)
}

func TestF16AllPatterns(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		got, want := dtype.F16ToF32(h), f16(h)
		switch {
		case math.IsNaN(want):
			bits := uint32(h&0x8000)<<16 | 0x7f800000 | uint32(h&0x3ff)<<13
			if math.Float32bits(got) != bits {
				t.Fatalf("F16ToF32(%#04x) = %#08x, want NaN %#08x", h, math.Float32bits(got), bits)
			}
			if back := dtype.F32ToF16(got); back != h|0x200 {
				t.Fatalf("F32ToF16(F16ToF32(%#04x)) = %#04x, want the quiet NaN", h, back)
			}
		case math.Float64bits(float64(got)) != math.Float64bits(want):
			t.Fatalf("F16ToF32(%#04x) = %v, want %v", h, got, want)
		default:
			if back := dtype.F32ToF16(got); back != h {
				t.Fatalf("F32ToF16(F16ToF32(%#04x)) = %#04x", h, back)
			}
		}
	}
}

// Every pair of neighbours: what lies between them rounds to the nearer one, the middle to the even one.
func TestF16Rounding(t *testing.T) {
	for i := range 0x7c00 {
		lo, hi := uint16(i), uint16(i+1)
		next := f16(hi)
		if hi == 0x7c00 {
			next = 65536 // where the next finite value would be
		}
		middle := float32((f16(lo) + next) / 2)
		even := lo + lo&1
		for _, c := range []struct {
			v    float32
			want uint16
		}{
			{middle, even},
			{math.Nextafter32(middle, -1), lo},
			{math.Nextafter32(middle, 1e9), hi},
		} {
			if got := dtype.F32ToF16(c.v); got != c.want {
				t.Fatalf("F32ToF16(%v) = %#04x, want %#04x", c.v, got, c.want)
			}
			if got := dtype.F32ToF16(-c.v); got != c.want|0x8000 {
				t.Fatalf("F32ToF16(%v) = %#04x, want %#04x", -c.v, got, c.want|0x8000)
			}
		}
	}
	for v, want := range map[float32]uint16{
		math.MaxFloat32: 0x7c00, float32(math.Inf(-1)): 0xfc00, math.SmallestNonzeroFloat32: 0, 65519.996: 0x7bff,
		65520: 0x7c00,
	} {
		if got := dtype.F32ToF16(v); got != want {
			t.Errorf("F32ToF16(%v) = %#04x, want %#04x", v, got, want)
		}
	}
	if got := dtype.F32ToF16(math.Float32frombits(0x7f800001)); got != 0x7e00 {
		t.Errorf("F32ToF16 of a NaN with a small payload = %#04x, want a NaN", got)
	}
}

func TestBF16AllPatterns(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		got := dtype.BF16ToF32(h)
		if math.Float32bits(got) != uint32(h)<<16 {
			t.Fatalf("BF16ToF32(%#04x) = %v", h, got)
		}
		want := h
		if got != got {
			want |= 0x40
		}
		if back := dtype.F32ToBF16(got); back != want {
			t.Fatalf("F32ToBF16(BF16ToF32(%#04x)) = %#04x, want %#04x", h, back, want)
		}
		if h&0x7f80 == 0x7f80 {
			continue // infinity and NaN have no neighbour to round to
		}
		bits := uint32(h) << 16
		for below, want := range map[uint32]uint16{0x7fff: h, 0x8000: h + h&1, 0x8001: h + 1} {
			if got := dtype.F32ToBF16(math.Float32frombits(bits | below)); got != want {
				t.Fatalf("F32ToBF16(%#08x) = %#04x, want %#04x", bits|below, got, want)
			}
		}
	}
}

func FuzzHalves(f *testing.F) {
	for _, b := range []uint32{0, 1, 0x7f800000, 0x7f800001, 0xffc00000, 0x477fefff, 0x33000000, 0x33000001, 0x38800000} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, bits uint32) {
		v := math.Float32frombits(bits)
		h, b := dtype.F32ToF16(v), dtype.F32ToBF16(v)
		if v != v {
			if h&0x7fff <= 0x7c00 || b&0x7fff <= 0x7f80 {
				t.Fatalf("NaN %#08x became %#04x and %#04x", bits, h, b)
			}
			return
		}
		// No neighbour is nearer. Infinity stands in at the value after the largest, as rounding has it.
		nearest := func(got uint16, value func(uint16) float64) {
			d := math.Abs(float64(v) - value(got))
			for _, other := range []uint16{got - 1, got + 1} {
				if (other^got)&0x8000 == 0 && math.Abs(float64(v)-value(other)) < d {
					t.Fatalf("%v became %v, but %v is nearer", v, value(got), value(other))
				}
			}
		}
		if math.Abs(float64(v)) < 65520 {
			nearest(h, func(h uint16) float64 {
				if h&0x7fff == 0x7c00 {
					return math.Copysign(65536, float64(v))
				}
				return f16(h)
			})
		} else if h&0x7fff != 0x7c00 {
			t.Fatalf("%v became %#04x, want infinity", v, h)
		}
		if math.Abs(float64(v)) < 0x1.ffp127 {
			nearest(b, func(h uint16) float64 {
				if h&0x7fff == 0x7f80 {
					return math.Copysign(0x1p128, float64(v))
				}
				return float64(dtype.BF16ToF32(h))
			})
		}
	})
}

var sink float32

func BenchmarkDecode(b *testing.B) {
	for _, typ := range all {
		b.Run(typ.String(), func(b *testing.B) {
			dst := make([]float32, 1<<14)
			n, err := typ.Size(len(dst))
			if err != nil {
				b.Fatal(err)
			}
			src := make([]byte, n)
			for i := range src {
				src[i] = byte(i * 37)
			}
			b.SetBytes(int64(n))
			for b.Loop() {
				dtype.Decode(typ, dst, src)
			}
			sink = dst[0]
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, typ := range all {
		if !typ.Encodes() {
			continue
		}
		b.Run(typ.String(), func(b *testing.B) {
			src := make([]float32, 1<<14)
			for i := range src {
				src[i] = float32(i*2654435761%1000) - 500
			}
			n, err := typ.Size(len(src))
			if err != nil {
				b.Fatal(err)
			}
			dst := make([]byte, n)
			b.SetBytes(int64(4 * len(src)))
			for b.Loop() {
				dtype.Encode(typ, dst, src)
			}
		})
	}
}
