package step

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"nosa/compute"
)

// Replay is made-up selections that ask a pool of slots for as much as measured ones do,
// for benchmarks whose weights are random: the scores of such a model choose blocks at
// random, and no pool would ever hold the right ones.
//
// Measured was the share of selected blocks that a pool does not hold, against its size
// (missCurve). What an LRU pool misses is what was last selected too long ago, so the
// curve says how long blocks stay away: with m(τ) the share of selected blocks that were
// not selected in the τ steps before, those steps selected
//
//	w(τ) = 1 + m(1) + … + m(τ−1)      blocks per selected block (Denning's working set)
//
// and a pool of w(τ) to w(τ+1) slots for each misses m(τ). From w(1) = 1 the curve gives
// m(1), that w(2), and so on. A block that drops out therefore returns after g steps with
// probability (m(g−1) − m(g))/m(1): more than half of them within four steps, a few in a
// hundred not within 256, and then a block from anywhere comes in their place.
//
// In every step the same number of blocks changes, of the places that are free: init,
// local window and own block are where the position has them. Which ones drop out is
// drawn evenly. Each sequence, layer and KV head has selections of its own.
//
// Steps are recorded from the position that a sequence has in the beginning. Behind the
// last one they are walked back, so that no step has more changes than another; there a
// pool is asked again for what it has just seen, and the misses of a larger pool are
// fewer for as many steps as it holds. Record as many as are run.
type Replay struct {
	o     ReplayOptions
	free  int      // places of a selection that are recorded
	first []int32  // [seats] position of the first step; −1: every block is selected there
	data  []uint16 // [steps, layers, seats, heads, free] block numbers, ascending
}

// ReplayOptions say what is recorded.
type ReplayOptions struct {
	Layers, Heads, Block int
	Select               compute.SelectParams // Init, Local and K
	Steps                int
	// New is the share of a step's selected blocks that the step before did not select;
	// 0 is what was measured, 0.161. How long they had been away does not depend on it.
	New  float64
	Seed uint64
}

// Replayer is a Step that takes its selections from a Replay instead of choosing them. What
// choosing costs it goes on to pay.
type Replayer interface{ Replay(r *Replay) error }

// missCurve is the share of the selected blocks that an LRU pool for all layers and heads
// does not hold, by slots per selected block: SmolLM2-135M, InfLLM-V2 selection of 16 of
// 127 blocks, 8,100 tokens of a book, 256 steps. At 1 it holds the last selection.
var missCurve = []struct{ slots, miss float64 }{{1, .161}, {1.25, .099}, {1.5, .050}, {2, .018}, {3, .007}, {4, .006}}

// MissRate is the curve at so many slots per selected block, in straight lines between
// what was measured.
func MissRate(slots float64) float64 {
	for i, b := range missCurve[1:] {
		if a := missCurve[i]; slots <= b.slots {
			return a.miss + (b.miss-a.miss)*(max(slots, a.slots)-a.slots)/(b.slots-a.slots)
		}
	}
	return missCurve[len(missCurve)-1].miss
}

// longest is the most steps after which a block is known to return.
const longest = 256

// returns draws after how many steps a block is selected again, 2 to longest; 0: not
// within these.
type returns [1 << 14]uint16

func newReturns() *returns {
	var away [longest + 1]float64 // m(τ)/m(1)
	w, m := 1.0, MissRate(1)
	for g := 1; g <= longest; g++ {
		if g > 1 {
			// The pools from w(τ) to w(τ+1) miss m(τ): it is the curve three quarters on the
			// way, which it decides, and which comes the nearest to all that was measured.
			for range 8 {
				m = MissRate(w + 0.75*m)
			}
		}
		away[g] = m / MissRate(1)
		w += m
	}
	r, g := new(returns), 2
	for i := range r {
		u := 1 - (float64(i)+0.5)/float64(len(r))
		for g <= longest && away[g] > u {
			g++
		}
		if g <= longest {
			r[i] = uint16(g)
		}
	}
	return r
}

func (r *returns) draw(rng *rand.PCG) int { return int(r[rng.Uint64()>>50]) }

