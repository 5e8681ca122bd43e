package compute

import (
	"math"

	"nosa/dtype"
)

// tiniest is the magnitude below which a group of activations counts as zeros: far
// below anything a model computes, and far enough from the end of float32 for the
// scale and its inverse to be normal numbers.
const tiniest = 0x1p-96

// QuantiseGroup rounds 32 activations to integers of one scale, which it returns:
// x[i] is nearly scale·codes[i]. With amax the largest magnitude the scale is
// amax/Top and a code is x·(Top/amax), every step rounded to float32 and the last to
// the nearest integer, halves to even. A group below tiniest has scale and codes 0.
// One with an infinity or a NaN has scale NaN and codes 0, so that whatever is
// multiplied by it is NaN too.
func QuantiseGroup(codes *[dtype.GroupLen]int32, x []float32, n Numerics) (scale float32) {
	var bits uint32 // of magnitudes: their order is that of the numbers, NaN above all
	for _, v := range x[:dtype.GroupLen] {
		bits = max(bits, math.Float32bits(v)&^(1<<31))
	}
	*codes = [dtype.GroupLen]int32{}
	amax, top := math.Float32frombits(bits), float32(n.Top())
	switch {
	case bits >= math.Float32bits(float32(math.Inf(1))):
		return float32(math.NaN())
	case amax < tiniest:
		return 0
	}
	inverse := top / amax
	for i, v := range x[:dtype.GroupLen] {
		codes[i] = int32(math.RoundToEven(float64(float32(v * inverse))))
	}
	return amax / top
}

// LinearInt is Linear for a quantised weight in integers: rows of activations are
// rounded to codes in groups of 32 along k (QuantiseGroup), and so the product of a
// group is an exact integer. Every element is, in this order and every step rounded
// to float32,
//
//	acc = 0
//	for each group b, ascending:
//	    acc = acc + float32(Σ (weight code − zero)·code)·(weight scale·scale)
//	    acc = acc + minimum·(scale·float32(Σ code))        in formats that have a minimum
//	out = acc + bias
//
// and nothing else: no other grouping, no fused steps. It has the same bits on every
// device, level and number of rows. Q6_K, whose scales are of 16 elements, takes the
// first line once for either half. Sums of codes are below 2²⁸ (32·255·32639).
func LinearInt(out, x []float32, weight Tensor, bias []float32, n Numerics) {
	outputs, k := weight.Dims[0], weight.Stride()
	rows, groups := len(x)/k, k/dtype.GroupLen
	for i := range outputs {
		row := weight.Rows(i, i+1).Data
		for r := range rows {
			var acc float32
			for b := range groups {
				acc = addGroup(acc, row, weight.Type, b, x[r*k+b*dtype.GroupLen:], n)
			}
			if bias != nil {
				acc += bias[i]
			}
			out[r*outputs+i] = acc
		}
	}
}

// addGroup adds group b of a weight's row times 32 activations.
func addGroup(acc float32, row []byte, t dtype.Type, b int, x []float32, n Numerics) float32 {
	var w dtype.Group
	var codes [dtype.GroupLen]int32
	dtype.ReadGroup(t, &w, row, b)
	scale := QuantiseGroup(&codes, x, n)
	var product [2]int32 // of either half
	var sum int32
	for i, c := range codes {
		product[i/16] += (int32(w.Code[i]) - int32(t.Zero())) * c
		sum += c
	}
	if t == dtype.Q6_K {
		acc += float32(float32(product[0]) * float32(w.Factor(0)*scale))
		acc += float32(float32(product[1]) * float32(w.Factor(1)*scale))
		return acc
	}
	acc += float32(float32(product[0]+product[1]) * float32(w.Factor(0)*scale))
	if t.HasMinimum() {
		acc += float32(w.Minimum() * float32(scale*float32(sum)))
	}
	return acc
}
