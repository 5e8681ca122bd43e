package compute

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

func TestKVType(t *testing.T) {
	for _, name := range []string{"f32", "bf16", "f16", "q8", "q4"} {
		k, err := ParseKVType(name)
		if err != nil || k.String() != name {
			t.Errorf("%q: %v, %v", name, k, err)
		}
	}
	for _, name := range []string{"", "q5", "F32", "bf16 "} {
		if _, err := ParseKVType(name); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	if s := KVType(9).String(); s != "kvtype(9)" {
		t.Errorf("an unknown type is called %q", s)
	}
}

func TestLayoutValidate(t *testing.T) {
	good := Layout{Heads: 2, Dim: 128, Block: 64, Kernel: 32, Stride: 16}
	for name, tc := range map[string]struct {
		change func(*Layout)
		ok     bool
	}{
		"as published":                  {func(*Layout) {}, true},
		"no summaries":                  {func(l *Layout) { l.Kernel, l.Stride = 0, 0 }, true},
		"kernel of a block":             {func(l *Layout) { l.Kernel = 64 }, true},
		"kernel of one segment":         {func(l *Layout) { l.Kernel = 16 }, true},
		"no heads":                      {func(l *Layout) { l.Heads = 0 }, false},
		"negative dim":                  {func(l *Layout) { l.Dim = -64 }, false},
		"no block":                      {func(l *Layout) { l.Block = 0 }, false},
		"too many channels":             {func(l *Layout) { l.Dim = 1 << 20 }, false},
		"kernel without stride":         {func(l *Layout) { l.Stride = 0 }, false},
		"stride without kernel":         {func(l *Layout) { l.Kernel = 0 }, false},
		"negative stride":               {func(l *Layout) { l.Stride = -16 }, false},
		"stride does not divide block":  {func(l *Layout) { l.Stride, l.Kernel = 24, 48 }, false},
		"stride does not divide kernel": {func(l *Layout) { l.Kernel = 40 }, false},
		"kernel beyond a block":         {func(l *Layout) { l.Kernel = 80 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := good
			tc.change(&l)
			if err := l.Validate(); (err == nil) != tc.ok || (err != nil && !errors.Is(err, ErrLayout)) {
				t.Errorf("%+v: %v", l, err)
			}
		})
	}
}

func TestLayoutCounts(t *testing.T) {
	l := Layout{Heads: 1, Dim: 128, Block: 64, Kernel: 32, Stride: 16}
	if l.Segments() != 4 || l.Span() != 2 {
		t.Errorf("%d segments, windows of %d", l.Segments(), l.Span())
	}
	for n, want := range map[int]int{0: 0, 31: 0, 32: 1, 47: 1, 48: 2, 64: 3, 83: 4, 128: 7} {
		if got := l.Windows(n); got != want {
			t.Errorf("%d tokens have %d windows, want %d", n, got, want)
		}
	}
	if none := (Layout{Heads: 1, Dim: 4, Block: 8}); none.Windows(100) != 0 || none.Segments() != 0 || none.Span() != 0 {
		t.Error("a layout without summaries has windows")
	}
	for kv, want := range map[KVType]int{KVF32: 65536, KVBF16: 32768, KVF16: 32768, KVQ8: 16384 + 8*192, KVQ4: 8192 + 8*192} {
		l.Type = kv
		if got := l.BlockBytes(); got != want {
			t.Errorf("a block in %v takes %d bytes, want %d", kv, got, want)
		}
	}
	if odd := (Layout{Block: 3, Dim: 5, Type: KVQ4}); odd.BlockBytes() != 5*2+3*3+8*8 {
		t.Errorf("rows of 3 and 5 codes of 4 bits and their pairs take %d bytes", odd.BlockBytes())
	}
}

// TestQuantisedByHand: two tokens of two channels, codes and pairs where they are
// said to be.
func TestQuantisedByHand(t *testing.T) {
	l := Layout{Heads: 1, Dim: 2, Block: 2, Type: KVQ4}
	b := make([]byte, l.BlockBytes())
	// K by channel: 0 … 15 and a constant; V by token: −1 … 2 and 5 … 6.5.
	l.EncodeBlock(b, []float32{0, 15, 7, 7}, []float32{-1, 2, 6.5, 5})
	for i, want := range []byte{0xf0, 0x00, 0xf0, 0x0f} {
		if b[i] != want {
			t.Errorf("byte %d is %#02x, want %#02x", i, b[i], want)
		}
	}
	for i, want := range [][2]float32{{0, 1}, {7, 0}, {-1, 0.2}, {5, 0.1}} {
		if lo, scale := pair(b[4+8*i:]); lo != want[0] || math.Abs(float64(scale-want[1])) > 1e-7 {
			t.Errorf("pair %d is %v and %v, want %v", i, lo, scale, want)
		}
	}
	k, v := make([]float32, 4), make([]float32, 4)
	l.DecodeBlock(k, v, b)
	near(t, "k", k, []float32{0, 15, 7, 7}, 0)
	near(t, "v", v, []float32{-1, 2, 6.5, 5}, 1e-6)

	// Codes go to the nearest, halves to the even one.
	l = Layout{Heads: 1, Dim: 1, Block: 6, Type: KVQ8}
	b = make([]byte, l.BlockBytes())
	l.EncodeBlock(b, []float32{0, 255, 0.5, 1.5, 2.49, 2.51}, make([]float32, 6))
	for i, want := range []byte{0, 255, 0, 2, 2, 3} {
		if b[i] != want {
			t.Errorf("code %d is %d, want %d", i, b[i], want)
		}
	}
}

// TestEncodeBlock: what comes back is within half a step, and encoding it again
// changes nothing in plain formats.
func TestEncodeBlock(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, kv := range []KVType{KVF32, KVBF16, KVF16, KVQ8, KVQ4} {
		for _, shape := range [][2]int{{64, 64}, {3, 5}, {8, 7}, {1, 1}, {64, 128}} {
			l := Layout{Heads: 1, Block: shape[0], Dim: shape[1], Type: kv}
			n := l.Block * l.Dim
			k, v, k2, v2 := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
			for i := range k {
				k[i], v[i] = float32(rng.NormFloat64()), float32(100*rng.NormFloat64())
			}
			b := make([]byte, l.BlockBytes())
			l.EncodeBlock(b, k, v)
			l.DecodeBlock(k2, v2, b)
			for d := range l.Dim {
				checkRun(t, kv, k[d*l.Block:], k2[d*l.Block:], l.Block)
			}
			for i := range l.Block {
				checkRun(t, kv, v[i*l.Dim:], v2[i*l.Dim:], l.Dim)
			}
		}
	}
}

// checkRun checks the first n values, which share a scale.
func checkRun(t *testing.T, kv KVType, x, y []float32, n int) {
	t.Helper()
	lo, hi := x[0], x[0]
	for i := range n {
		lo, hi = min(lo, x[i]), max(hi, x[i])
	}
	for i := range n {
		a, b := float64(x[i]), float64(y[i])
		var bound float64
		switch kv {
		case KVBF16:
			bound = math.Abs(a) / 256
		case KVF16:
			bound = math.Abs(a)/2048 + 1e-7
		case KVQ8:
			bound = float64(hi-lo)/255/2*1.001 + 1e-5
		case KVQ4:
			bound = float64(hi-lo)/15/2*1.001 + 1e-5
		}
		if math.Abs(a-b) > bound {
			t.Fatalf("%v: %v came back as %v, allowed is %v", kv, a, b, bound)
		}
	}
}

// TestEncodeBlockNotFinite: ranges beyond float32 and what is no number neither
// crash nor spread to other channels.
func TestEncodeBlockNotFinite(t *testing.T) {
	for _, kv := range []KVType{KVQ8, KVQ4} {
		l := Layout{Heads: 1, Dim: 4, Block: 3, Type: kv}
		nan, inf := float32(math.NaN()), float32(math.Inf(1))
		k := []float32{nan, 0, 0, inf, 0, 0, -3e38, 3e38, 0, 1, 2, 4}
		b := make([]byte, l.BlockBytes())
		l.EncodeBlock(b, k, k)
		k2, v2 := make([]float32, 12), make([]float32, 12)
		l.DecodeBlock(k2, v2, b)
		for _, x := range k2[:3] {
			if x == x {
				t.Errorf("%v: beside a NaN stands %v", kv, x)
			}
		}
		near(t, kv.String(), k2[9:], k[9:], 0.11)
		// A range that float32 cannot hold: its lower end is kept, the upper one may
		// overflow on the way back.
		if k2[6] != -3e38 || k2[7] < 2.9e38 {
			t.Errorf("%v: ±3e38 came back as %v and %v", kv, k2[6], k2[7])
		}
	}
}
