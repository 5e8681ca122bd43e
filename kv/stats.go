package kv

import "time"

// LayerStats are the counters of one layer. Selected = Hits + HostHits +
// DiskHits, and BytesUp = (HostHits + DiskHits) · block size.
type LayerStats struct {
	Selected int64 // wanted blocks, own tails included
	Hits     int64 // of them in a slot
	HostHits int64 // misses that came from the host pool
	DiskHits int64 // misses that came from the disk
	InPlace  int64 // misses that were read in the host pool, without a copy into a slot

	BytesUp       int64 // host pool → slots, or read there in place
	BytesDown     int64 // slots → host pool: each full block once
	BytesToDisk   int64
	BytesFromDisk int64
	Wait          time.Duration // that the owner stood still for transfers

	Recalls int64
	Rounds  int64 // more than Recalls where a want did not fit into the slots
	Evicted int64 // blocks that lost their slot
	Spilled int64 // blocks that got a record

	Born   int64
	Freed  int64
	Shared int64 // blocks taken over from other sequences
}

// Misses is the number of wanted blocks that were not in a slot.
func (l LayerStats) Misses() int64 { return l.HostHits + l.DiskHits }

// HitRate is the part of wanted blocks that were in a slot; 1 if none was wanted.
func (l LayerStats) HitRate() float64 {
	if l.Selected == 0 {
		return 1
	}
	return float64(l.Hits) / float64(l.Selected)
}

func (l *LayerStats) add(o LayerStats) {
	l.Selected += o.Selected
	l.Hits += o.Hits
	l.HostHits += o.HostHits
	l.DiskHits += o.DiskHits
	l.InPlace += o.InPlace
	l.BytesUp += o.BytesUp
	l.BytesDown += o.BytesDown
	l.BytesToDisk += o.BytesToDisk
	l.BytesFromDisk += o.BytesFromDisk
	l.Wait += o.Wait
	l.Recalls += o.Recalls
	l.Rounds += o.Rounds
	l.Evicted += o.Evicted
	l.Spilled += o.Spilled
	l.Born += o.Born
	l.Freed += o.Freed
	l.Shared += o.Shared
}

// Stats are the counters since the beginning and the state of now. A block's
// moves between tiers count for the sequence that computed it; selections, hits
// and waits for the one that asked. What a device's own steps have selected for a
// sequence is known over all layers alone: it is in its Total, and in no layer.
type Stats struct {
	Layers []LayerStats
	Total  LayerStats

	Live   int // blocks, in any tier or none yet
	InSlot int // where the store knows of it: what a step has in its own slots does not count
	InHost int
	OnDisk int // a block counts in every tier that holds it

	// Of the store alone.
	Sequences   int
	FreeIDs     int
	FreeSlots   int
	FreePages   int
	FreeRecords int
	UnderWay    int // transfers that have not reported
	Published   int // columns that others can share
	Lasting     int // of them, those that the next process will find
	Cached      int // of the live blocks, those that no sequence holds
}

// Add adds the counters of another sequence of the same store, and its blocks.
func (s *Stats) Add(o Stats) {
	if len(s.Layers) < len(o.Layers) {
		s.Layers = append(s.Layers, make([]LayerStats, len(o.Layers)-len(s.Layers))...)
	}
	for i, l := range o.Layers {
		s.Layers[i].add(l)
	}
	s.Total.add(o.Total)
	s.Live += o.Live
	s.InSlot += o.InSlot
	s.InHost += o.InHost
	s.OnDisk += o.OnDisk
}

// Trace is one KV head's part of a recall: what was wanted, own block left out,
// and what of it was in no slot.
type Trace struct {
	Sequence, Layer, Head int
	Selected, Missed      []int32 // block numbers, ascending; valid during the call
}

// count changes the counters of a layer, the sequence's and the store's.
func (s *Store) count(q *Sequence, layer int, f func(*LayerStats)) {
	f(&s.layers[layer])
	f(&q.layers[layer])
}

// Stats of all sequences that have been.
func (s *Store) Stats() Stats {
	s.enter()
	defer s.leave()
	s.settle(false)
	st := totals(s.layers)
	st.Live = s.live
	st.InSlot = s.cfg.Slots - s.pool.Free() - s.unready
	st.Sequences = len(s.sequences)
	st.FreeIDs, st.FreeSlots = s.free.left*s.cfg.Layers*s.cfg.Layout.Heads, s.pool.Free()
	st.UnderWay, st.Published = s.mover.underWay, len(s.columns)
	st.Cached = s.cached.n * s.cfg.Layers * s.cfg.Layout.Heads
	if s.host != nil {
		st.FreePages = len(s.host.free)
		st.InHost = s.cfg.HostPages - st.FreePages - s.downs - s.reads - s.expected
	}
	if s.disk != nil {
		st.FreeRecords = s.disk.left()
		st.OnDisk = s.disk.most - st.FreeRecords - s.spills
	}
	if s.lasting != nil {
		st.Lasting = s.lasting.listed
	}
	return st
}

// Stats of one sequence, also after its end.
func (q *Sequence) Stats() Stats {
	s := q.store
	s.enter()
	defer s.leave()
	s.settle(false)
	st := totals(q.layers)
	st.Total.add(q.stepped)
	for _, heads := range q.tables {
		for _, ids := range heads {
			for _, id := range ids {
				if id >= 0 {
					st.Live++
					s.place(&st, id)
				}
			}
		}
	}
	return st
}

func totals(layers []LayerStats) Stats {
	st := Stats{Layers: append([]LayerStats(nil), layers...)}
	for _, l := range layers {
		st.Total.add(l)
	}
	return st
}

// place counts the tiers that hold a block.
func (s *Store) place(st *Stats, id int32) {
	b := &s.blocks[id]
	if s.pool.SlotOf[id] >= 0 && !b.has(filling|bad) {
		st.InSlot++
	}
	if b.inPage() {
		st.InHost++
	}
	if b.inRecord() {
		st.OnDisk++
	}
}
