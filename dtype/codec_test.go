package dtype_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"testing"

	"nosa/dtype"
)

// goldens.json is written by scripts/oracles/weights_dtypes.py.
type goldens struct {
	Decode, Encode map[string]struct{ Bytes, Values []byte }
}

func readGoldens(t *testing.T) goldens {
	t.Helper()
	data, err := os.ReadFile("testdata/goldens.json")
	if err != nil {
		t.Fatal(err)
	}
	var g goldens
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func floats(b []byte) []float32 {
	out := make([]float32, len(b)/4)
	dtype.Decode(dtype.F32, out, b)
	return out
}

func TestDecodeGoldens(t *testing.T) {
	g := readGoldens(t)
	for _, typ := range all {
		if !typ.Quantised() {
			continue
		}
		t.Run(typ.String(), func(t *testing.T) {
			golden, ok := g.Decode[typ.String()]
			if !ok {
				t.Fatal("no golden values for this type")
			}
			want := floats(golden.Values)
			got := make([]float32, len(want))
			dtype.Decode(typ, got, golden.Bytes)
			for i := range want {
				if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
					t.Fatalf("element %d: %v (%#08x), want %v (%#08x)", i, got[i], math.Float32bits(got[i]), want[i],
						math.Float32bits(want[i]))
				}
			}
		})
	}
}

func TestEncodeGoldens(t *testing.T) {
	g := readGoldens(t)
	for _, typ := range all {
		if !typ.Encodes() {
			continue
		}
		t.Run(typ.String(), func(t *testing.T) {
			golden, ok := g.Encode[typ.String()]
			if !ok {
				t.Fatal("no golden bytes for this type")
			}
			src := floats(golden.Values)
			got := make([]byte, len(golden.Bytes))
			dtype.Encode(typ, got, src)
			for i := range got {
				if got[i] != golden.Bytes[i] {
					t.Fatalf("byte %d of block %d is %#02x, want %#02x", i%typ.BlockBytes(), i/typ.BlockBytes(), got[i],
						golden.Bytes[i])
				}
			}
		})
	}
}

func TestDecodeIntegers(t *testing.T) {
	var src []byte
	src = binary.LittleEndian.AppendUint64(src, 1<<40)
	src = binary.LittleEndian.AppendUint64(src, ^uint64(2))
	got := make([]float32, 2)
	if dtype.Decode(dtype.I64, got, src); got[0] != 1<<40 || got[1] != -3 {
		t.Errorf("I64: %v", got)
	}
	if dtype.Decode(dtype.I32, got, src[8:]); got[0] != -3 || got[1] != -1 {
		t.Errorf("I32: %v", got)
	}
	if dtype.Decode(dtype.U8, got, src[7:]); got[0] != 0 || got[1] != 253 {
		t.Errorf("U8: %v", got)
	}
}

// Lengths that are no multiple of the unrolled loop give what single values give.
func TestDecodeHalvesOddLengths(t *testing.T) {
	src := make([]byte, 64)
	for i := range src {
		src[i] = byte(i*89 + 7)
	}
	for n := range 17 {
		got := make([]float32, n+1)
		got[n] = 42
		for typ, one := range map[dtype.Type]func(uint16) float32{dtype.F16: dtype.F16ToF32, dtype.BF16: dtype.BF16ToF32} {
			dtype.Decode(typ, got[:n], src)
			for i := range n {
				want := one(binary.LittleEndian.Uint16(src[2*i:]))
				if math.Float32bits(got[i]) != math.Float32bits(want) {
					t.Fatalf("%v, %d elements: element %d is %v, want %v", typ, n, i, got[i], want)
				}
			}
			if got[n] != 42 {
				t.Fatalf("%v: wrote behind the end", typ)
			}
		}
	}
}

