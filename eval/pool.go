package eval

import "container/list"

// Pool counts how many of the blocks that queries select are in slots already. It is simulated: a device's own slots depend on
// budgets, and a CPU reads what has no slot where it lies.
type Pool struct {
	PoolRun
	slots int
	used  *list.List // of place, the last used one in front
	in    map[place]*list.Element
	last  map[place]int // by a head's place of block -1: its steps; by a block: the last of these that chose it
}

// PoolRun is what a pool has counted.
type PoolRun struct {
	Slots     float64 `json:"slots_per_selected_block"` // 0: exactly each head's last selection is kept
	Selected  int64   `json:"selected"`
	Hits      int64   `json:"hits"`
	Layers    []Hits  `json:"layers"`
	Distances []Hits  `json:"distances,omitempty"` // 0: the own block; i: 2^(i-1) to 2^i-1 blocks before it
}

// Hits are selected blocks, and those of them that were in a slot.
type Hits struct {
	Selected int64 `json:"selected"`
	Hits     int64 `json:"hits"`
}

// Rate is the share of hits; 0 if nothing was selected.
func (h Hits) Rate() float64 { return float64(h.Hits) / float64(max(h.Selected, 1)) }

// place is a block of a layer and head.
type place struct {
	layer, head int
	block       int32
}

// NewPool makes a pool for all layers and heads with so many slots, of which the last used blocks have one; with 0, each head
// keeps exactly its last selection, as NOSI does. ratio is what Slots is to say.
func NewPool(ratio float64, layers, slots int) *Pool {
	p := &Pool{slots: slots, PoolRun: PoolRun{Slots: ratio, Layers: make([]Hits, layers)}}
	p.Forget()
	return p
}

// Forget empties the pool, and keeps what it has counted.
func (p *Pool) Forget() {
	p.used, p.in, p.last = list.New(), map[place]*list.Element{}, map[place]int{}
}

// Step takes the selection of one head in one step. The query's own block is at hand in any case, and takes a slot.
func (p *Pool) Step(layer, head int, own int32, chosen []int32, counts bool) {
	clock := place{layer, head, -1}
	p.last[clock]++
	now := p.last[clock]
	for _, b := range chosen {
		at := place{layer, head, b}
		hit := b == own
		if p.slots == 0 {
			before, had := p.last[at]
			hit = hit || had && before == now-1
			p.last[at] = now
		} else {
			hit = p.touch(at) || hit
		}
		if counts {
			p.count(layer, int(own-b), hit)
		}
	}
}

func (p *Pool) count(layer, distance int, hit bool) {
	far := 0
	for ; distance > 0; distance /= 2 {
		far++
	}
	for len(p.Distances) <= far {
		p.Distances = append(p.Distances, Hits{})
	}
	p.Selected++
	p.Layers[layer].Selected++
	p.Distances[far].Selected++
	if hit {
		p.Hits++
		p.Layers[layer].Hits++
		p.Distances[far].Hits++
	}
}

// touch makes a block the last used one, and tells whether it was there.
func (p *Pool) touch(at place) bool {
	if e, ok := p.in[at]; ok {
		p.used.MoveToFront(e)
		return true
	}
	if p.used.Len() == p.slots {
		oldest := p.used.Back()
		p.used.Remove(oldest)
		delete(p.in, oldest.Value.(place)) //nolint:errcheck // the list has nothing else
	}
	p.in[at] = p.used.PushFront(at)
	return false
}

// add adds another's counts.
func (r *PoolRun) add(o PoolRun) {
	sum := func(a *[]Hits, b []Hits) {
		for i, h := range b {
			if i == len(*a) {
				*a = append(*a, Hits{})
			}
			(*a)[i].Selected += h.Selected
			(*a)[i].Hits += h.Hits
		}
	}
	r.Slots, r.Selected, r.Hits = o.Slots, r.Selected+o.Selected, r.Hits+o.Hits
	sum(&r.Layers, o.Layers)
	sum(&r.Distances, o.Distances)
}
