package kv

import "math/bits"

// Where is what a View tells of a block, as a set.
type Where uint8

const (
	InSlot   Where = 1 << iota // the device pool holds its bytes
	InHost                     // the host pool does
	OnDisk                     // the disk file does
	Unsealed                   // its sequence still writes to it: it lies in the tail, as computed
	Moving                     // bytes of it are on their way, or wait for that
	Shared                     // several sequences hold it
	Selected                   // wanted in the last step
	Seated                     // a device decodes its sequence by itself: slots of its own may hold it, and nobody notes when it is wanted
)

// Cell is one block of a View.
type Cell struct {
	Where  Where
	Wanted uint8 // in how many of the last WatchedSteps steps; 0 where nobody watches
}

// Range is a part of a View: from From on, before To.
type Range struct{ From, To int }

// within cuts a range to n.
func (r Range) within(n int) Range {
	from := min(max(r.From, 0), n)
	return Range{from, min(max(r.To, from), n)}
}

// Len is the length of a range.
func (r Range) Len() int { return r.To - r.From }

// View is where blocks are, at one moment.
type View struct {
	Step    int64 // forward passes so far
	Layers  Range
	Heads   int
	Block   int     // tokens of a block
	Columns Range   // of Total
	Total   int     // columns that there are
	Numbers []int32 // by column: its block number
	Cells   []Cell  // by layer, then head, then column
}

// MaxCells is the most blocks that are looked at at a time, which takes less than a
// millisecond: see BenchmarkLook.
const MaxCells = 1 << 16

// WatchedSteps is how far back a watched store knows what was wanted.
const WatchedSteps = 32

// wanted is the steps in which a block was wanted: bit i of bits is the one i before
// last.
type wanted struct {
	last int32
	bits uint32
}

// Watch begins to note which blocks are wanted, for Look, or leaves off and forgets.
// A store that is not watched pays nothing for it.
func (s *Store) Watch(on bool) {
	s.enter()
	defer s.leave()
	switch {
	case !on:
		s.watched = nil
	case s.watched == nil:
		s.watched = make([]wanted, len(s.blocks))
	}
}

// note is told what a recall wants while somebody watches.
func (s *Store) note(q *Sequence, layer int, want [][]int32) {
	now := int32(s.step)
	for h, w := range want {
		ids := q.tables[layer][h]
		for _, b := range w {
			at := &s.watched[ids[b]]
			if at.last != now {
				*at = wanted{now, at.since(now)}
			}
			at.bits |= 1
		}
	}
}

// since is the steps in which a block was wanted, as seen from a later one.
func (w wanted) since(step int32) uint32 { return w.bits << min(uint32(step-w.last), WatchedSteps) }

// Look tells where blocks of a sequence are: of some layers, and some of its block
// numbers. Ranges are cut to what there is, and to the first layers, one at least, that
// have MaxCells together. It moves nothing and counts as no use.
func (q *Sequence) Look(layers, columns Range) View {
	s := q.store
	s.enter()
	defer s.leave()
	if q.freed {
		return s.view(layers, columns, 0)
	}
	s.settle(false)
	v := s.view(layers, columns, len(q.columns))
	for layer := v.Layers.From; layer < v.Layers.To; layer++ {
		for _, ids := range q.tables[layer] {
			for _, id := range ids[v.Columns.From:v.Columns.To] {
				c := s.cell(id)
				if q.seat >= 0 {
					c.Where |= Seated
				}
				v.Cells = append(v.Cells, c)
			}
		}
	}
	for b := v.Columns.From; b < v.Columns.To; b++ {
		v.Numbers = append(v.Numbers, int32(b))
	}
	return v
}

// LookCached is Look for the columns that no sequence holds, those first that will be
// kept longest.
func (s *Store) LookCached(layers, columns Range) View {
	s.enter()
	defer s.leave()
	s.settle(false)
	v := s.view(layers, columns, s.cached.n)
	var shown []*column
	at := 0
	for c := s.cached.last; c != nil && at < v.Columns.To; c, at = c.older, at+1 {
		if at >= v.Columns.From {
			shown = append(shown, c)
			v.Numbers = append(v.Numbers, s.blocks[c.ids[0]].number)
		}
	}
	for row := v.Layers.From * v.Heads; row < v.Layers.To*v.Heads; row++ {
		for _, c := range shown {
			v.Cells = append(v.Cells, s.cell(c.ids[row]))
		}
	}
	return v
}

// view is an empty one with room for its cells.
func (s *Store) view(layers, columns Range, total int) View {
	v := View{Step: s.step, Layers: layers.within(s.cfg.Layers), Heads: s.cfg.Layout.Heads, Block: s.cfg.Layout.Block, Columns: columns.within(total), Total: total}
	v.Columns.To = min(v.Columns.To, v.Columns.From+max(1, MaxCells/v.Heads))
	if row := v.Heads * v.Columns.Len(); row > 0 {
		v.Layers.To = min(v.Layers.To, v.Layers.From+max(1, MaxCells/row))
	}
	v.Cells = make([]Cell, 0, v.Layers.Len()*v.Heads*v.Columns.Len())
	v.Numbers = make([]int32, 0, v.Columns.Len())
	return v
}

// cell tells where a block is.
func (s *Store) cell(id int32) (c Cell) {
	if id < 0 {
		return c // a hole
	}
	b := &s.blocks[id]
	if s.pool.SlotOf[id] >= 0 && !b.has(filling|bad) {
		c.Where |= InSlot
	}
	if b.inPage() {
		c.Where |= InHost
	}
	if b.inRecord() {
		c.Where |= OnDisk
	}
	if !b.has(full) {
		c.Where |= Unsealed
	}
	if b.has(waitDown | down | waitLoad | load | up | spill) {
		c.Where |= Moving
	}
	if b.refs > 1 {
		c.Where |= Shared
	}
	if s.watched != nil {
		seen := s.watched[id].since(int32(s.step))
		if seen&1 != 0 {
			c.Where |= Selected
		}
		c.Wanted = uint8(bits.OnesCount32(seen))
	}
	return c
}
