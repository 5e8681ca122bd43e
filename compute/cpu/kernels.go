package cpu

import (
	"fmt"
	"slices"
	"strings"

	"nosa/dtype"
)

// kernels is what a level does for the ops: a value, chosen once, so that tests
// can walk every level of the machine. Each field has one rule on top of its own:
// the bits of a row do not depend on what is computed beside it.
type kernels struct {
	name string

	// dot3 sets out[r·os+i] = x_r · w[i·ws:] for three rows of equal length and i
	// below n; dot1 does so for one row, with the same bits.
	dot3 func(out []float32, os int, x0, x1, x2, w []float32, ws, n int)
	dot1 func(out, x, w []float32, ws, n int)

	// expand is dtype.Decode, bit for bit except for the payloads of NaNs.
	expand func(t dtype.Type, dst []float32, src []byte)

	// softmax continues a running softmax with the logits p·scale + bias (bias may
	// be nil): state is maximum and sum, p becomes e^(logit − maximum), and decay
	// is the factor by which what was summed before shrinks.
	softmax func(p, bias []float32, state *[2]float32, scale float32) (decay float32)

	// weigh sets acc = acc·decay + Σ p[j]·v[j·len(acc):], j ascending.
	weigh func(acc, p, v []float32, decay float32)

	// The ops of the same names, on a run of elements or on one row.
	swiglu    func(out, gate, up []float32)
	addScaled func(x, y []float32, scale float32)
	rmsNorm   func(out, x, weight []float32, eps float32)

	// Codes of 8 or 4 bits to float32, with a minimum and a scale per channel
	// (keys) or pairs of them per row (values).
	keyCodes   func(bits int, dst []float32, codes []byte, lo, scale []float32)
	valueCodes func(bits int, dst []float32, codes []byte, pairs []float32)

	// The way back: least and greatest of each column, NaN where it has one; and a
	// code a byte for values with a minimum and a scale each.
	spans func(lo, hi, x []float32)
	codes func(dst []byte, x, lo, scale []float32, top float32)
}

// portable is the level that every machine has.
var portable = kernels{
	name:       "go",
	dot3:       dot3Go,
	dot1:       dot1Go,
	expand:     dtype.Decode,
	softmax:    softmaxGo,
	weigh:      weighGo,
	swiglu:     swigluGo,
	addScaled:  addScaledGo,
	rmsNorm:    rmsNormGo,
	keyCodes:   keyCodesGo,
	valueCodes: valueCodesGo,
	spans:      spansGo,
	codes:      codesGo,
}

// Levels are the names of the levels that this machine can run, the best first.
func Levels() []string {
	var names []string
	for _, k := range available() {
		names = append(names, k.name)
	}
	return names
}

// pick returns the level of the given name, or the best one for "".
func pick(name string) (kernels, error) {
	all := available()
	if name == "" {
		return all[0], nil
	}
	i := slices.IndexFunc(all, func(k kernels) bool { return k.name == name })
	if i < 0 {
		return kernels{}, fmt.Errorf("cpu: level %q: %w: this machine has %s", name, ErrLevel, strings.Join(Levels(), ", "))
	}
	return all[i], nil
}
