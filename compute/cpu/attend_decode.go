package cpu

import "nosa/compute"

// want is a block of one row's walk.
type want struct{ block, slot int32 }

// splitWork is a run of one row's walk that ends at a split's end or at the
// walk's.
type splitWork struct {
	head     int
	from, to int // in wanted
	spare    int // index of its state, or −1: the row's own
}

// decode is Attend for a tile of one row: its splits run side by side, each summed
// into a state of its own, and join the total in their order afterwards.
func (a *attend) decode(d *Device) {
	a.span = 0
	a.plan()
	length := compute.StateLen(a.dim)
	spares := 0
	for i := range a.splits {
		if a.splits[i].spare >= 0 {
			spares++
		}
	}
	room(&a.spare, spares*a.group*length)
	d.team.do(a, len(a.splits))

	// Each KV head's splits in their order, as one walk would have folded them.
	p := &d.team.workers[0].attend.product
	for _, s := range a.splits {
		for g := range a.group {
			own := a.state[(s.head*a.group+g)*length:][:length]
			if s.spare >= 0 {
				copy(own[:3+a.dim], a.spare[(s.spare*a.group+g)*length:])
			}
			if own[0] == compute.Split {
				a.k.fold(p, own, a.dim)
			}
		}
	}
}

// plan lists the blocks that the row selected and cuts the walk of each KV head
// where its splits end, counted from the blocks that its state already holds.
func (a *attend) plan() {
	length := compute.StateLen(a.dim)
	a.wanted, a.splits = a.wanted[:0], a.splits[:0]
	spares := 0
	for head := range a.cache.Heads {
		held := int(a.state[head*a.group*length])
		from := len(a.wanted)
		list, listed := a.selection(0, head)
		for _, p := range a.parts {
			if p.Head != head {
				continue
			}
			for i, b := range p.Blocks {
				if listed { // both ascend
					for len(list) > 0 && list[0] < b {
						list = list[1:]
					}
					if len(list) == 0 || list[0] != b {
						continue
					}
				}
				a.wanted = append(a.wanted, want{b, p.Slots[i]})
			}
		}
		for at := from; at < len(a.wanted); {
			s := splitWork{head: head, from: at, to: min(len(a.wanted), at+compute.Split-held), spare: -1}
			if at > from {
				s.spare = spares
				spares++
			}
			a.splits = append(a.splits, s)
			at, held = s.to, 0
		}
	}
}

// after is the slot that is read after the i-th wanted block, or −1: the same thread
// takes the next split too, as a rule.
func (a *attend) after(i int) int32 {
	if i+1 < len(a.wanted) && int(a.wanted[i+1].block) != a.own {
		return a.wanted[i+1].slot
	}
	return -1
}

// runSplit adds a split's blocks to its states, as they lie in the cache.
func (a *attend) runSplit(w *worker, s splitWork) {
	length := compute.StateLen(a.dim)
	own := a.state[s.head*a.group*length:][:a.group*length]
	if s.spare >= 0 {
		own = a.spare[s.spare*a.group*length:][:a.group*length]
		for g := range a.group {
			clear(own[g*length:][:3+a.dim])
			own[g*length+1] = negInf
		}
	}
	first := a.tile.Pos + 1
	for g := 0; g < a.group; g += batchQueries {
		n := min(batchQueries, a.group-g)
		for j := range n {
			w.attend.q[j] = &a.q[(a.tile.Row*a.heads+s.head*a.group+g+j)*a.dim]
			w.attend.state[j] = own[(g+j)*length:][:length]
		}
		var b attended
		for i := s.from; i < s.to; i++ {
			x := a.wanted[i]
			if int(x.block) == a.own {
				a.tail(s.head, &b)
			} else {
				a.direct(w, s.head, int(x.block), x.slot, a.after(i), &b)
			}
			a.add(w, &b, n, min(a.cache.Block, first-int(x.block)*a.cache.Block), true)
		}
	}
}
