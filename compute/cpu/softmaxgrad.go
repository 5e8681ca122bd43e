package cpu

// softmaxGradGo turns gradients of weights into those of logits: g becomes p·(g − mean),
// with mean the sum of what was in g times the weights of all keys.
func softmaxGradGo(g, p []float32, mean float32) {
	for i, v := range p {
		g[i] = v * (g[i] - mean)
	}
}
