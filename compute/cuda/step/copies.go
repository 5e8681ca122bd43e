//go:build linux && amd64

package step

import (
	"errors"
	"fmt"
	"unsafe"
)

// Copier is a Step that tells what its copies take by themselves, for benchmarks.
type Copier interface {
	// CopyMS is how many milliseconds it takes to bring so many blocks from the host in each
	// layer, one layer after the other and nothing beside them. Slots then hold other blocks
	// than the step knows of: it is of no more use.
	CopyMS(blocks int) (float64, error)
	// Fetch brings the blocks of columns to slots, as far as there are.
	Fetch(columns []int32)
}

var _ Copier = (*Step)(nil)

// CopyMS: see Copier.
func (s *Step) CopyMS(blocks int) (float64, error) {
	p, ctx := s.pool, s.g.ctx
	const entries, state = 7, 8 // of memory
	if n := p.memory[entries].Len() / 4; s.o.Resident || blocks > n {
		return 0, fmt.Errorf("cuda: copies of %d blocks a layer where there is room for %d", blocks, n)
	}
	list, pages := make([]int32, 0, 4*blocks), len(s.o.Pages)/s.o.Stride
	for i := range blocks {
		list = append(list, -1, int32(i%p.cfg.slots), int32(i*1021%pages), 0)
	}
	at := int(unsafe.Offsetof(poolState{}.fetch) / 4)
	s.d.Upload(p.memory[entries].Rows(0, len(list)), bytesOf(list))
	s.d.Upload(p.memory[state].Rows(at, at+1), bytesOf([]int32{int32(blocks)}))
	from, err1 := ctx.NewEvent(true)
	to, err2 := ctx.NewEvent(true)
	err := errors.Join(err1, err2)
	best := 0.0
	for i := 0; i < 5 && err == nil; i++ {
		ctx.Record(from, s.g.stream)
		for layer := range s.model.Layers {
			p.gather(s.g.stream, s.cacheArgs(layer))
		}
		ctx.Record(to, s.g.stream)
		if err = s.d.Sync(); err != nil {
			break
		}
		var ms float64
		if ms, err = ctx.Elapsed(from, to); i == 1 || i > 1 && ms < best {
			best = ms // the first warms up
		}
	}
	return best, errors.Join(err, ctx.FreeEvent(from), ctx.FreeEvent(to))
}

// Fetch: see Copier.
func (s *Step) Fetch(columns []int32) {
	if !s.o.Resident {
		s.pool.place(s.ids(columns), s.cacheArgs(0), true)
	}
}