// NewReplay records selections for a sequence in each seat, which begin at these
// positions.
func NewReplay(o ReplayOptions, positions []int) (*Replay, error) {
	s := o.Select
	r := &Replay{o: o, free: s.K - s.Init - s.Local - 1, first: make([]int32, len(positions))}
	if o.New == 0 {
		r.o.New = missCurve[0].miss
	}
	switch {
	case o.Layers < 1 || o.Heads < 1 || o.Block < 1 || o.Steps < 2 || s.Init < 0 || s.Local < 0:
		return nil, fmt.Errorf("replay: %d layers, %d heads, blocks of %d, %d steps, %d and %d forced blocks", o.Layers, o.Heads, o.Block, o.Steps, s.Init, s.Local)
	case r.free < 1:
		return nil, fmt.Errorf("replay: of %d selected blocks none is free to change", s.K)
	case !(r.o.New > 0) || r.o.New*float64(s.K) > float64(r.free):
		return nil, fmt.Errorf("replay: %g of the selected blocks new in a step: want more than 0 and at most %g, the free ones", o.New, float64(r.free)/float64(s.K))
	}
	r.data = make([]uint16, o.Steps*o.Layers*len(positions)*o.Heads*r.free)
	law := newReturns()
	var wait sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for seat := range next {
				for layer := range o.Layers {
					for head := range o.Heads {
						r.record(law, seat, layer, head)
					}
				}
			}
		})
	}
	var err error
	for seat, pos := range positions {
		own := pos / o.Block
		if r.first[seat] = int32(pos); own < s.K {
			r.first[seat] = -1
			continue
		}
		if own-s.Local > 1<<16 {
			err = fmt.Errorf("replay: position %d is beyond %d blocks", pos, 1<<16)
			break
		}
		next <- seat
	}
	close(next)
	wait.Wait()
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Bytes is what the recorded selections take.
func (r *Replay) Bytes() int64 { return 2 * int64(len(r.data)) }

// at is where the free blocks of a step are.
func (r *Replay) at(step, layer, seat, head int) []uint16 {
	i := ((step*r.o.Layers+layer)*len(r.first)+seat)*r.o.Heads + head
	return r.data[i*r.free : (i+1)*r.free]
}

// Selection appends the blocks that a sequence selects at a position, ascending; none if
// the replay does not say. It is the definition of what the kernel writes.
func (r *Replay) Selection(to []int32, seat, layer, head, pos int) []int32 {
	s, own := r.o.Select, pos/r.o.Block
	if r.first[seat] < 0 || pos < int(r.first[seat]) {
		return to
	}
	for b := range s.Init {
		to = append(to, int32(b))
	}
	for _, b := range r.at(r.step(pos-int(r.first[seat])), layer, seat, head) {
		to = append(to, int32(b))
	}
	for b := own - s.Local; b <= own; b++ {
		to = append(to, int32(b))
	}
	return to
}

// step is the recorded step after so many: there, and back.
func (r *Replay) step(n int) int {
	n %= 2 * (r.o.Steps - 1)
	return min(n, 2*(r.o.Steps-1)-n)
}

// away is a block that returns: the step in which it is due, then its number.
type away uint32

func awayUntil(due, block int) away { return away(due<<16 | block) }
func (a away) due() int             { return int(a >> 16) }
func (a away) block() int           { return int(a & 0xffff) }

// process is what one KV head selects, as it changes from step to step. Blocks are counted
// behind the init ones.
type process struct {
	law      *returns
	rng      *rand.PCG
	blocks   int
	chosen   []uint16 // the free places
	selected []uint64 // a bit for each block
	waiting  []uint64 // likewise: it will return
	dropped  []int32  // when a block was selected last; 0: never yet
	// Blocks that will return, the next one last. As many come in a step as drop out, so
	// not all can come when they are due: those that stay away for longer give way.
	soon, later []away

	gaps   []int    // scratch of change
	coming []uint16 // likewise
}

// short is the steps after which a block comes when it is due.
const short = 8

