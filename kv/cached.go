package kv

// cachedColumns is the columns that nobody holds and that are kept all the same, for
// sequences that begin alike, in the order in which they go: the longest without a
// holder first. Of those that one sequence leaves behind its last one goes first,
// since a column is found through the ones before it alone.
type cachedColumns struct {
	first, last *column
	n           int
}

func (l *cachedColumns) push(c *column) {
	c.older, c.newer = l.last, nil
	if l.last == nil {
		l.first = c
	} else {
		l.last.newer = c
	}
	l.last = c
	l.n++
}

func (l *cachedColumns) remove(c *column) {
	if c.older == nil {
		l.first = c.newer
	} else {
		c.older.newer = c.newer
	}
	if c.newer == nil {
		l.last = c.older
	} else {
		c.newer.older = c.older
	}
	c.older, c.newer = nil, nil
	l.n--
}

// abandon counts a block of a column that has lost its last holder. With the last one
// the column is cached.
func (s *Store) abandon(c *column) {
	if c.idle++; c.idle == len(c.ids) {
		s.cached.push(c)
	}
	if c.idle == 1 {
		s.frayed = append(s.frayed, c)
	}
}

// trim unpublishes the columns of which some blocks have lost their last holder and others
// have not: a sequence has let go what it had rewritten, and keeps the rest.
func (s *Store) trim() {
	for _, c := range s.frayed {
		if c.idle > 0 && c.idle < len(c.ids) {
			for _, id := range c.ids {
				if s.blocks[id].column == c {
					s.unpublish(&s.blocks[id])
					break
				}
			}
		}
	}
	clear(s.frayed)
	s.frayed = s.frayed[:0]
}

// adopt counts a block of a cached column that has a holder again.
func (s *Store) adopt(c *column) {
	if c.idle == len(c.ids) {
		s.cached.remove(c)
	}
	c.idle--
}

// forget ends the cached column that goes first, and reports whether there was one.
// Blocks that are being moved end with their last transfer.
func (s *Store) forget() bool {
	if s.cached.first == nil {
		return false
	}
	s.unpublish(&s.blocks[s.cached.first.ids[0]])
	return true
}

// Forget ends all blocks that no sequence holds.
func (s *Store) Forget() {
	s.enter()
	defer s.leave()
	s.settle(false)
	for s.forget() {
	}
	s.settle(false)
}
