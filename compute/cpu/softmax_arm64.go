//go:build !noasm

package cpu

import "unsafe"

//go:noescape
func softmaxOneNEON(p, bias *float32, state *[2]float32, n int, scale float32) (decay float32)

func softmaxNEON(s *softRows, m int) {
	for i := range m {
		p := (*float32)(unsafe.Add(unsafe.Pointer(s.p), 4*i*s.ld))
		s.decay[i] = softmaxOneNEON(p, s.bias, s.state[i], s.n, s.scale)
	}
}
