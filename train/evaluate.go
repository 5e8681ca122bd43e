package train

import "fmt"

// evaluate computes the loss on held-out data, where there is some: the same rows each time, cut to
// the stage's context.
func (r *Run) evaluate() error {
	if r.Heldout == nil {
		return nil
	}
	c := r.Config
	if err := r.enter(c.Stage(max(r.step-1, 0))); err != nil {
		return err
	}
	if err := r.Heldout.Restore(r.fresh); err != nil {
		return fmt.Errorf("train: held-out data: %w", err)
	}
	var at positions
	left := c.Evaluation.Tokens
	next := func() (Rows, error) {
		n := min(left, c.Batch.Rows)
		left -= n
		return r.Heldout.Next(n, c.Stages[r.stage].Context)
	}
	if err := r.passes((left+c.Batch.Rows-1)/c.Batch.Rows, next, false, at.add); err != nil {
		return fmt.Errorf("train: evaluation after step %d: %w%s", r.step, err, r.lastWhole())
	}
	loss, parts := at.mean()
	if !finite(loss) {
		return fmt.Errorf("train: evaluation after step %d: %w: loss %v%s", r.step, ErrDiverged, loss, r.lastWhole())
	}
	return r.tell(Record{Step: r.step, Tokens: r.tokens, Method: c.Stages[r.stage].Method, Eval: &loss, ByPosition: parts})
}

// positions adds up losses by where in their document the targets' rows are: the first 64, and
// then twice as far each time.
type positions struct{ parts []PositionLoss }

const firstPositions = 64

func (p *positions) add(r Rows, losses []float32) {
	doc := 0
	for row, l := range losses {
		if row == int(r.Begins[doc+1]) {
			doc++
		}
		if r.Targets[row] < 0 {
			continue
		}
		part, pos := 0, row-int(r.Begins[doc])
		for end := firstPositions; pos >= end; end *= 2 {
			part++
		}
		for len(p.parts) <= part {
			begin := 0
			if n := len(p.parts); n > 0 {
				begin = p.parts[n-1].End
			}
			p.parts = append(p.parts, PositionLoss{Begin: begin, End: max(2*begin, firstPositions)})
		}
		p.parts[part].Loss += float64(l)
		p.parts[part].Count++
	}
}

// mean is the loss of a target, and that of each part.
func (p *positions) mean() (float64, []PositionLoss) {
	var sum float64
	n := 0
	for i := range p.parts {
		q := &p.parts[i]
		sum, n = sum+q.Loss, n+q.Count
		q.Loss /= float64(max(q.Count, 1))
	}
	return sum / float64(max(n, 1)), p.parts
}
