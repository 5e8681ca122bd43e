package engine

import (
	"context"
	"fmt"
	"math"

	"nosa/compute"
	"nosa/kv"
)

// Scores are the log-probabilities of a text under the model.
type Scores struct {
	Tokens     []int32
	LogProbs   []float64 // of each token given those before it; NaN for the first
	NLL        float64   // sum of the negated log-probabilities
	Perplexity float64   // exp(NLL / tokens that have one)
	Stats      kv.Stats
}

// Score runs a text through the model and returns the natural logarithm of the
// probability of every token but the first.
func (e *Engine) Score(ctx context.Context, ids []int32, progress func(done, total int)) (*Scores, error) {
	return e.ScoreDecoded(ctx, ids, len(ids), progress)
}

// ScoreDecoded is Score, and tokens from position from on go one at a time, as those do that
// are generated: on a device that decodes by itself these are its own steps.
func (e *Engine) ScoreDecoded(ctx context.Context, ids []int32, from int, progress func(done, total int)) (*Scores, error) {
	if len(ids) < 2 {
		return nil, fmt.Errorf("%w: a text of %d tokens has nothing to score: at least 2 are needed", ErrOptions, len(ids))
	}
	if err := e.checkLength(len(ids), 0); err != nil {
		return nil, err
	}
	if err := e.checkIDs(ids); err != nil {
		return nil, err
	}
	prompt := ids[:max(0, min(from, len(ids)))]
	st, err := e.stream(kv.SequenceOptions{Tokens: len(ids), NoShare: true}, prompt)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	out := &Scores{Tokens: ids, LogProbs: make([]float64, len(ids))}
	out.LogProbs[0] = math.NaN()
	each := func(from, to int) error {
		if progress != nil {
			progress(to, len(ids))
		}
		end := to
		if to == len(ids) && e.set.OnLogits == nil {
			end-- // nothing follows the last token
		}
		return e.logits(0, end-from, func(row int, logits []float32) error {
			e.onLogits(from+row, logits)
			if next := from + row + 1; next < len(ids) {
				out.LogProbs[next] = compute.LogProb(logits, ids[next])
				out.NLL -= out.LogProbs[next]
			}
			return nil
		})
	}
	err = st.feed(ctx, prompt, 0, each)
	for at := len(prompt); at < len(ids) && err == nil; at++ {
		if err = st.step(ctx, Part{IDs: ids[at : at+1], Want: 1}); err == nil {
			err = each(at, at+1)
		}
	}
	if err != nil {
		return nil, err
	}
	out.Perplexity = math.Exp(out.NLL / float64(len(ids)-1))
	out.Stats = st.Stats()
	return out, nil
}
