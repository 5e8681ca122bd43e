package main

import (
	"context"
	"math"

	"nosa/compute"
	"nosa/engine"
	"nosa/eval"
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
	var sims []*eval.Pool
	o.OnSelect = func(layer int, t compute.Tile, sel compute.Selection) {
		if t.Pos < from {
			return
		}
		for h, table := range t.Tables {
			own := int32(len(table) - 1)
			chosen := sel.List(t.N-1, h, int(own))
			for _, s := range sims {
				s.Step(layer, h, own, chosen, t.Pos >= from+warm)
			}
		}
	}
	var runs []poolRun
	err = m.with(r, "cpu", o, func(e *engine.Engine) error {
		layers, heads := e.Source.Config.Layers, e.Source.Config.KVHeads
		for _, ratio := range append([]float64{0}, m.ratios...) {
			sims = append(sims, eval.NewPool(ratio, layers, int(math.Round(ratio*float64(r.Sparse.TopK*layers*heads)))))
		}
		for _, ids := range docs {
			for _, s := range sims {
				s.Forget()
			}
			if _, err := e.ScoreDecoded(ctx, ids, from, nil); err != nil {
				return err
			}
		}
		for _, s := range sims {
			run := poolRun{Slots: s.Slots, Selected: s.Selected, Hits: s.Hits}
			for _, l := range s.Layers {
				run.Layers = append(run.Layers, layerHits(l))
			}
			runs = append(runs, run)
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
