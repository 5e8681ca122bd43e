package cpu

import "nosa/compute"

// decode is Attend for a tile of one row: its splits run side by side.
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
	for _, s := range a.splits {
		for g := range a.group {
			own := a.state[(s.head*a.group+g)*length:][:length]
			if s.spare >= 0 {
				copy(own[:3+a.dim], a.spare[(s.spare*a.group+g)*length:])
			}
			if own[0] == compute.Split {
				a.k.fold(own, a.dim)
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
		from, next := len(a.wanted), 0
		for _, p := range a.parts {
			if p.Head != head {
				continue
			}
			for i, b := range p.Blocks {
				if a.selected(0, head, b, &next) {
					a.wanted = append(a.wanted, want{b, p.Slots[i]})
				}
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

var onlyRow = []int{0}

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
	for _, b := range a.wanted[s.from:s.to] {
		a.block(w, s.head, b.block, b.slot, onlyRow, own)
	}
}
