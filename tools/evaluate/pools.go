package main

import (
	"container/list"
	"context"
	"math"

	"nosa/compute"
	"nosa/engine"
)

// pools counts how many of the blocks that decode steps select are in slots already: with exactly the last selection of each head
// kept, as NOSI does, and with the last used ones in one pool for all layers and heads, of several sizes. The selections are the
// engine's; the pools are simulated, since a CPU reads what has no slot where it lies, in the host pool, and gives it none.
func (m *measurement) pools(ctx context.Context, r *result) (did bool, err error) {
	if r.Sparse == nil {
		return false, nil // every block is read: there is nothing to choose
	}
	docs, err := m.read(m.poolDocuments)
	if err != nil {
		return false, err
	}
	s := poolSettings{textSettings: m.textSettings("cpu", len(docs)), Steps: m.steps}
	if r.Pools != nil && r.Pools.poolSettings == s && r.Pools.hasAll(m.ratios) {
		return false, nil
	}
	o := m.options(r.Method)
	o.KVType = compute.KVF32
	warm := min(warmSteps, m.context-m.steps-1)
	from := m.context - m.steps - warm
	var sims []*simulation
	o.OnSelect = func(layer int, t compute.Tile, sel compute.Selection) {
		if t.Pos < from {
			return
		}
		for h, table := range t.Tables {
			own := int32(len(table) - 1)
			chosen := sel.List(t.N-1, h, int(own))
			for _, s := range sims {
				s.step(layer, h, own, chosen, t.Pos >= from+warm)
			}
		}
	}
	var runs []poolRun
	err = m.with(r, "cpu", o, func(e *engine.Engine) error {
		layers, heads := e.Source.Config.Layers, e.Source.Config.KVHeads
		for _, ratio := range append([]float64{0}, m.ratios...) {
			sims = append(sims, newSimulation(ratio, layers, int(math.Round(ratio*float64(r.Sparse.TopK*layers*heads)))))
		}
		for _, ids := range docs {
			for _, s := range sims {
				s.forget()
			}
			if _, err := e.ScoreDecoded(ctx, ids, from, nil); err != nil {
				return err
			}
		}
		for _, s := range sims {
			for _, l := range s.run.Layers {
				s.run.Selected, s.run.Hits = s.run.Selected+l.Selected, s.run.Hits+l.Hits
			}
			runs = append(runs, s.run)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	r.Pools = &poolsResult{poolSettings: s, Runs: runs}
	return true, nil
}

// warmSteps fill the pools before anything is counted.
const warmSteps = 128

func (p *poolsResult) hasAll(ratios []float64) bool {
	had := map[float64]bool{}
	for _, run := range p.Runs {
		had[run.Slots] = true
	}
	for _, ratio := range ratios {
		if !had[ratio] {
			return false
		}
	}
	return had[0]
}

// place is a block of a layer and head.
type place struct {
	layer, head int
	block       int32
}

// simulation is a pool: of so many slots, or of each head's last selection where slots is 0.
type simulation struct {
	slots int
	run   poolRun
	used  *list.List // of place, the last used one in front
	in    map[place]*list.Element
	last  map[place]int // by a head's place of block -1: its steps; by a block: the last of these that chose it
}

func newSimulation(ratio float64, layers, slots int) *simulation {
	s := &simulation{slots: slots, run: poolRun{Slots: ratio, Layers: make([]layerHits, layers)}}
	s.forget()
	return s
}

// forget empties the pool.
func (s *simulation) forget() {
	s.used, s.in, s.last = list.New(), map[place]*list.Element{}, map[place]int{}
}

// step takes the selection of one head in one step. The query's own block is at hand in any case, and takes a slot.
func (s *simulation) step(layer, head int, own int32, chosen []int32, counts bool) {
	clock := place{layer, head, -1}
	s.last[clock]++
	now := s.last[clock]
	for _, b := range chosen {
		p := place{layer, head, b}
		hit := b == own
		if s.slots == 0 {
			before, had := s.last[p]
			hit = hit || had && before == now-1
			s.last[p] = now
		} else {
			hit = s.touch(p) || hit
		}
		if counts {
			l := &s.run.Layers[layer]
			l.Selected++
			if hit {
				l.Hits++
			}
		}
	}
}

// touch makes a block the last used one, and tells whether it was there.
func (s *simulation) touch(p place) bool {
	if e, ok := s.in[p]; ok {
		s.used.MoveToFront(e)
		return true
	}
	if s.used.Len() == s.slots {
		oldest := s.used.Back()
		s.used.Remove(oldest)
		delete(s.in, oldest.Value.(place)) //nolint:errcheck // the list has nothing else
	}
	s.in[p] = s.used.PushFront(p)
	return false
}
