package kv

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// Check proves the invariants of the store: every full block has a home, or a
// slot while it has none yet; no place holds two blocks; references, pins and
// transfers add up; born = live + freed. It walks everything: for tests, and
// after every verb under -tags invariants.
func (s *Store) Check() error {
	s.enter()
	defer s.leave()
	return s.check()
}

func (s *Store) check() error {
	if err := s.pool.Check(); err != nil {
		return err
	}
	for _, prove := range []func() error{s.checkHolders, s.checkPlaces, s.checkPins, s.checkHomes, s.checkCounts, s.checkColumns, s.checkLedger, s.checkSeats} {
		if err := prove(); err != nil {
			return err
		}
	}
	return nil
}

// checkHolders: ids are free or held by as many tables as they think.
func (s *Store) checkHolders() error {
	refs := make([]int32, len(s.blocks))
	for q := range s.sequences {
		for layer, heads := range q.tables {
			for h, ids := range heads {
				if len(ids) != len(q.columns) {
					return fmt.Errorf("sequence %d, layer %d, head %d: %d blocks, want %d", q.number, layer, h, len(ids), len(q.columns))
				}
				for n, id := range ids {
					if id < 0 && q.rewritten.begun && n < q.dues {
						continue
					}
					refs[id]++
					rewritten := s.isSpare(s.columnOf(id)) && slices.Contains(q.rewritten.spares, s.columnOf(id))
					if want := s.id(layer, h, q.columns[n]); id != want && !rewritten {
						return fmt.Errorf("sequence %d, layer %d, head %d, block %d: id %d, want %d of column %d", q.number, layer, h, n, id, want, q.columns[n])
					}
					if b := &s.blocks[id]; int(b.layer) != layer || int(b.head) != h || int(b.number) != n {
						return fmt.Errorf("sequence %d, layer %d, head %d, block %d: id %d thinks it is %d, %d, %d",
							q.number, layer, h, n, id, b.layer, b.head, b.number)
					}
					if n < q.len/s.cfg.Layout.Block && !s.blocks[id].has(full) {
						return fmt.Errorf("sequence %d of %d tokens: block %d of layer %d, head %d is not sealed", q.number, q.len, n, layer, h)
					}
				}
				if err := q.checkNumbers(layer, h); err != nil {
					return err
				}
			}
		}
		for _, id := range q.rewritten.gone {
			refs[id]++
		}
	}
	left, alive := make([]int32, len(s.left)), 0
	for id := range s.blocks {
		b := &s.blocks[id]
		column := s.columnOf(int32(id))
		free := s.free.has(column) || b.is == 0 && (s.left[column] > 0 || s.isSpare(column)) // or waits for those of its column
		if b.is != 0 {
			alive++
			left[column]++
		}
		switch {
		case b.refs != refs[id]:
			return fmt.Errorf("id %d: %d holders, %d tables have it", id, b.refs, refs[id])
		case free != (b.is == 0):
			return fmt.Errorf("id %d: free %v, state %b", id, free, b.is)
		case free && (s.pool.SlotOf[id] >= 0 || b.page >= 0 || b.rec >= 0 || b.busy != 0):
			return fmt.Errorf("id %d is free, with slot %d, page %d, record %d, %d transfers", id, s.pool.SlotOf[id], b.page, b.rec, b.busy)
		case b.has(live) && b.has(dying) != (b.refs == 0 && b.column == nil):
			return fmt.Errorf("id %d: %d holders, state %b, offered %v", id, b.refs, b.is, b.column != nil)
		}
	}
	taken, places := 0, 0
	for _, w := range s.free.taken {
		taken += bits.OnesCount64(w)
	}
	for q := range s.sequences {
		places += q.place.n
	}
	if taken != places {
		return fmt.Errorf("%d columns lie in places of %d", taken, places)
	}
	return s.checkBooks(left, alive)
}

// checkNumbers: what is listed of a layer and head are the numbers in its table.
func (q *Sequence) checkNumbers(layer, h int) error {
	list := q.Numbers(layer, h)
	if list == nil {
		return nil
	}
	for n, id := range q.tables[layer][h] {
		if id < 0 {
			continue
		}
		if len(list) == 0 || int(list[0]) != n {
			return fmt.Errorf("sequence %d, layer %d, head %d: block %d is in the table, %v is listed", q.number, layer, h, n, list)
		}
		list = list[1:]
	}
	if len(list) > 0 {
		return fmt.Errorf("sequence %d, layer %d, head %d: blocks %v are listed, and not in the table", q.number, layer, h, list)
	}
	return nil
}

