//go:build !noasm

package cpu

//go:noescape
func softmaxGradAVX2(grad, p *float32, n int, mean float32)

//go:noescape
func softmaxGradAVX512(grad, p *float32, n int, mean float32)

func softmaxGrad(g, p []float32, mean float32) {
	if n := len(p); n > 0 {
		_ = g[n-1]
		softmaxGradAVX2(&g[0], &p[0], n, mean)
	}
}

func softmaxGrad512(g, p []float32, mean float32) {
	if n := len(p); n > 0 {
		_ = g[n-1]
		softmaxGradAVX512(&g[0], &p[0], n, mean)
	}
}
