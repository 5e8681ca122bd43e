package compute

import (
	"cmp"
	"math"
	"slices"
)

// Pool is the order of the slots: which block each one holds and when it was
// last wanted. It is what [Resolve] works on; the kv room owns it.
type Pool struct {
	SlotOf []int32 // by block id: its slot, or −1
	Block  []int32 // by slot: the block in it, or −1
	Used   []int64 // by slot: the step in which its block was last wanted
	Pins   []int32 // by slot: above 0 while a transfer or an op needs it in place

	free    []int32 // slots without a block, taken from the end
	victims []int32 // slots in the order in which they go; see victim
	dated   []int64 // by entry of victims: Used when it was listed
}

// NewPool is a pool of slots for blocks of ids 0 to ids−1, all free.
func NewPool(slots, ids int) *Pool {
	p := &Pool{
		SlotOf: make([]int32, ids),
		Block:  make([]int32, slots),
		Used:   make([]int64, slots),
		Pins:   make([]int32, slots),
		free:   make([]int32, slots),
	}
	for i := range p.SlotOf {
		p.SlotOf[i] = -1
	}
	for i := range p.Block {
		p.Block[i] = -1
		p.free[i] = int32(slots - 1 - i)
	}
	return p
}

// Free is the number of slots that hold no block.
func (p *Pool) Free() int { return len(p.free) }

// Resolve is the fault handler of the cache: it gives every wanted block a slot
// and pins it there. Blocks that have one keep it and become the most recently
// used; the others take a free slot or that of the least recently used block (by
// step, ties by block id) that is not pinned. missed lists the indices into want
// whose slot must now be filled, and evicted the blocks that lost theirs.
//
// It stops at the first block for which no slot can be had; done is the number of
// blocks that were served. Pins are taken back with Unpin.
func (p *Pool) Resolve(want, slots []int32, step int64, missed, evicted []int32) (done int, miss, gone []int32) {
	// First those that are there, so that none of them is evicted for another.
	for i, id := range want {
		slots[i] = p.SlotOf[id]
		if s := slots[i]; s >= 0 {
			p.Used[s] = step
			p.Pins[s]++
		}
	}
	for i, id := range want {
		if slots[i] >= 0 {
			continue
		}
		if s := p.SlotOf[id]; s >= 0 { // wanted twice
			p.Pins[s]++
			slots[i] = s
			continue
		}
		s, old := p.take()
		if s < 0 {
			for j := i; j < len(want); j++ {
				if slots[j] >= 0 {
					p.Pins[slots[j]]--
				}
			}
			return i, missed, evicted
		}
		if old >= 0 {
			evicted = append(evicted, old)
		}
		p.Block[s], p.SlotOf[id], p.Used[s], p.Pins[s] = id, s, step, 1
		slots[i] = s
		missed = append(missed, int32(i))
	}
	return len(want), missed, evicted
}

// take finds a slot for a new block and the block that leaves it, or −1.
func (p *Pool) take() (slot, old int32) {
	if n := len(p.free); n > 0 {
		slot = p.free[n-1]
		p.free = p.free[:n-1]
		return slot, -1
	}
	slot = p.victim()
	if slot < 0 {
		return -1, -1
	}
	old = p.Block[slot]
	p.SlotOf[old] = -1
	return slot, old
}

// victim returns the evictable slot that comes first by (Used, block id). The
// oldest slots are listed in advance, an eighth of the pool at a time: any slot
// that is wanted after that moves behind all of the list, so the list stays the
// true beginning of the order and an eviction costs a few steps instead of a walk
// over the pool.
func (p *Pool) victim() int32 {
	for range 2 {
		for i, s := range p.victims {
			if p.Block[s] < 0 || p.Used[s] != p.dated[i] {
				continue
			}
			if p.Pins[s] == 0 {
				p.forget(i)
				return s
			}
		}
		p.list()
	}
	return -1
}

// forget drops the entries of the list up to i that can no longer be used, and i.
func (p *Pool) forget(i int) {
	keep := 0
	for j := 0; j < i; j++ {
		s := p.victims[j]
		if p.Block[s] >= 0 && p.Used[s] == p.dated[j] {
			p.victims[keep], p.dated[keep] = s, p.dated[j]
			keep++
		}
	}
	n := copy(p.victims[keep:], p.victims[i+1:])
	copy(p.dated[keep:], p.dated[i+1:])
	p.victims, p.dated = p.victims[:keep+n], p.dated[:keep+n]
}

// list gathers the oldest unpinned slots, in order.
func (p *Pool) list() {
	p.victims, p.dated = p.victims[:0], p.dated[:0]
	all := make([]int32, 0, len(p.Block))
	for s, id := range p.Block {
		if id >= 0 && p.Pins[s] == 0 {
			all = append(all, int32(s))
		}
	}
	slices.SortFunc(all, func(a, b int32) int {
		if c := cmp.Compare(p.Used[a], p.Used[b]); c != 0 {
			return c
		}
		return cmp.Compare(p.Block[a], p.Block[b])
	})
	for _, s := range all[:min(len(all), max(16, len(p.Block)/8))] {
		p.victims = append(p.victims, s)
		p.dated = append(p.dated, p.Used[s])
	}
}

// Unpin takes back one pin of each slot; −1 is passed over.
func (p *Pool) Unpin(slots []int32) {
	for _, s := range slots {
		if s >= 0 {
			p.Pins[s]--
		}
	}
}

// Drop empties the slot of a block, if it has one that is not pinned, and
// reports whether the block is now without a slot.
func (p *Pool) Drop(id int32) bool {
	s := p.SlotOf[id]
	if s < 0 {
		return true
	}
	if p.Pins[s] > 0 {
		return false
	}
	p.SlotOf[id], p.Block[s], p.Used[s] = -1, -1, math.MinInt64
	p.free = append(p.free, s)
	return true
}