// checkBooks: columns are free when their last block is, and counted; left is how many
// of each there are.
func (s *Store) checkBooks(left []int32, alive int) error {
	free, dyingColumns := 0, 0
	width := s.cfg.Layers * s.cfg.Layout.Heads
	for c, n := range left {
		if s.free.has(int32(c)) {
			free++
		}
		held, spare := int32(0), s.isSpare(int32(c))
		for at := range width {
			b := &s.blocks[s.id(at/s.cfg.Layout.Heads, at%s.cfg.Layout.Heads, int32(c))]
			held += bit(b.is != 0 && !b.has(dying))
		}
		if n > 0 && held == 0 && !spare {
			dyingColumns++
		}
		if n != s.left[c] || held != s.held[c] || s.free.has(int32(c)) != (n == 0 && !spare) {
			return fmt.Errorf("column %d: %d blocks are left, want %d; %d held, want %d; spare: %v, free: %v", c, s.left[c], n, s.held[c], held, spare, s.free.has(int32(c)))
		}
	}
	if free != s.free.left || alive != s.live || dyingColumns != s.dyingColumns {
		return fmt.Errorf("%d columns are free, %d dying, %d blocks live: counted %d, %d and %d", free, dyingColumns, alive, s.free.left, s.dyingColumns, s.live)
	}
	return nil
}

// checkPlaces: pages and records are free or hold one block.
func (s *Store) checkPlaces() error {
	var pages, records []int
	if s.host != nil {
		pages = make([]int, s.cfg.HostPages)
	}
	if s.disk != nil {
		records = make([]int, s.disk.made)
	}
	for id := range s.blocks {
		b := &s.blocks[id]
		if b.page >= 0 {
			if s.host.block[b.page] != int32(id) {
				return fmt.Errorf("id %d names page %d, which holds %d", id, b.page, s.host.block[b.page])
			}
			pages[b.page]++
		}
		if b.rec >= 0 {
			records[b.rec]++
			if records[b.rec] > 1 {
				return fmt.Errorf("record %d holds two blocks", b.rec)
			}
		}
	}
	if s.host != nil {
		for _, p := range s.host.free {
			pages[p]++
		}
		for p := range s.host.block {
			if pages[p] != 1 {
				return fmt.Errorf("page %d is in use or free %d times", p, pages[p])
			}
		}
	}
	if s.disk != nil {
		for _, rec := range s.disk.free {
			records[rec]++
		}
		for rec := range s.disk.made {
			if records[rec] != 1 {
				return fmt.Errorf("record %d is in use or free %d times", rec, records[rec])
			}
		}
	}
	return nil
}

// checkPins: as many pins as transfers and recalls have, and pages in the right
// order.
func (s *Store) checkPins() error {
	want, holds, sits := make([]int32, len(s.blocks)), make([]int32, len(s.blocks)), s.sits()
	for _, r := range s.recalls {
		for _, rd := range []*round{&r.cur, &r.next} {
			for i, id := range rd.ids {
				switch slot := rd.slots[i]; {
				case slot < 0:
					holds[id]++
				case slot >= s.firstPage:
					holds[id]++
					if page := slot - s.firstPage; s.blocks[id].page != page {
						return fmt.Errorf("id %d is read in page %d, is in %d", id, page, s.blocks[id].page)
					}
				default:
					want[id]++
					if s.pool.SlotOf[id] != slot {
						return fmt.Errorf("id %d was recalled into slot %d, is in %d", id, slot, s.pool.SlotOf[id])
					}
				}
			}
		}
	}
	underWay, idle := 0, 0
	for id := range s.blocks {
		b := &s.blocks[id]
		var pagePins int32
		for _, is := range []state{down, up, load, spill} {
			if b.has(is) {
				pagePins++
			}
		}
		underWay += int(pagePins)
		if busy := pagePins + bit(b.has(listing)); b.busy != busy {
			return fmt.Errorf("id %d: %d transfers, state %b", id, b.busy, b.is)
		}
		if b.has(waitDown | down) {
			want[id]++
		}
		if b.has(filling) {
			want[id]++
		}
		var pins int32
		if slot := s.pool.SlotOf[id]; slot >= 0 {
			pins = s.pool.Pins[slot]
		}
		if pins != want[id] {
			return fmt.Errorf("id %d: %d pins on its slot %d, want %d, state %b", id, pins, s.pool.SlotOf[id], want[id], b.is)
		}
		if b.holds != holds[id] {
			return fmt.Errorf("id %d: %d rounds hold it, it thinks %d", id, holds[id], b.holds)
		}
		if b.sits != sits[id] {
			return fmt.Errorf("id %d: %d seats have it, it thinks %d", id, sits[id], b.sits)
		}
		if b.page < 0 {
			continue
		}
		h := s.host
		pagePins += b.holds + b.sits
		switch clean, dirty := h.clean[b.page], h.dirty.Has(b.page); {
		case h.sat[b.page] != b.sits:
			return fmt.Errorf("id %d: %d seats keep page %d, want %d", id, h.sat[b.page], b.page, b.sits)
		case h.pins[b.page] != pagePins:
			return fmt.Errorf("id %d: page %d has %d pins, want %d", id, b.page, h.pins[b.page], pagePins)
		case pagePins > h.resting(b.page) || b.has(expected):
		case pagePins > 0 && clean == b.inRecord() && dirty != clean:
		case clean != b.inRecord(), dirty == clean, dirty && h.dirty.Time(b.page) > h.used[b.page]:
			return fmt.Errorf("id %d: page %d of use %d is clean: %v, dirty: %v of use %d, record %d", id, b.page, h.used[b.page], clean, dirty, h.dirty.Time(b.page), b.rec)
		case clean:
			idle++
		}
	}
	if s.host != nil && s.host.idle != idle {
		return fmt.Errorf("%d pages can go, the pool thinks %d", idle, s.host.idle)
	}
	if s.lasting != nil {
		underWay += s.lasting.under
	}
	if underWay != s.mover.underWay {
		return fmt.Errorf("%d transfers under way, blocks have %d", s.mover.underWay, underWay)
	}
	return nil
}

