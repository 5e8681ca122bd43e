package main

import (
	"context"

	"nosa/engine"
	"nosa/eval"
)

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
	l, sum := &lossResult{textSettings: s}, &eval.Loss{}
	err = m.with(r, m.device, m.options(r.Method), func(e *engine.Engine) error {
		for _, ids := range docs {
			scores, err := e.Score(ctx, ids, nil)
			if err != nil {
				return err
			}
			sum.Add(scores.LogProbs, 1)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	l.take(sum)
	r.Loss = l
	return true, nil
}

// take makes means of sums. The first token of a text has no loss; that of each other is its row's, the one before.
func (l *lossResult) take(sum *eval.Loss) {
	for _, p := range sum.Positions {
		l.ByPosition = append(l.ByPosition, positionLoss{Begin: p.Begin, End: p.End, Loss: p.NLL / float64(max(p.Count, 1)), Count: p.Count})
	}
	l.Loss, l.Tokens = sum.NLL/float64(max(sum.Tokens, 1)), sum.Tokens
}
