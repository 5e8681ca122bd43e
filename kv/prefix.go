package kv

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// key names a column by all that its blocks depend on: model, settings, salt and
// every token up to its end.
type key [sha256.Size]byte

// column is all layers and heads of one block number, as one sequence computed
// it and others may share it.
type column struct {
	key  key
	prev key     // of the column before it
	ids  []int32 // by layer, then head
	idle int     // of them, those without a holder: none, or all of a cached column

	older, newer *column // among cached ones

	// Of a lasting store.
	unwritten int   // blocks that have no record yet
	entry     int32 // in the ledger, or −1
	listed    bool  // the entry is being written or erased
}

// root is the key before the first column.
func (s *Store) root(salt []byte) key {
	h := sha256.New()
	l := s.cfg.Layout
	fmt.Fprintf(h, "nosa kv 1: %d layers of %d heads of %d, block %d, kernel %d, stride %d, scores %v, %v\n",
		s.cfg.Layers, l.Heads, l.Dim, l.Block, l.Kernel, l.Stride, l.Scores, l.Type)
	// Lengths first, so that no identity and salt can pass for another pair.
	fmt.Fprintf(h, "%d %d\n", len(s.cfg.Identity), len(salt))
	h.Write(s.cfg.Identity)
	h.Write(salt)
	return key(h.Sum(nil))
}

// next is the key of the column of these tokens after the column of k.
func (k key) next(tokens []int32) key {
	buf := make([]byte, 0, len(k)+4*len(tokens))
	buf = append(buf, k[:]...)
	for _, t := range tokens {
		buf = binary.LittleEndian.AppendUint32(buf, uint32(t))
	}
	return sha256.Sum256(buf)
}

// takeOver lets q begin with the published columns that match its prompt, most
// at most.
func (s *Store) takeOver(q *Sequence, prompt []int32, most int) {
	size := s.cfg.Layout.Block
	most = min(most, (len(prompt)-1)/size)
	for b := range max(most, 0) {
		next := q.chain.next(prompt[b*size : (b+1)*size])
		c := s.columns[next]
		if c == nil || c.idle > 0 && !s.spares() {
			break
		}
		q.chain = next
		i := 0
		for layer, heads := range q.tables {
			for h := range heads {
				s.retain(c.ids[i])
				heads[h] = append(heads[h], c.ids[i])
				i++
			}
			s.count(q, layer, func(l *LayerStats) { l.Shared += int64(len(heads)) })
		}
		q.columns = append(q.columns, s.columnOf(c.ids[0]))
		q.dues++
	}
	q.len = len(q.columns) * size
	q.shared = q.len
}

// offer publishes a full column of q, unless one with the same key is there.
func (s *Store) offer(q *Sequence, b int, prev key) {
	for _, heads := range q.tables {
		for h := range heads {
			if id := heads[h][b]; id >= 0 && !s.blocks[id].has(full) {
				panic(fmt.Sprintf("kv: sequence %d: advance past block %d, which is not sealed", q.number, b))
			}
		}
	}
	if q.opt.NoShare || s.columns[q.chain] != nil || !q.asComputed(b) {
		return
	}
	c := &column{key: q.chain, prev: prev, entry: -1}
	for layer, heads := range q.tables {
		for h := range heads {
			id := s.id(layer, h, q.columns[b]) // that of the table, unless it has been rewritten in this step
			c.ids = append(c.ids, id)
			s.blocks[id].column = c
		}
	}
	s.columns[c.key] = c
	if s.lasting != nil {
		s.lasting.offered(s, c)
	}
}

// unpublish takes the column of a block away from those who come later: the
// block is at its end, or it can not be trusted. Blocks of it that nobody holds end.
func (s *Store) unpublish(b *block) {
	c := b.column
	if c == nil {
		return
	}
	delete(s.columns, c.key)
	if s.lasting != nil {
		s.strike(c)
	}
	for _, id := range c.ids {
		s.blocks[id].column = nil
	}
	if c.idle == 0 {
		return
	}
	if c.idle == len(c.ids) {
		s.cached.remove(c)
	}
	c.idle = 0
	for _, id := range c.ids {
		if s.blocks[id].refs == 0 {
			s.end(id)
		}
	}
}