// checkHomes: a full block can be had from somewhere, an open one is nowhere.
func (s *Store) checkHomes() error {
	for id := range s.blocks {
		b := &s.blocks[id]
		slot := s.pool.SlotOf[id] >= 0 && !b.has(filling|bad)
		switch {
		case b.has(expected) && (b.has(full) || b.sits != 1 || !b.has(due) || b.page < 0):
			return fmt.Errorf("id %d is expected in page %d, state %b, on %d seats", id, b.page, b.is, b.sits)
		case !b.has(full) && (s.pool.SlotOf[id] >= 0 || b.page >= 0 && !b.has(expected) || b.rec >= 0):
			return fmt.Errorf("id %d is not full, with slot %d, page %d, record %d", id, s.pool.SlotOf[id], b.page, b.rec)
		case !b.has(full) || b.has(dying) || b.inPage() || b.inRecord():
		case slot && (!s.cfg.below() || b.has(waitDown|down)):
		default:
			return fmt.Errorf("id %d (layer %d, head %d, block %d) is in no tier, state %b", id, b.layer, b.head, b.number, b.is)
		}
	}
	return nil
}

// checkCounts: the counters of states agree with the states.
func (s *Store) checkCounts() error {
	number := func(is state) (n int) {
		for id := range s.blocks {
			if s.blocks[id].has(is) {
				n++
			}
		}
		return n
	}
	var errs []error
	equal := func(what string, got, want int) {
		if got != want {
			errs = append(errs, fmt.Errorf("%s: counted %d, are %d", what, got, want))
		}
	}
	equal("blocks due", s.due, number(due))
	equal("blocks dying", s.dying, number(dying))
	dyingHomes := 0
	for id := range s.blocks {
		if s.blocks[id].has(dying) && s.blocks[id].has(due) {
			dyingHomes++
		}
	}
	equal("homes of blocks dying", s.dyingDue, dyingHomes)
	var promised promise
	for q := range s.sequences {
		promised.add(q.promise.columns, q.promise.homes)
		if q.promise.columns < 0 || q.promise.homes < 0 {
			errs = append(errs, fmt.Errorf("sequence %d: promised %+v", q.number, q.promise))
		}
	}
	equal("columns promised", s.promised.columns, promised.columns)
	equal("homes promised", s.promised.homes, promised.homes)
	if have := s.within(); promised.columns > have.columns || promised.homes > have.homes {
		errs = append(errs, fmt.Errorf("promised %+v, there is room for %+v", promised, have))
	}
	equal("copies down", s.downs, number(down))
	equal("writes to disk", s.spills, number(spill))
	equal("reads from disk", s.reads, number(load))
	equal("reads ahead", s.ahead, number(ahead))
	equal("blocks that steps will write", s.expected, number(expected))
	sat := 0
	for id := range s.blocks {
		if s.blocks[id].sits > 0 {
			sat++
		}
	}
	equal("blocks that are sat on", s.sat, sat)
	equal("slots not filled", s.unready, number(filling|bad))
	var st Stats
	for id := range s.blocks {
		if s.blocks[id].has(live) {
			s.place(&st, int32(id))
		}
	}
	equal("blocks in slots", s.cfg.Slots-s.pool.Free()-s.unready, st.InSlot)
	if s.host != nil {
		equal("blocks in pages", s.cfg.HostPages-len(s.host.free)-s.downs-s.reads-s.expected, st.InHost)
	}
	if s.disk != nil {
		equal("blocks on disk", s.disk.most-s.disk.left()-s.spills, st.OnDisk)
	}
	var sum LayerStats
	for _, l := range s.layers {
		sum.add(l)
		if l.Hits+l.Misses() != l.Selected {
			errs = append(errs, fmt.Errorf("%d hits and %d misses of %d selected", l.Hits, l.Misses(), l.Selected))
		}
		if l.BytesUp != l.Misses()*int64(s.cfg.Layout.BlockBytes()) {
			errs = append(errs, fmt.Errorf("%d misses, %d bytes up", l.Misses(), l.BytesUp))
		}
	}
	equal("blocks born less freed", int(sum.Born-sum.Freed), number(live))
	if s.due > s.cfg.homes() {
		errs = append(errs, fmt.Errorf("%d blocks are due, there are %d homes", s.due, s.cfg.homes()))
	}
	return errors.Join(errs...)
}

