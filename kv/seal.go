package kv

import (
	"context"
	"fmt"

	"nosa/compute"
)

// Seal ends the tile's own block in one layer: it is full, each head's tail is
// encoded into a slot, in the cache's format, and its bytes never change again.
// With a tier below, they are copied there once, in the background; until then
// the slot stays. A slot may have to be waited for, when all are on their way
// down. After an error the sequence can only be freed.
func (q *Sequence) Seal(ctx context.Context, t compute.Tile, layer int) error {
	s := q.store
	s.enter()
	defer s.leave()
	if err := q.sealable(); err != nil {
		return err
	}
	own := t.Own(s.cfg.Layout.Block)
	for h, ids := range q.tables[layer] {
		slot, err := q.slotToSeal(ctx, ids[own])
		if err != nil {
			return err
		}
		if slot >= 0 {
			s.dev.Seal(&s.cache, t, h, slot)
			s.becameFull(ids[own])
		}
	}
	return nil
}

// sealable refuses a sequence that is closed. One that sits has its blocks sealed by steps.
func (q *Sequence) sealable() error {
	if q.freed {
		return fmt.Errorf("kv: sequence %d: seal: %w", q.number, ErrClosed)
	}
	if q.seat >= 0 {
		panic(fmt.Sprintf("kv: sequence %d: seal while it sits", q.number))
	}
	return nil
}

// slotToSeal finds a slot for a block to be encoded into; −1: it is full already.
func (q *Sequence) slotToSeal(ctx context.Context, id int32) (int32, error) {
	s := q.store
	if s.blocks[id].has(full) {
		return -1, nil
	}
	slot, err := s.slotFor(ctx, q, id)
	if err != nil {
		return -1, fmt.Errorf("kv: seal: %w", s.blame(q, id, err))
	}
	return slot, nil
}

// becameFull says that a block is in its slot, complete.
func (s *Store) becameFull(id int32) {
	b := &s.blocks[id]
	b.is |= full
	if !s.cfg.below() {
		s.unpin(id)
		return
	}
	b.is |= waitDown // and keeps the pin
	s.waitDown.push(id)
	s.settle(false)
}

// slotFor finds a slot for a block that has none, and pins it.
func (s *Store) slotFor(ctx context.Context, q *Sequence, id int32) (int32, error) {
	fails := s.spillFails
	if s.pool.Free() == 0 {
		s.finishDown(ctx)
	}
	err := s.await(ctx, q, int(s.blocks[id].layer), func() (bool, error) {
		s.one[0][0] = id
		done, _, evicted := s.pool.Resolve(s.one[0][:], s.one[1][:], s.step, nil, s.evicted[:0])
		s.noteEvicted(evicted)
		if done == 0 && s.spillFails > fails {
			return false, s.spillErr
		}
		return done == 1, nil
	})
	return s.one[1][0], err
}

func (s *Store) noteEvicted(ids []int32) {
	for _, id := range ids {
		b := &s.blocks[id]
		s.count(b.owner, int(b.layer), func(l *LayerStats) { l.Evicted++ })
		if b.page >= 0 {
			s.host.keep(b.page)
		}
	}
	s.evicted = ids
}
