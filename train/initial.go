package train

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
)

// initial are the first values of a tensor: normal ones of deviation init for matrices, smaller
// for those that end a branch, as their sums over the layers grow (Radford et al., 2019); 1 for
// norms; 0 for biases and for A, so that a model begins without a bias on attention. Each tensor
// has its own numbers, whatever others there are.
func (m *ModelConfig) initial(x *Parameter, layers int, seed uint64) []float32 {
	out := make([]float32, x.value.Len())
	deviation := m.Init
	switch x.role {
	case roleBias, roleA:
		return out
	case roleNorm:
		for i := range out {
			out[i] = 1
		}
		return out
	case roleDelta:
		deviation = m.InitScore
	case roleMatrix:
		if strings.HasSuffix(x.Name, "o_proj.weight") || strings.HasSuffix(x.Name, "down_proj.weight") {
			deviation /= math.Sqrt(float64(2 * layers))
		}
	}
	name := fnv.New64a()
	_, _ = name.Write([]byte(x.Name)) // a hash takes all
	rng := rand.New(rand.NewPCG(seed, name.Sum64()))
	for i := range out {
		out[i] = float32(rng.NormFloat64() * deviation)
	}
	return out
}
