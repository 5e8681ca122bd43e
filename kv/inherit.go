package kv

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"nosa/compute"
)

// found is what an entry says of a column that an earlier process left.
type found struct {
	at        int32
	key, prev key
	number    uint32
	seq       uint64
	recs      []int32
}

// inherit takes over what an earlier process left in the files of a lasting store: as
// columns that nobody holds. An entry is taken over if it is whole, if its records lie
// in the file and belong to no other one, and if those before it are there. After the
// machine was down its records are read and held against their digests too. All other
// entries are erased.
func (s *Store) inherit() error {
	l := s.lasting
	boot, settings := bootID(), s.settings()
	same, up, err := l.look(settings, boot)
	if err != nil {
		return err
	}
	if !same {
		if err := l.file.Truncate(0); err != nil {
			return fmt.Errorf("%w: %w", ErrDisk, err)
		}
		return l.begin(settings, boot)
	}
	all, err := s.entries()
	if err != nil {
		return err
	}
	taken, err := s.choose(all, up)
	if err != nil {
		return err
	}
	l.free = l.free[:0]
	kept := make([]bool, l.made)
	for _, f := range taken {
		kept[f.at] = true
	}
	for at := l.made - 1; at >= 0; at-- {
		if !kept[at] {
			if err := l.erase(at); err != nil {
				return err
			}
			l.free = append(l.free, at)
		}
	}
	if err := s.bringIn(taken); err != nil {
		return err
	}
	if len(taken) > 0 {
		s.log.Info("blocks of an earlier process were taken over", "columns", len(taken), "of", len(all), "verified", !up)
	}
	return l.begin(settings, boot)
}

// entries reads what the ledger says, the latest entries first.
func (s *Store) entries() ([]found, error) {
	l := s.lasting
	var err error
	if l.made, err = l.entries(); err != nil {
		return nil, err
	}
	var all []found
	buf := make([]byte, l.size)
	for at := range l.made {
		e, ok, err := l.read(at, buf)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		l.seq = max(l.seq, e.seq)
		f := found{at: at, key: e.key, prev: e.prev, number: e.number, seq: e.seq}
		for _, p := range e.parts {
			f.recs = append(f.recs, p.rec)
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(b.seq, a.seq) })
	return all, nil
}

// choose picks the columns that are taken over, each after the one before it.
func (s *Store) choose(all []found, up bool) ([]found, error) {
	size, err := s.disk.file.Size()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDisk, err)
	}
	records := min(int64(s.disk.most), size/int64(s.disk.stride))
	used := map[int32]bool{} // each record is a block's
	claim := func(recs []int32) bool {
		for i, rec := range recs {
			if rec < 0 || int64(rec) >= records || used[rec] {
				for _, mine := range recs[:i] {
					delete(used, mine)
				}
				return false
			}
			used[rec] = true
		}
		return true
	}
	known := map[key]bool{}
	after := map[key][]found{}
	var stack []found
	width := s.cfg.Layers * s.cfg.Layout.Heads
	for _, f := range all { // what is later is true where two contradict each other
		if known[f.key] || !claim(f.recs) {
			continue
		}
		known[f.key] = true
		if f.number == 0 {
			stack = append(stack, f)
		} else {
			after[f.prev] = append(after[f.prev], f)
		}
	}
	slices.Reverse(stack) // the latest is taken first
	most := min(len(s.blocks), s.cfg.homes()) / width
	var taken []found
	for len(stack) > 0 && len(taken) < most {
		f := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if !up {
			if whole, err := s.whole(f); err != nil {
				return nil, err
			} else if !whole {
				continue
			}
		}
		taken = append(taken, f)
		for _, next := range after[f.key] {
			if next.number == f.number+1 {
				stack = append(stack, next)
			}
		}
	}
	return taken, nil
}

// whole reads the records of a column and says whether they hold what they should.
func (s *Store) whole(f found) (bool, error) {
	l := s.lasting
	e, ok, err := l.read(f.at, make([]byte, l.size))
	if err != nil || !ok {
		return false, err
	}
	for _, p := range e.parts {
		// No block has a page yet: the first one serves.
		if s.disk.read(p.rec, s.host.record(0)) != nil || digestOf(s.host.bytes(0)) != p.sum {
			return false, nil
		}
	}
	return true, nil
}

// bringIn gives ids to the blocks of columns that are taken over. Columns that follow
// each other do so in their ids: see freeColumns.
func (s *Store) bringIn(taken []found) error {
	l := s.lasting
	heads := s.cfg.Layout.Heads
	width := s.cfg.Layers * heads
	buf := make([]byte, l.size)
	columns := make([]*column, len(taken))
	for n, f := range taken {
		e, ok, err := l.read(f.at, buf)
		if err == nil && !ok {
			err = l.unread(io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
		c := &column{key: e.key, prev: e.prev, ids: make([]int32, width), idle: width, entry: e.at}
		at := s.free.take(int32(n))
		s.bear(at)
		for i, p := range e.parts {
			id := s.id(i/heads, i%heads, at)
			s.blocks[id] = block{
				owner: l.ghost, column: c, layer: int32(i / heads), head: int32(i % heads), number: int32(e.number),
				page: -1, rec: p.rec, crc: p.crc, is: live | due | full | foreign,
			}
			l.sums[id] = p.sum
			s.summary(id, p.summary, func(b []byte, t compute.Tensor) { s.dev.Upload(t, b) })
			s.count(l.ghost, i/heads, func(l *LayerStats) { l.Born++ })
			c.ids[i] = id
		}
		s.columns[c.key], columns[n] = c, c
	}
	for _, c := range slices.Backward(columns) { // the last ones go first
		s.cached.push(c)
	}
	l.listed = len(taken)
	s.due += len(taken) * width
	s.disk.claim(taken)
	return nil
}

// claim takes the records of columns that are taken over.
func (d *disk) claim(taken []found) {
	var recs []int32
	for _, f := range taken {
		recs = append(recs, f.recs...)
	}
	slices.Sort(recs)
	for _, rec := range recs {
		for ; d.made < int(rec); d.made++ {
			d.free = append(d.free, int32(d.made))
		}
		d.made++
	}
}

// summary moves a block's summary, part by part, between its places on the device and
// its bytes in an entry.
func (s *Store) summary(id int32, b []byte, move func([]byte, compute.Tensor)) {
	for _, t := range []compute.Tensor{s.cache.Segments, s.cache.SegScore, s.cache.Score} {
		if t.None() {
			continue
		}
		one := t.Rows(int(id), int(id)+1)
		n := one.Bytes()
		move(b[:n:n], one)
		b = b[n:]
	}
}
