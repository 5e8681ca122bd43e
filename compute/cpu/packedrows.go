package cpu

import (
	"encoding/binary"
	"math"

	"nosa/compute"
	"nosa/dtype"
)

// quantiser says how rows of activations are written for one format of weights.
type quantiser struct {
	numerics compute.Numerics
	format   dtype.Type // of the weight: a kernel may add as many products in 16 bits as its codes allow
	form     form
	kind     kind
	zero     int32
}

func formGo(n compute.Numerics, _ dtype.Type) form {
	if n == compute.NumericsInt8 {
		return formBytes
	}
	return formPairs
}

// quantiseGo is the portable twin of quantise.
func quantiseGo(dst []byte, x []float32, q *quantiser, place, tile int) {
	size := q.form.bytes()
	step := tile * (size + sideBytes)
	var codes [groupLen]int32
	for ; len(x) >= groupLen; x = x[groupLen:] {
		scale := compute.QuantiseGroup(&codes, x, q.numerics)
		q.form.put(dst[place*size:][:size], &codes)
		side := dst[tile*size+place*sideBytes:][:sideBytes]
		var sum [2]int32
		for i, c := range codes {
			sum[i/16] += c
		}
		s0, s1 := uint32(-q.zero*(sum[0]+sum[1])), uint32(0)
		switch q.kind {
		case kindMinimum:
			s0 = math.Float32bits(scale * float32(sum[0]+sum[1]))
		case kindHalves:
			s0, s1 = uint32(-q.zero*sum[0]), uint32(-q.zero*sum[1])
		}
		binary.LittleEndian.PutUint32(side, math.Float32bits(scale))
		binary.LittleEndian.PutUint32(side[4:], s0)
		binary.LittleEndian.PutUint32(side[8:], s1)
		binary.LittleEndian.PutUint32(side[12:], 0)
		dst = dst[min(step, len(dst)):]
	}
}

// put stores the codes of a group.
func (f form) put(dst []byte, codes *[groupLen]int32) {
	switch f {
	case formBytes:
		for i, c := range codes {
			dst[i] = byte(c)
		}
	case formSplit:
		for i, c := range codes {
			dst[i], dst[32+i] = byte((c+128)>>8), byte(c)
		}
	case formPairs:
		for i, c := range codes { // k1 and k2 of a quad change places
			at := i&^3 | i&1<<1 | i>>1&1
			binary.LittleEndian.PutUint16(dst[2*at:], uint16(c))
		}
	}
}

// get reads the codes of a group.
func (f form) get(codes *[groupLen]int32, src []byte) {
	switch f {
	case formBytes:
		for i := range codes {
			codes[i] = int32(int8(src[i]))
		}
	case formSplit:
		for i := range codes {
			codes[i] = int32(int8(src[i]))<<8 + int32(int8(src[32+i]))
		}
	case formPairs:
		for i := range codes {
			at := i&^3 | i&1<<1 | i>>1&1
			codes[i] = int32(int16(binary.LittleEndian.Uint16(src[2*at:])))
		}
	}
}

// side reads what stands beside a group's codes.
func side(b []byte) (scale float32, s0, s1 uint32) {
	return math.Float32frombits(binary.LittleEndian.Uint32(b)), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
}
