package policy

import (
	"math/rand/v2"
	"testing"

	"nosa/dtype"
)

// Codes of every width come back within half a step.
func TestQuantize(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for bits := 1; bits <= 8; bits++ {
		for _, n := range []int{1, 2, 7, 64, 65} {
			x, got := make([]float64, n), make([]float64, n)
			for i := range x {
				x[i] = r.NormFloat64()
			}
			code := make([]byte, groupBytes(n, bits))
			quantize(code, x, bits)
			addCodes(got, code, bits)
			step := 8.0 / float64(int(1)<<bits-1) // of numbers from −4 to 4
			for i := range x {
				if d := got[i] - x[i]; !(max(d, -d) <= step/2+.01) {
					t.Errorf("%d bits, number %d of %d: %v, want %v", bits, i, n, got[i], x[i])
				}
			}
		}
	}
	same, code := make([]float64, 3), make([]byte, groupBytes(3, 2))
	quantize(code, []float64{.5, .5, .5}, 2)
	if addCodes(same, code, 2); same[0] != .5 || same[2] != .5 {
		t.Errorf("equal numbers become %v", same)
	}
}

// The bytes of any run of tokens hold those that are no references, wherever it begins.
func TestResidualBytes(t *testing.T) {
	for _, stride := range []int{2, 8, 10} {
		r := &residuals{stride: stride, sinks: 3, bits: 4, dim: 8, numbers: dtype.BF16}
		c := &residualCodec{r: r}
		for from := range 40 {
			need := 4
			for n := 1; n < 50; n++ {
				if !r.isReference(from + n - 1) {
					need += c.tokenBytes()
				}
				if got := c.Bytes(n); got < need {
					t.Errorf("stride %d: %d tokens from %d on take %d bytes, have %d", stride, n, from, need, got)
				}
			}
		}
	}
	// A head of 128 channels: 4 bits a number, and two scales and minima.
	if got := (&residualCodec{r: &residuals{bits: 4, dim: 128}}).tokenBytes(); got != 136 {
		t.Errorf("a token takes %d bytes, want 136", got)
	}
}