func (r *Replay) record(law *returns, seat, layer, head int) {
	s := r.o.Select
	blocks := int(r.first[seat])/r.o.Block - s.Local - s.Init
	words := (blocks + 63) / 64
	p := &process{law: law, rng: rand.NewPCG(r.o.Seed, uint64(seat)<<32|uint64(layer)<<16|uint64(head)), blocks: blocks,
		chosen: make([]uint16, r.free), selected: make([]uint64, words), waiting: make([]uint64, words), dropped: make([]int32, blocks)}
	for i := range p.chosen {
		p.chosen[i] = uint16(p.fresh())
		set(p.selected, int(p.chosen[i]))
	}
	rate := r.o.New * float64(s.K)
	phase := float64(p.rng.Uint64()>>11) / (1 << 53)
	changes := func(step int) int {
		return int(float64(step+longest+1)*rate+phase) - int(float64(step+longest)*rate+phase)
	}
	p.before(changes)
	for step := range r.o.Steps {
		if step > 0 {
			p.change(step, changes(step))
		}
		out, n := r.at(step, layer, seat, head), 0
		for w, word := range p.selected {
			for ; word != 0; word &= word - 1 {
				out[n] = uint16(s.Init + w*64 + bits.TrailingZeros64(word))
				n++
			}
		}
	}
}

// before is what the steps before the first have left: blocks that are to return.
func (p *process) before(changes func(step int) int) {
	for step := 0; step > -longest; step-- {
		for range changes(step) {
			g := p.law.draw(p.rng)
			if step-1+g < 1 {
				continue // it is back already, or gone
			}
			if len(p.soon)+len(p.later) >= (p.blocks-len(p.chosen))*3/4 { // of few blocks some must be left to come
				return
			}
			p.leave(step, g, p.fresh())
		}
	}
}

// fresh is a block that is neither selected nor about to return: of some from anywhere
// the one that was not selected for longest; -1 if there is none.
func (p *process) fresh() int {
	best, tries := -1, 8
	for i := 0; tries > 0 && i < 8*p.blocks; i++ {
		b := int(p.rng.Uint64() % uint64(p.blocks))
		if has(p.selected, b) || has(p.waiting, b) {
			continue
		}
		tries--
		if best < 0 || p.dropped[b] < p.dropped[best] {
			best = b
		}
	}
	return best
}

// leave notes a block that is not selected from a step on, to return g steps after the one
// before.
func (p *process) leave(step, g, block int) {
	list, a := &p.later, awayUntil(step-1+g, block)
	if g <= short {
		list = &p.soon
	}
	i, _ := slices.BinarySearchFunc(*list, a, func(x, a away) int { return int(a) - int(x) })
	*list = slices.Insert(*list, i, a)
	set(p.waiting, block)
}

// next takes the block that returns next; -1: none.
func (p *process) next(list *[]away) int {
	last := len(*list) - 1
	if last < 0 {
		return -1
	}
	b := (*list)[last].block()
	*list = (*list)[:last]
	unset(p.waiting, b)
	return b
}

// change lets n blocks drop out and as many come.
func (p *process) change(step, n int) {
	p.gaps, p.coming = p.gaps[:0], p.coming[:0]
	come := func(b int) bool {
		if b >= 0 {
			set(p.selected, b)
			p.coming = append(p.coming, uint16(b))
		}
		return b >= 0
	}
	for i := range n { // of the places from i on one is drawn and put there
		j := i + int(p.rng.Uint64()%uint64(len(p.chosen)-i))
		p.chosen[i], p.chosen[j] = p.chosen[j], p.chosen[i]
		p.dropped[p.chosen[i]] = int32(step)
		p.gaps = append(p.gaps, p.law.draw(p.rng))
		if p.gaps[i] == 0 {
			come(p.fresh())
		}
	}
	for len(p.coming) < n && len(p.soon) > 0 && p.soon[len(p.soon)-1].due() <= step {
		come(p.next(&p.soon))
	}
	for len(p.coming) < n && (come(p.next(&p.later)) || come(p.next(&p.soon)) || come(p.fresh())) {
	}
	// Only now, so that no block comes in the step in which it drops out.
	for i, b := range p.coming {
		old := int(p.chosen[i])
		unset(p.selected, old)
		if p.gaps[i] > 0 {
			p.leave(step, p.gaps[i], old)
		}
		p.chosen[i] = b
	}
}

func set(bits []uint64, i int)      { bits[i/64] |= 1 << (i % 64) }
func unset(bits []uint64, i int)    { bits[i/64] &^= 1 << (i % 64) }
func has(bits []uint64, i int) bool { return bits[i/64]>>(i%64)&1 != 0 }
