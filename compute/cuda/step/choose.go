//go:build linux && amd64

package step

import (
	"errors"

	"nosa/compute"
	"nosa/compute/cuda/driver"
)

// Rows are cut into parts where that was faster on an H200.
const (
	chooseLong  = 2048 // blocks of a row, at least
	chooseLeast = 256  // of a part
)

func (s *selecting) loadChoose(g *gpu) error {
	f := map[string]*driver.Function{"step_choose": &s.chooseWhole, "step_choose_part": &s.choosePart, "step_choose_best": &s.chooseBest}
	if err := g.load("choose", f); err != nil {
		return err
	}
	var errs []error
	for _, f := range f {
		errs = append(errs, g.ctx.SetFunctionAttribute(*f, driver.MaxDynamicShared, g.props.SharedMemory-chooseShared))
	}
	return errors.Join(errs...)
}

// chooseBytes is the shared memory of a row with so many blocks, or of a part: two keys for
// each, two sets of bits and a count for each of their words.
func chooseBytes(blocks int) int { return 8*blocks + bitBytes(blocks) }

func bitBytes(n int) int { return 4 * (3*((n+31)/32) + 1) }

// bestBytes is the shared memory for the best of each part of a row: for so many of its
// blocks, of which k are chosen.
func bestBytes(blocks, part, k int) int {
	left := ceil(blocks, part) * min(part, k)
	return bitBytes(blocks) + 2*8*left + bitBytes(left)
}

// chooseArgs is the struct of keys.cuh. byQuery and byScore are F32 [n, heads, most] for
// the scores of blocks, where somebody wants to see them, or 0.
type chooseArgs struct {
	scoring                scoringArgs
	to                     selectionArgs
	byQuery, byScore, best uintptr
	useQuery, useScore     int32
	init, local, query     int32
	room                   int32
}

func choosing(s scoringArgs, to selectionArgs, p compute.SelectParams, blocks int) chooseArgs {
	a := chooseArgs{scoring: s, to: to, init: int32(p.Init), local: int32(p.Local), query: int32(p.Query), room: int32(chooseRoom(blocks)),
		best: s.total + 8*uintptr(s.rows.n*s.c.l.Heads)*uintptr(s.chunks*s.group)}
	if p.ByQuery {
		a.useQuery = 1
	}
	if p.ByScore {
		a.useScore = 1
	}
	return a
}

// partOf is how many blocks of rows with up to so many a thread block has: so many that there
// is one for each multiprocessor, or all.
func partOf(g *gpu, rows, blocks, k int) int {
	part := chooseLeast
	for part*g.props.Processors < rows*blocks {
		part *= 2
	}
	if blocks < chooseLong || part >= blocks || bestBytes(blocks, part, k) > g.props.SharedMemory-chooseShared {
		return blocks
	}
	return part
}

// choose takes the best blocks for each row, as compute.Select, of sequences of up to the
// given number of blocks. Before it goes score, unless the query has no say.
func (s *selecting) choose(g *gpu, a *chooseArgs, blocks int) {
	grid, part := driver.Dim{X: int(a.scoring.rows.n), Y: int(a.scoring.c.l.Heads), Z: 1}, int(a.scoring.part)
	if part >= blocks {
		launchEarly(g, s.chooseWhole, grid, 512, chooseBytes(blocks), a)
		return
	}
	launchEarly(g, s.choosePart, driver.Dim{X: ceil(blocks, part), Y: grid.Y, Z: grid.X}, 512, chooseBytes(part), a)
	launchEarly(g, s.chooseBest, grid, 512, bestBytes(blocks, part, int(a.scoring.k)), a)
}

// chooseRoom is what parts may leave of a row and KV head, by the query and by importance:
// all blocks, and what the last part lacks.
func chooseRoom(blocks int) int { return 2 * 2 * blocks }