func TestFits(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, tc := range []struct {
		t    dtype.Type
		v    float32
		want bool
	}{
		{dtype.F32, inf, true}, {dtype.F32, nan, true}, {dtype.F16, 65519, true}, {dtype.F16, -65520, false},
		{dtype.F16, inf, true}, {dtype.F16, nan, true}, {dtype.BF16, 3e38, true}, {dtype.BF16, math.MaxFloat32, false},
		{dtype.Q8_0, 8e6, true}, {dtype.Q8_0, 9e6, false}, {dtype.Q8_0, nan, false}, {dtype.Q8_0, -inf, false},
		{dtype.Q4_0, 5e5, true}, {dtype.Q4_0, -6e5, false}, {dtype.Q4_0, nan, false},
	} {
		src := make([]float32, 32)
		src[7] = tc.v
		if got := dtype.Fits(tc.t, src); got != tc.want {
			t.Errorf("Fits(%v, %v) = %v", tc.t, tc.v, got)
		}
		if !tc.want || !tc.t.Quantised() {
			continue
		}
		// What is said to fit keeps its order of magnitude, and its neighbours stay zero.
		buf, back := make([]byte, tc.t.BlockBytes()), make([]float32, 32)
		dtype.Encode(tc.t, buf, src)
		dtype.Decode(tc.t, back, buf)
		if r := back[7] / tc.v; r < 0.99 || r > 1.01 || back[6] != 0 {
			t.Errorf("%v: %v came back as %v beside %v", tc.t, tc.v, back[7], back[6])
		}
	}
}

func TestPanicsOnMisuse(t *testing.T) {
	for name, f := range map[string]func(){
		"short source":      func() { dtype.Decode(dtype.Q8_0, make([]float32, 32), make([]byte, 33)) },
		"part of a block":   func() { dtype.Decode(dtype.Q8_0, make([]float32, 16), make([]byte, 34)) },
		"invalid":           func() { dtype.Decode(dtype.Invalid, nil, nil) },
		"short destination": func() { dtype.Encode(dtype.F16, make([]byte, 3), make([]float32, 2)) },
		"not writable":      func() { dtype.Encode(dtype.Q4_K, make([]byte, 144), make([]float32, 256)) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

// FuzzDecode: any bytes decode, blocks do not depend on what stands beside them, and for formats that can be written
// the way back changes a block only within its own precision.
func FuzzDecode(f *testing.F) {
	f.Add(uint8(dtype.Q4_0), []byte("0123456789abcdefgh"))
	f.Add(uint8(dtype.Q6_K), bytes.Repeat([]byte{0x35}, 420))
	f.Add(uint8(dtype.F16), []byte{0, 0x7c, 1, 0x7c, 0xff, 3})
	f.Fuzz(func(t *testing.T, kind uint8, src []byte) {
		typ := dtype.Type(kind)
		if !typ.Valid() {
			return
		}
		blocks := len(src) / typ.BlockBytes()
		dst := make([]float32, blocks*typ.Block())
		dtype.Decode(typ, dst, src)
		for b := range blocks {
			alone := make([]float32, typ.Block())
			dtype.Decode(typ, alone, bytes.Clone(src[b*typ.BlockBytes():(b+1)*typ.BlockBytes()]))
			for i, v := range alone {
				if math.Float32bits(v) != math.Float32bits(dst[b*typ.Block()+i]) {
					t.Fatalf("%v: block %d, element %d: %v alone, %v in its row", typ, b, i, v, dst[b*typ.Block()+i])
				}
			}
			if !typ.Encodes() || !dtype.Fits(typ, alone) {
				continue
			}
			buf, back := make([]byte, typ.BlockBytes()), make([]float32, typ.Block())
			dtype.Encode(typ, buf, alone)
			dtype.Decode(typ, back, buf)
			var peak float64
			for _, v := range alone {
				peak = math.Max(peak, math.Abs(float64(v)))
			}
			// Half a step of the new scale, and as much again for the scale's own rounding; Q4_0's range is not
			// symmetric, so that its far end may lose a whole step. An f16 scale is never finer than 2^-24.
			bound := map[dtype.Type]float64{dtype.Q8_0: peak/127 + 128*0x1p-25, dtype.Q4_0: peak/4 + 8*0x1p-25}[typ]
			for i, v := range alone {
				if math.Abs(float64(v)-float64(back[i])) > bound {
					t.Fatalf("%v: element %d: %v came back as %v, bound %v", typ, i, v, back[i], bound)
				}
			}
		}
	})
}
