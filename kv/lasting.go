package kv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// lasting is what a store knows beside its books where the disk tier is there for the
// next process.
//
//	full ──▶ every block is written to a record, whether its page is needed or not
//	         │ all of a column are
//	listed ◀─┘ the ledger has an entry of it: the next process finds it
//	struck     the entry is erased, and then only the records go to other blocks
//
// What the entry of a column needs is copied when it is listed; its blocks do not end
// before the entry has been written or erased.
type lasting struct {
	*ledger
	sums    []digest  // by id, of blocks that have records
	ready   []*column // all of whose blocks have records
	under   int       // entries on their way
	bufs    [][]byte  // of entries, to be used again
	ghost   *Sequence // the owner of blocks that an earlier process computed
	listed  int       // columns that have an entry
	closing bool      // nothing is erased any more
}

// saveTime is how long Close goes on writing what shall last.
const saveTime = 5 * time.Second

// name is that of a lasting store's files: others' settings have other ones.
func (s *Store) name() string {
	settings := s.settings()
	return "nosa-kv-" + hex.EncodeToString(settings[:8])
}

// settings stand for all that the files of a lasting store depend on.
func (s *Store) settings() key {
	h := sha256.New()
	root := s.root(nil)
	h.Write(root[:])
	fmt.Fprintf(h, "records of %d bytes, summaries of %d\n", s.cfg.RecordBytes(), s.cfg.summaryBytes())
	return key(h.Sum(nil))
}

func (s *Store) openLasting() (*lasting, error) {
	d := s.cfg.Disk
	f, err := d.FS.Open(d.Dir, s.name()+".ledger", false)
	if err != nil {
		return nil, fmt.Errorf("%w: --kv-disk %s: %w", ErrDisk, d.Dir, err)
	}
	return &lasting{
		ledger: newLedger(f, s.cfg.Layers*s.cfg.Layout.Heads, s.cfg.summaryBytes()),
		sums:   make([]digest, s.cfg.ids()),
		ghost:  &Sequence{store: s, number: -1, layers: make([]LayerStats, s.cfg.Layers)},
	}, nil
}

// offered notes a new column.
func (l *lasting) offered(s *Store, c *column) {
	for _, id := range c.ids {
		if !s.blocks[id].inRecord() {
			c.unwritten++
		}
	}
	if c.unwritten == 0 {
		l.ready = append(l.ready, c)
	}
}

// written notes that a block has got its record.
func (l *lasting) written(b *block, t transfer) {
	l.sums[t.id] = t.sum
	if c := b.column; c != nil {
		if c.unwritten--; c.unwritten == 0 {
			l.ready = append(l.ready, c)
		}
	}
}

// list begins to write the entries of columns that are ready.
func (s *Store) list() {
	l := s.lasting
	for len(l.ready) > 0 && l.under < s.cfg.Workers {
		c := l.ready[0]
		l.ready = l.ready[1:]
		if s.columns[c.key] != c || l.broken != nil {
			continue
		}
		c.entry = l.take()
		s.startListing(moveEntry, c, s.entryOf(c))
	}
}

// entryOf writes a column's entry into a buffer.
func (s *Store) entryOf(c *column) []byte {
	l := s.lasting
	var buf []byte
	if n := len(l.bufs); n > 0 {
		buf, l.bufs = l.bufs[n-1], l.bufs[:n-1]
	} else {
		buf = make([]byte, l.size)
	}
	l.seq++
	e := entry{key: c.key, prev: c.prev, number: uint32(s.blocks[c.ids[0]].number), seq: l.seq}
	for i, id := range c.ids {
		b := &s.blocks[id]
		e.parts = append(e.parts, entryPart{rec: b.rec, crc: b.crc, sum: l.sums[id]})
		s.summary(id, l.summary(buf, i), s.dev.Download)
	}
	l.encode(buf, &e)
	return buf
}

// startListing sends a column's entry, or its erasure, to the ledger.
func (s *Store) startListing(m move, c *column, buf []byte) {
	c.listed = true
	for _, id := range c.ids {
		s.blocks[id].is |= listing
		s.blocks[id].busy++
	}
	s.lasting.under++
	s.mover.start(transfer{move: m, id: c.ids[0], rec: c.entry, column: c, buf: buf}, false)
}

// strike erases a column's entry, or will when it has been written.
func (s *Store) strike(c *column) {
	if c.entry >= 0 && !c.listed && !s.lasting.closing {
		s.lasting.listed--
		s.startListing(moveErase, c, nil)
	}
}

// reportListing takes an entry that has been written or erased into the books.
func (s *Store) reportListing(t transfer) {
	l, c := s.lasting, t.column
	c.listed = false
	l.under--
	if t.buf != nil {
		l.bufs = append(l.bufs, t.buf)
	}
	if t.err != nil {
		s.breakLedger(t.err)
	}
	gone := s.columns[c.key] != c
	switch {
	case t.move == moveErase:
		l.free = append(l.free, c.entry)
		c.entry = -1
	case gone && !l.closing: // it was unpublished meanwhile
		s.unlist(c)
		s.startListing(moveErase, c, nil)
		return
	case t.err == nil:
		l.listed++
	}
	s.unlist(c)
	for _, id := range c.ids {
		s.bury(id)
	}
}

func (s *Store) unlist(c *column) {
	for _, id := range c.ids {
		s.blocks[id].is &^= listing
		s.blocks[id].busy--
	}
}

// breakLedger gives the ledger up: what it says can not be kept true. A next process
// begins with an empty one.
func (s *Store) breakLedger(err error) {
	l := s.lasting
	if l.broken != nil {
		return
	}
	l.broken = err
	if spoil := l.writeAt(make([]byte, headerBytes), 0); spoil != nil {
		err = fmt.Errorf("%w; and it could not be spoilt: %w", err, spoil)
	}
	s.log.Warn("what is on disk will not outlast this process", "error", err)
}

// Save goes on with the writing of what shall last, and reports whether more is under
// way. A store at rest writes nothing without it.
func (s *Store) Save() bool {
	s.enter()
	defer s.leave()
	if s.lasting == nil {
		return false
	}
	s.settle(false)
	return s.mover.underWay > 0
}

// finishSaving writes what shall last, for as long as saveTime, and from then on erases
// nothing.
func (s *Store) finishSaving() {
	l := s.lasting
	if l == nil || l.closing {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), saveTime)
	defer cancel()
	for s.settle(false); s.mover.underWay > 0; s.settle(false) {
		if s.stand(ctx) != nil {
			break
		}
	}
	l.closing = true
}
