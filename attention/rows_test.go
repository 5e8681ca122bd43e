package attention

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/kv"
)

// random is an example of a shape that kernels for whole tiles take, without answers.
func random(format compute.KVType) *example {
	x := &example{kv: format}
	x.Config.BlockSize, x.Config.KernelSize, x.Config.KernelStride = 16, 8, 4
	x.Config.InitBlocks, x.Config.LocalBlocks, x.Config.TopK, x.Config.TopKQ = 1, 2, 5, 4
	x.Shape.Group, x.Shape.HeadDim, x.Shape.KVHeads, x.Shape.Tokens = 3, 32, 2, 16*11+5
	rng := rand.New(rand.NewPCG(1, 2))
	normal := func(n int) []float64 {
		v := make([]float64, n)
		for i := range v {
			v[i] = rng.NormFloat64()
		}
		return v
	}
	rows := func(heads int) (v [][]float64) {
		for range heads {
			v = append(v, normal(x.Shape.HeadDim))
		}
		return v
	}
	for range x.Shape.Tokens {
		x.Q = append(x.Q, rows(x.Shape.KVHeads*x.Shape.Group))
		x.K, x.V = append(x.K, rows(x.Shape.KVHeads)), append(x.V, rows(x.Shape.KVHeads))
	}
	for range x.Shape.KVHeads {
		x.Delta = append(x.Delta, normal(x.Shape.KVHeads*x.Shape.HeadDim))
	}
	x.A = normal(x.Shape.KVHeads)
	return x
}

// TestRows: whatever else is in a step, a row's blocks and outputs are the same, to the bit:
// in prefill whole and in chunks, token by token, resident and offloaded, in every format of
// the cache and on every device. Outputs of full attention are the definition's.
func TestRows(t *testing.T) {
	for _, format := range []compute.KVType{compute.KVF32, compute.KVBF16, compute.KVF16, compute.KVQ8, compute.KVQ4} {
		x := random(format)
		all := (x.Shape.Tokens + x.Config.BlockSize - 1) / x.Config.BlockSize * x.Shape.KVHeads
		for _, name := range []string{"full", "infllmv2", "dma", "nosa"} {
			m, err := ByName(name)
			if err != nil {
				t.Fatal(err)
			}
			var want []float32
			for _, dev := range testDevices(t) {
				var firstBlocks [][][]int32
				var first []float32
				for _, s := range []setting{
					{cuts: []int{x.Shape.Tokens}},
					{cuts: []int{1}},
					{cuts: []int{7, 1, 30, 16}},
					{cuts: []int{50}, slots: all / 2},
					{cuts: []int{21, 3}, slots: 3, keep: kv.KeepSelected},
				} {
					s.dev = dev
					t.Run(format.String()+"/"+name+"/"+s.String(), func(t *testing.T) {
						blocks, out := x.run(t, m, s)
						if first == nil {
							firstBlocks, first = blocks, out
						}
						for pos := range blocks {
							for h := range blocks[pos] {
								if !slices.Equal(blocks[pos][h], firstBlocks[pos][h]) {
									t.Fatalf("position %d, KV head %d: blocks %v, in the first setting %v", pos, h, blocks[pos][h], firstBlocks[pos][h])
								}
							}
						}
						for i := range out {
							if math.Float32bits(out[i]) != math.Float32bits(first[i]) {
								t.Fatalf("output %d is %v, in the first setting %v", i, out[i], first[i])
							}
						}
					})
				}
				if want == nil {
					want = first
				}
				if name != "full" { // where scores are close, devices may choose other blocks
					continue
				}
				for i, w := range want {
					if d := math.Abs(float64(first[i] - w)); !(d <= 0.03) {
						t.Fatalf("%v, %s: output %d is %v, the definition says %v", format, dev.Name(), i, first[i], w)
					}
				}
			}
		}
	}
}
