package compute

import (
	"fmt"
	"math"
	"slices"
)

// Pool is the order of the slots: which block each one holds and when it was
// last wanted. It is what [Pool.Resolve] works on; the kv room owns it.
type Pool struct {
	SlotOf []int32 // by block id: its slot, or −1
	Block  []int32 // by slot: the block in it, or −1
	Used   []int64 // by slot: the step in which its block was last wanted
	Pins   []int32 // by slot: above 0 while a transfer or an op needs it in place

	fixed bool    // a block's slot is its id
	left  int     // slots without a block, where they are fixed
	free  []int32 // slots without a block, taken from the end
	order *Order  // slots by use; may lag behind Used and still list pinned ones
}

// NewPool is a pool of slots for blocks of ids 0 to ids−1, all free.
func NewPool(slots, ids int) *Pool {
	p := &Pool{
		SlotOf: make([]int32, ids),
		Block:  make([]int32, slots),
		Used:   make([]int64, slots),
		Pins:   make([]int32, slots),
		free:   make([]int32, slots),
		order:  NewOrder(slots),
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

// NewFixedPool is a pool of a slot for each block, which has the block's id.
func NewFixedPool(ids int) *Pool {
	p := NewPool(ids, ids)
	p.fixed, p.left, p.free = true, ids, nil
	return p
}

// Free is the number of slots that hold no block.
func (p *Pool) Free() int { return p.left + len(p.free) }

// Resolve is the fault handler of the cache: it gives every wanted block a slot
// and pins it there. Blocks that have one keep it and become the most recently
// used; the others take a free slot or that of the least recently used block (by
// step, ties by block id) that is not pinned. missed lists the indices into want
// whose slot must now be filled, and evicted the blocks that lost theirs; both
// are appended to. step never goes back.
//
// It stops at the first block for which no slot can be had; done is the number of
// blocks that were served, and no later one is pinned. Pins are taken back with
// Unpin.
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
		s, old := p.take(id, anyTime)
		if s < 0 {
			p.Unpin(slots[i:len(want)])
			for j := i; j < len(want); j++ {
				slots[j] = -1
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

// Place gives a block that has no slot a free one, or that of the least recently
// used block if its last use lies before a step, and pins it there once. It
// returns the slot and the block that has lost it, or −1 for either.
func (p *Pool) Place(id int32, step, before int64) (slot, old int32) {
	slot, old = p.take(id, before)
	if slot >= 0 {
		p.Block[slot], p.SlotOf[id], p.Used[slot], p.Pins[slot] = id, slot, step, 1
	}
	return slot, old
}

// anyTime is a step that every use lies before.
const anyTime = math.MaxInt64

// take finds a slot for a new block and the block that leaves it, or −1.
func (p *Pool) take(id int32, before int64) (slot, old int32) {
	if p.fixed {
		p.left--
		return id, -1
	}
	if n := len(p.free); n > 0 {
		slot = p.free[n-1]
		p.free = p.free[:n-1]
		return slot, -1
	}
	slot = p.victim()
	if slot < 0 || p.Used[slot] >= before {
		return -1, -1
	}
	p.order.Remove(slot)
	old = p.Block[slot]
	p.SlotOf[old] = -1
	return slot, old
}

// victim returns the slot that goes next, or −1. A hit costs the order nothing:
// it only raises Used, so an entry of the order stands at its true place or
// before it, and it is enough to put right the entries that come up here. Pinned
// slots leave the order when they come up, and return with their last pin.
func (p *Pool) victim() int32 {
	for {
		s := p.order.First()
		switch {
		case s < 0:
			return -1
		case p.Pins[s] > 0:
			p.order.Remove(s)
		case p.order.Time(s) != p.Used[s]:
			p.order.Put(s, p.Block[s], p.Used[s])
		default:
			return s
		}
	}
}

// Touch makes those of the blocks that are in slots the most recently used.
func (p *Pool) Touch(ids []int32, step int64) {
	for _, id := range ids {
		if s := p.SlotOf[id]; s >= 0 {
			p.Used[s] = step
		}
	}
}

// Unpin takes back one pin of each slot; −1 and what stands for a place outside
// the pool is passed over.
func (p *Pool) Unpin(slots []int32) {
	pins, at := p.Pins, p.order.at
	for _, s := range slots {
		if uint(s) >= uint(len(pins)) {
			continue
		}
		if pins[s]--; pins[s] == 0 && at[s] < 0 && p.Block[s] >= 0 {
			p.order.Put(s, p.Block[s], p.Used[s])
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
	p.order.Remove(s)
	p.SlotOf[id], p.Block[s] = -1, -1
	if p.fixed {
		p.left++
	} else {
		p.free = append(p.free, s)
	}
	return true
}

// Check proves that slots and blocks name each other, that each slot is either
// free or holds one block, and that every block that may be evicted is in the
// order, not behind its true place.
func (p *Pool) Check() error {
	free := make([]bool, len(p.Block))
	for _, s := range p.free {
		if free[s] {
			return fmt.Errorf("slot %d is free twice", s)
		}
		free[s] = true
	}
	if p.fixed {
		left := 0
		for s, id := range p.Block {
			if free[s] = id < 0; free[s] {
				left++
			} else if int(id) != s {
				return fmt.Errorf("slot %d holds block %d", s, id)
			}
		}
		if left != p.left {
			return fmt.Errorf("%d slots are free, want %d", left, p.left)
		}
	}
	for s, id := range p.Block {
		slot := int32(s)
		switch {
		case p.Pins[s] < 0:
			return fmt.Errorf("slot %d has %d pins", s, p.Pins[s])
		case (id < 0) != free[s]:
			return fmt.Errorf("slot %d holds block %d, free: %v", s, id, free[s])
		case id < 0 && (p.Pins[s] != 0 || p.order.Has(slot)):
			return fmt.Errorf("slot %d is free, with %d pins, in the order: %v", s, p.Pins[s], p.order.Has(slot))
		case id < 0:
		case p.SlotOf[id] != slot:
			return fmt.Errorf("slot %d holds block %d, which names slot %d", s, id, p.SlotOf[id])
		case p.Pins[s] == 0 && !p.order.Has(slot):
			return fmt.Errorf("slot %d with block %d can not be evicted", s, id)
		case p.order.Has(slot) && (p.order.id[s] != id || p.order.Time(slot) > p.Used[s]):
			return fmt.Errorf("slot %d holds block %d of step %d, listed as %d of %d", s, id, p.Used[s], p.order.id[s], p.order.Time(slot))
		}
	}
	for id, s := range p.SlotOf {
		if s >= 0 && p.Block[s] != int32(id) {
			return fmt.Errorf("block %d names slot %d, which holds %d", id, s, p.Block[s])
		}
	}
	return p.order.check()
}

// Order lists places (slots, pages) by the time of last use of the block in
// them, ties by block id: a binary heap that knows where each place stands.
type Order struct {
	heap []int32 // places; the first goes first
	at   []int32 // by place: its index in heap, or −1
	time []int64 // by place
	id   []int32 // by place
}

// NewOrder is an empty order of places 0 to places−1.
func NewOrder(places int) *Order {
	o := &Order{
		heap: make([]int32, 0, places),
		at:   slices.Repeat([]int32{-1}, places),
		time: make([]int64, places),
		id:   make([]int32, places),
	}
	return o
}

// Len is the number of places in the order.
func (o *Order) Len() int { return len(o.heap) }

// Has reports whether a place is in the order.
func (o *Order) Has(place int32) bool { return o.at[place] >= 0 }

// Time is the time that a place was put in with.
func (o *Order) Time(place int32) int64 { return o.time[place] }

// First is the place that was used longest ago, or −1.
func (o *Order) First() int32 {
	if len(o.heap) == 0 {
		return -1
	}
	return o.heap[0]
}

// Put adds a place, or moves it to where its new time and id belong.
func (o *Order) Put(place, id int32, time int64) {
	o.time[place], o.id[place] = time, id
	if o.at[place] < 0 {
		o.at[place] = int32(len(o.heap))
		o.heap = append(o.heap, place)
	}
	o.down(o.up(int(o.at[place])))
}

// Remove takes a place out; one that is not there is passed over.
func (o *Order) Remove(place int32) {
	i := int(o.at[place])
	if i < 0 {
		return
	}
	last := len(o.heap) - 1
	o.swap(i, last)
	o.heap = o.heap[:last]
	o.at[place] = -1
	if i < last {
		o.down(o.up(i))
	}
}

func (o *Order) before(i, j int) bool {
	a, b := o.heap[i], o.heap[j]
	if o.time[a] != o.time[b] {
		return o.time[a] < o.time[b]
	}
	return o.id[a] < o.id[b]
}

func (o *Order) swap(i, j int) {
	o.heap[i], o.heap[j] = o.heap[j], o.heap[i]
	o.at[o.heap[i]], o.at[o.heap[j]] = int32(i), int32(j)
}

func (o *Order) up(i int) int {
	for i > 0 && o.before(i, (i-1)/2) {
		o.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	return i
}

func (o *Order) down(i int) {
	for {
		next := 2*i + 1
		if next >= len(o.heap) {
			return
		}
		if next+1 < len(o.heap) && o.before(next+1, next) {
			next++
		}
		if !o.before(next, i) {
			return
		}
		o.swap(i, next)
		i = next
	}
}

func (o *Order) check() error {
	for i, place := range o.heap {
		if o.at[place] != int32(i) {
			return fmt.Errorf("order: place %d stands at %d, thinks %d", place, i, o.at[place])
		}
		if i > 0 && o.before(i, (i-1)/2) {
			return fmt.Errorf("order: place %d stands behind a later one", place)
		}
	}
	return nil
}
