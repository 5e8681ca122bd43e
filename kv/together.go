package kv

import (
	"context"

	"nosa/compute"
)

// Together is how many tiles of a step may be sealed at once: as many as leave half of the
// slots to others.
func (s *Store) Together() int { return s.cfg.Slots / (2 * s.cfg.Layout.Heads) }

// Resident reports whether every full block has a slot for as long as it lives, and nobody
// wants to know which are wanted. Then WhereAll takes the place of Recall.
func (s *Store) Resident() bool {
	return (!tiered || s.resident) && s.watched == nil && s.cfg.Trace == nil
}

// SealTiles is Seal for the full tiles of a step at once, of which there are no more than
// Together, on a device that takes tiles together.
func (q *Sequence) SealTiles(ctx context.Context, dev compute.TilesDevice, tiles []compute.Tile, layer int) error {
	s := q.store
	s.enter()
	defer s.leave()
	if err := q.sealable(); err != nil {
		return err
	}
	slots := make([]int32, 0, len(tiles)*s.cfg.Layout.Heads)
	for _, t := range tiles {
		own := t.Own(s.cfg.Layout.Block)
		for _, ids := range q.tables[layer] {
			slot, err := q.slotToSeal(ctx, ids[own])
			if err != nil {
				return err
			}
			slots = append(slots, slot)
		}
	}
	dev.SealTiles(&s.cache, tiles, slots)
	for i, slot := range slots {
		if slot < 0 {
			continue
		}
		heads := s.cfg.Layout.Heads
		s.becameFull(q.tables[layer][i%heads][tiles[i/heads].Own(s.cfg.Layout.Block)])
	}
	return nil
}

// WhereAll sets slots to those of the first n blocks of a layer, by KV head, which are full, in
// a store that is Resident. As Recall would it counts them as selected, and the open blocks of
// so many tiles: what the device chooses of them is not known here.
func (q *Sequence) WhereAll(layer, n, tiles int, slots [][]int32) {
	s := q.store
	s.enter()
	defer s.leave()
	for h, ids := range q.tables[layer] {
		slots[h] = slots[h][:0]
		for _, id := range ids[:n] {
			slots[h] = append(slots[h], s.pool.SlotOf[id])
		}
	}
	s.count(q, layer, func(l *LayerStats) {
		l.Recalls += int64(tiles)
		l.Rounds += int64(tiles)
		l.Selected += int64((n + tiles) * len(slots))
		l.Hits += int64((n + tiles) * len(slots))
	})
}