// checkColumns: what is offered to others is full and alive, and what nobody holds
// is listed once.
func (s *Store) checkColumns() error {
	listed := map[*column]bool{}
	for c := s.cached.first; c != nil; c = c.newer {
		if listed[c] || s.columns[c.key] != c || c.newer == nil && s.cached.last != c || c.newer != nil && c.newer.older != c {
			return fmt.Errorf("block %d: its cached column is not offered, or listed wrongly", s.blocks[c.ids[0]].number)
		}
		listed[c] = true
	}
	if len(listed) != s.cached.n {
		return fmt.Errorf("%d columns are cached, want %d", len(listed), s.cached.n)
	}
	for k, c := range s.columns {
		idle := 0
		for _, id := range c.ids {
			if s.blocks[id].refs == 0 {
				idle++
			}
		}
		if idle != c.idle || idle != 0 && idle != len(c.ids) || listed[c] != (idle > 0) || len(s.frayed) > 0 {
			return fmt.Errorf("block %d: %d of a column of %d have no holder, want %d; cached: %v", s.blocks[c.ids[0]].number, idle, len(c.ids), c.idle, listed[c])
		}
		if c.key != k || len(c.ids) != s.cfg.Layers*s.cfg.Layout.Heads {
			return fmt.Errorf("column of %d blocks is under a foreign key", len(c.ids))
		}
		for _, id := range c.ids {
			if b := &s.blocks[id]; b.column != c || !b.has(full) || b.has(dying) {
				return fmt.Errorf("id %d is offered in state %b", id, b.is)
			}
		}
	}
	for id := range s.blocks {
		if c := s.blocks[id].column; c != nil && s.columns[c.key] != c {
			return fmt.Errorf("id %d names a column that is not offered", id)
		}
	}
	return nil
}

// checkLedger: what the ledger will say to the next process is true.
func (s *Store) checkLedger() error {
	l := s.lasting
	if l == nil {
		return nil
	}
	used := make([]int, l.made)
	for _, at := range l.free {
		used[at]++
	}
	listed := 0
	for _, c := range s.columns {
		unwritten := 0
		for _, id := range c.ids {
			if b := &s.blocks[id]; !b.inRecord() {
				unwritten++
			} else if b.has(listing) != c.listed {
				return fmt.Errorf("id %d: its column is being listed: %v, it thinks %v", id, c.listed, b.has(listing))
			}
		}
		if unwritten != c.unwritten || unwritten > 0 && c.entry >= 0 {
			return fmt.Errorf("%d blocks of a column have no record, want %d; entry %d", unwritten, c.unwritten, c.entry)
		}
		if c.entry >= 0 {
			used[c.entry]++
			if !c.listed {
				listed++
			}
		}
	}
	striking := 0
	for at, n := range used {
		switch {
		case n > 1:
			return fmt.Errorf("entry %d is in use or free %d times", at, n)
		case n == 0:
			striking++ // of a column that is offered no more
		}
	}
	if l.closing { // what is offered no more keeps its entry
		return nil
	}
	if striking > l.under {
		return fmt.Errorf("%d entries are of no column, %d are on their way", striking, l.under)
	}
	if listed != l.listed && l.broken == nil {
		return fmt.Errorf("%d columns are listed, want %d", listed, l.listed)
	}
	return nil
}

func bit(b bool) int32 {
	if b {
		return 1
	}
	return 0
}
