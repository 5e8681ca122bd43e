package main

import (
	"context"

	"nosa/engine"
)

// firstPositions is where the first part ends; each one after it ends twice as far.
const firstPositions = 64

// loss measures the loss of held-out texts by position, by the engine that the model will run on.
func (m *measurement) loss(ctx context.Context, r *result) (did bool, err error) {
	docs, err := m.read(m.documents)
	if err != nil {
		return false, err
	}
	s := m.textSettings(m.device, len(docs))
	if same(r.Loss != nil, func() textSettings { return r.Loss.textSettings }, s) {
		return false, nil
	}
	l := &lossResult{textSettings: s}
	err = m.with(r, m.device, m.options(r.Method), func(e *engine.Engine) error {
		for _, ids := range docs {
			scores, err := e.Score(ctx, ids, nil)
			if err != nil {
				return err
			}
			l.add(scores.LogProbs)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	l.mean()
	r.Loss = l
	return true, nil
}

// add takes the log-probability of each token but the first, which the row before it predicts.
func (l *lossResult) add(logProbs []float64) {
	for row, p := range logProbs[1:] {
		part := 0
		for end := firstPositions; row >= end; end *= 2 {
			part++
		}
		for len(l.ByPosition) <= part {
			begin := 0
			if n := len(l.ByPosition); n > 0 {
				begin = l.ByPosition[n-1].End
			}
			l.ByPosition = append(l.ByPosition, positionLoss{Begin: begin, End: max(2*begin, firstPositions)})
		}
		l.ByPosition[part].Loss -= p
		l.ByPosition[part].Count++
	}
}

// mean turns sums into means.
func (l *lossResult) mean() {
	for i := range l.ByPosition {
		p := &l.ByPosition[i]
		l.Loss, l.Tokens = l.Loss+p.Loss, l.Tokens+p.Count
		p.Loss /= float64(max(p.Count, 1))
	}
	l.Loss /= float64(max(l.Tokens, 1))
}
