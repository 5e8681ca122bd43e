package computetest

import (
	"encoding/binary"
	"flag"
	"math"
	"math/rand/v2"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// Tolerance is how far a device may be from the definitions.
type Tolerance struct {
	// Sum bounds an error relative to the sum of absolute products: of a linear op,
	// of a logit, of the weighted values. A float32 sum of a few thousand terms in
	// lanes stays below 4e-6.
	Sum float64
	// Point bounds the relative error of one element-wise result.
	Point float64
	// Quantised is Sum for linear ops with quantised weights, on a device that rounds
	// their activations; 0: it does not, and Sum holds.
	Quantised float64
	// Coded bounds what is added to the error of attention to blocks of codes of 8 and
	// 4 bits, on a device that rounds what it multiplies them by, relative to the
	// largest product: half a step of its own codes. 0: it rounds nothing.
	Coded float64
	// Rounded is the largest relative error of one factor of a product of attention, on a
	// device that rounds queries, keys, weights and values; 0: it rounds none.
	Rounded float64
}

// quantised bounds a linear op's error for weights of a format.
func (t Tolerance) quantised(format dtype.Type) float64 {
	if format.Quantised() && t.Quantised > 0 {
		return t.Quantised
	}
	return t.Sum
}

// Float32 suits a device that computes in float32 throughout.
var Float32 = Tolerance{Sum: 4e-6, Point: 2e-6}

// BFloat16 suits a device that computes in float32, but for attention, whose factors it
// rounds to 8 bits: by half of one in 128 at most.
var BFloat16 = Tolerance{Sum: 4e-6, Point: 2e-6, Rounded: 1. / 256}

// Run runs the suite. The device stays open.
func Run(t *testing.T, dev compute.Device, tol Tolerance) {
	s := &suite{dev: dev, tol: tol}
	for _, part := range []struct {
		name string
		run  func(*suite, *testing.T)
	}{
		{"Memory", (*suite).memory},
		{"Embed", (*suite).embed},
		{"Linear", (*suite).linear},
		{"LinearRows", (*suite).linearRows},
		{"LinearNotFinite", (*suite).linearNotFinite},
		{"RMSNorm", (*suite).rmsNorm},
		{"Rotate", (*suite).rotate},
		{"SwiGLU", (*suite).swiGLU},
		{"Residual", (*suite).residual},
		{"Importance", (*suite).importance},
		{"Append", (*suite).append},
		{"Seal", (*suite).seal},
		{"Transfer", (*suite).transfer},
		{"ScoreBlocks", (*suite).scoreBlocks},
		{"ScoreImportance", (*suite).scoreImportance},
		{"Select", (*suite).selection},
		{"Attend", (*suite).attend},
		{"AttendMinusInf", (*suite).attendMinusInf},
		{"AttendNotANumber", (*suite).attendNotANumber},
		{"AttendInfinite", (*suite).attendInfinite},
		{"KeyLogits", (*suite).keyLogits},
		{"Tiles", (*suite).tiles},
	} {
		t.Run(part.name, func(t *testing.T) {
			s.rng = newRand(t)
			part.run(s, t)
			if err := dev.Sync(); err != nil {
				t.Fatalf("Sync: %v", err)
			}
		})
	}
}

// suite is a device under test, beside the definitions.
type suite struct {
	dev compute.Device
	ref compute.Reference
	tol Tolerance
	rng *rand.Rand
}

var fixed = flag.Uint64("computetest.seed", 0, "seed of all inputs; 0: a new one each time")

// newRand returns numbers from a seed that the log names.
func newRand(t *testing.T) *rand.Rand {
	seed := *fixed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-computetest.seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// pair is the same data on the device under test and for the definitions.
type pair struct{ dev, ref compute.Tensor }

// put copies data to both sides. The device's copy is freed at the test's end.
func (s *suite) put(t *testing.T, typ dtype.Type, data []byte, shape ...int) pair {
	t.Helper()
	dev := s.alloc(t, s.dev, typ, shape...)
	ref := s.alloc(t, s.ref, typ, shape...)
	s.dev.Upload(dev, data)
	s.ref.Upload(ref, data)
	return pair{dev, ref}
}

func (s *suite) alloc(t *testing.T, dev compute.Device, typ dtype.Type, shape ...int) compute.Tensor {
	t.Helper()
	x, err := dev.Alloc(typ, shape...)
	if err != nil {
		t.Fatalf("Alloc(%v, %v): %v", typ, shape, err)
	}
	t.Cleanup(func() { dev.Free(x) })
	return x
}

func (s *suite) f32(t *testing.T, v []float32, shape ...int) pair {
	t.Helper()
	return s.put(t, dtype.F32, bytesOf(v), shape...)
}

func (s *suite) i32(t *testing.T, v []int32, shape ...int) pair {
	t.Helper()
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, uint32(x))
	}
	return s.put(t, dtype.I32, b, shape...)
}

// empty is a pair of float32 tensors of a value that no op may leave in place.
func (s *suite) empty(t *testing.T, shape ...int) pair {
	t.Helper()
	n := 1
	for _, d := range shape {
		n *= d
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = -12345.678
	}
	return s.f32(t, v, shape...)
}

// read returns a float32 tensor's values.
func read(dev compute.Device, x compute.Tensor) []float32 {
	b := make([]byte, x.Bytes())
	dev.Download(b, x)
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

func readInts(dev compute.Device, x compute.Tensor) []int32 {
	b := make([]byte, x.Bytes())
	dev.Download(b, x)
	v := make([]int32, len(b)/4)
	for i := range v {
		v[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

func bytesOf(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// normal returns n values of the normal distribution.
func (s *suite) normal(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(s.rng.NormFloat64())
	}
	return v
}

// close holds the device's values against the definitions', each within
// bound(i); what is not a number on one side must not be one on the other.
func (s *suite) close(t *testing.T, what string, p pair, bound func(i int, want float64) float64) {
	t.Helper()
	got, want := read(s.dev, p.dev), read(s.ref, p.ref)
	for i, w := range want {
		g := float64(got[i])
		if got[i] == w || (g != g && w != w) {
			continue
		}
		if d := math.Abs(g - float64(w)); !(d <= bound(i, float64(w))) {
			t.Fatalf("%s: element %d of %v is %v, the definition says %v (off by %.3g, allowed %.3g)",
				what, i, p.ref.Dims[:p.ref.Rank], got[i], w, d, bound(i, float64(w)))
		}
	}
}

// point is a bound for element-wise ops.
func (s *suite) point(_ int, want float64) float64 {
	return s.tol.Point*math.Abs(want) + 1e-37
}

// same compares to the bit.
func same(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) && !(got[i] != got[i] && want[i] != want[i]) {
			t.Fatalf("%s: element %d is %v (%08x), want the bits of %v (%08x)", what, i,
				got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}

// heavy reports whether a case of so many products is left out, which -short asks for: the
// race detector makes each of them a call.
func heavy(t *testing.T, i, products int) bool {
	t.Helper()
	if !testing.Short() || products < 9e6 {
		return false
	}
	t.Logf("-short: case %d is left out", i)
	return true
}
