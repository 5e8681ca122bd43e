//go:build linux && amd64

package step

import (
	"fmt"

	"nosa/compute"
	"nosa/compute/cuda/driver"
)

// selecting is a step's way from the product of queries, keys and values to the blocks
// that each row attends to. Its kernels find all that differs from row to row on the GPU.
type selecting struct {
	anglesOf, appendRows, plain         driver.Function
	chooseWhole, choosePart, chooseBest driver.Function

	// Scores on tensor cores, by the channels of a head: for blocks of any number of
	// segments, and of an even one.
	tensor map[int]*[2]driver.Function
}

// load loads the kernels.
func (s *selecting) load(g *gpu) error {
	if err := g.load("append", map[string]*driver.Function{"step_angles": &s.anglesOf, "step_append": &s.appendRows}); err != nil {
		return err
	}
	score := map[string]*driver.Function{"step_score_plain": &s.plain}
	s.tensor = make(map[int]*[2]driver.Function)
	for _, dim := range []int{64, 80, 96, 128} {
		f := new([2]driver.Function)
		s.tensor[dim] = f
		score[fmt.Sprintf("step_score_%d", dim)], score[fmt.Sprintf("step_score_%d_pairs", dim)] = &f[0], &f[1]
	}
	if err := g.load("score", score); err != nil {
		return err
	}
	return s.loadChoose(g)
}

type anglesArgs struct {
	rows     rowsArgs
	out, inv uintptr
	pairs    int32
	factor   float32
}

// angles sets out [n, 2, pairs] to the cosines and sines of each row's position. One
// launch serves all layers.
func (s *selecting) angles(g *gpu, a *anglesArgs) {
	launch(g, s.anglesOf, driver.Dim{X: int(a.rows.n), Y: 1, Z: 1}, 128, 0, a)
}

// appendArgs is the struct of append.cu. Without QK norm qNorm and kNorm are 0, in a
// method without importance scores delta, bias and scale.
type appendArgs struct {
	c                         cacheArgs
	rows                      rowsArgs
	qkv, q, angles            uintptr
	qNorm, kNorm              uintptr
	delta, bias, scale        uintptr
	group, pairs, interleaved int32
	eps                       float32
}

// rope sets what the kernel is told of a rotary embedding.
func (a *appendArgs) rope(r *compute.Rope) {
	a.pairs, a.interleaved = int32(len(r.Inv)), 0
	if r.Interleaved {
		a.interleaved = 1
	}
}

// append takes a layer's product of each row, queries before keys before values: queries
// go to q, keys and values into the tails, with their scores and with the means of a
// segment that its last token completes.
func (s *selecting) append(g *gpu, a *appendArgs) {
	warps := min(32, int(a.group)+2)
	launchEarly(g, s.appendRows, driver.Dim{X: int(a.rows.n), Y: int(a.c.l.Heads), Z: 1}, 32*warps, 0, a)
}
