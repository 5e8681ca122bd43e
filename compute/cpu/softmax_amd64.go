//go:build !noasm

package cpu

var attendAVX2 = attendKernels{softmax: softmax, weigh: weigh, rowCodes: rowCodes}

//go:noescape
func softmaxAVX2(p, bias, state *float32, n int, scale float32) (decay float32)

//go:noescape
func weighAVX2(acc, p, v *float32, n, dim int, decay float32)

func softmax(p, bias []float32, state *[2]float32, scale float32) (decay float32) {
	if len(p) == 0 {
		return 1
	}
	var b *float32
	if bias != nil {
		b = &bias[:len(p)][0]
	}
	return softmaxAVX2(&p[0], b, &state[0], len(p), scale)
}

func weigh(acc, p, v []float32, decay float32) {
	if len(acc) == 0 {
		return
	}
	if len(p) == 0 {
		weighGo(acc, p, v, decay)
		return
	}
	_ = v[len(p)*len(acc)-1]
	weighAVX2(&acc[0], &p[0], &v[0], len(p), len(acc), decay)
}
