//go:build !noasm

package cpu

import "unsafe"

//go:noescape
func softmaxAVX2(p, bias *float32, state *[2]float32, n int, scale float32) (decay float32)

func softmaxAVX2Rows(s *softRows, m int) {
	for i := range m {
		p := (*float32)(unsafe.Add(unsafe.Pointer(s.p), 4*i*s.ld))
		s.decay[i] = softmaxAVX2(p, s.bias, s.state[i], s.n, s.scale)
	}
}

//go:noescape
func softmax1AVX512(s *softRows)

//go:noescape
func softmax2AVX512(s *softRows)

//go:noescape
func softmax3AVX512(s *softRows)

//go:noescape
func softmax4AVX512(s *softRows)

func softmaxAVX512(s *softRows, m int) {
	if s.n > 64 {
		softmaxAVX2Rows(s, m)
		return
	}
	switch m {
	case 1:
		softmax1AVX512(s)
	case 2:
		softmax2AVX512(s)
	case 3:
		softmax3AVX512(s)
	case 4:
		softmax4AVX512(s)
	}
}
