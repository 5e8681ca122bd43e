package main

import (
	"context"
	"math"

	"nosa/compute"
	"nosa/engine"
	"nosa/kv"
)

// pools counts how many of the blocks that decode steps select are in slots already: with exactly the last selection kept, as NOSI
// does, and with the last used ones in one pool for all layers and heads, of several sizes. It is a matter of counting: which
// device computes does not matter, and the CPU's floats are the same everywhere.
func (m *measurement) pools(ctx context.Context, r *result) (did bool, err error) {
	if r.Sparse == nil {
		return false, nil // every block is read: there is nothing to choose
	}
	docs, err := m.read(m.poolDocuments)
	if err != nil {
		return false, err
	}
	s := poolSettings{textSettings: m.textSettings("cpu", len(docs)), Steps: m.steps}
	if r.Pools == nil || r.Pools.poolSettings != s {
		r.Pools = &poolsResult{poolSettings: s}
	}
	for _, ratio := range append([]float64{0}, m.ratios...) {
		if r.Pools.has(ratio) {
			continue
		}
		run, err := m.pool(ctx, r, ratio, docs)
		if err != nil {
			return did, err
		}
		r.Pools.Runs = append(r.Pools.Runs, run)
		did = true
	}
	return did, nil
}

func (p *poolsResult) has(ratio float64) bool {
	for _, run := range p.Runs {
		if run.Slots == ratio {
			return true
		}
	}
	return false
}

// pool measures one size; 0 keeps the last selection.
func (m *measurement) pool(ctx context.Context, r *result, ratio float64, docs [][]int32) (poolRun, error) {
	run := poolRun{Slots: ratio}
	o := m.options(r.Method)
	o.KVType = compute.KVF32
	if err := m.size(r, ratio, &o); err != nil {
		return run, err
	}
	var store *kv.Store
	var before kv.Stats
	from := m.context - m.steps
	o.OnLogits = func(pos int, _ []float32) {
		if pos == from-1 {
			before = store.Stats() // what follows are decode steps
		}
	}
	return run, m.with(r, "cpu", o, func(e *engine.Engine) error {
		store = e.Store()
		for _, ids := range docs {
			if _, err := e.ScoreDecoded(ctx, ids, from, nil); err != nil {
				return err
			}
			after := store.Stats()
			run.Selected += after.Total.Selected - before.Total.Selected
			run.Hits += after.Total.Hits - before.Total.Hits
			if run.Layers == nil {
				run.Layers = make([]layerHits, len(after.Layers))
			}
			for i, l := range after.Layers {
				run.Layers[i].Selected += l.Selected - before.Layers[i].Selected
				run.Layers[i].Hits += l.Hits - before.Layers[i].Hits
			}
		}
		return nil
	})
}

// size sets the device memory that makes so many slots.
func (m *measurement) size(r *result, ratio float64, o *engine.Options) error {
	src, err := engine.OpenSource(r.Folder)
	if err != nil {
		return err
	}
	plan, err := src.Prepare(*o)
	heads := src.Config.Layers * src.Config.KVHeads
	if closed := src.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	slots := int64(math.Round(ratio * float64(r.Sparse.TopK*heads)))
	if ratio == 0 {
		o.Keep, slots = kv.KeepSelected, int64(plan.Blocks)-1 // one fewer than all: else there is nothing below the slots
	}
	o.KVDevice = plan.Tails + slots*plan.BlockLen
	return nil
}
