//go:build !noasm

package cpu

//go:noescape
func softmaxGradNEON(grad, p *float32, n int, mean float32)

func softmaxGrad(g, p []float32, mean float32) {
	if n := len(p); n > 0 {
		_ = g[n-1]
		softmaxGradNEON(&g[0], &p[0], n, mean)
	}
}
