//go:build linux && amd64

package step

import (
	"nosa/compute"
	"nosa/compute/cuda/driver"
)

func (s *selecting) loadChoose(g *gpu) error {
	if err := g.load("choose", map[string]*driver.Function{"step_choose": &s.chooseBlocks}); err != nil {
		return err
	}
	return g.ctx.SetFunctionAttribute(s.chooseBlocks, driver.MaxDynamicShared, g.props.SharedMemory-chooseShared)
}

// chooseBytes is the shared memory of a row with so many blocks: two keys for each, two sets
// of bits and a count for each word of them.
func chooseBytes(blocks int) int {
	words := (blocks + 31) / 32
	return 8*blocks + 4*(3*words+1)
}

// chooseArgs is the struct of choose.cu. byQuery and byScore are F32 [n, heads, most] for
// the scores of blocks, where somebody wants to see them, or 0.
type chooseArgs struct {
	scoring            scoringArgs
	to                 selectionArgs
	byQuery, byScore   uintptr
	useQuery, useScore int32
	init, local, query int32
	_                  int32
}

func choosing(s scoringArgs, to selectionArgs, p compute.SelectParams) chooseArgs {
	a := chooseArgs{scoring: s, to: to, init: int32(p.Init), local: int32(p.Local), query: int32(p.Query)}
	if p.ByQuery {
		a.useQuery = 1
	}
	if p.ByScore {
		a.useScore = 1
	}
	return a
}

// choose takes the best blocks for each row, as compute.Select, of sequences of up to the
// given number of blocks. Before it goes score, unless the query has no say.
func (s *selecting) choose(g *gpu, a *chooseArgs, blocks int) {
	launchEarly(g, s.chooseBlocks, driver.Dim{X: int(a.scoring.rows.n), Y: int(a.scoring.c.l.Heads), Z: 1}, 512, chooseBytes(blocks), a)
}
