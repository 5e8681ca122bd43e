package decode

import (
	"context"

	"nosa/compute/cuda/step"
)

// repeats are steps that are not timed before those that ask for nothing new.
const repeats = 2

// copies measures, behind the last step, what its copies cost: steps at one and the same
// position, whose blocks are all there, and the copies of as many blocks a layer alone.
func (b *batch) copies(ctx context.Context, out *Measured) error {
	to, ok := b.step.(step.Copier)
	missed := int64(0)
	for _, n := range out.Missed {
		missed += n
	}
	if each := int64(len(out.Missed) * b.s.Steps); !ok || missed < each {
		return nil // next to none
	}
	if int(b.rows[0].Pos+1)%b.m.Layout.Block == 0 { // it would fill its block again and again
		for i := range b.rows {
			b.rows[i].Pos--
		}
	}
	for n := range repeats + b.s.Steps {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		ms, _, err := b.time()
		if err != nil {
			return err
		}
		if n >= repeats {
			out.Without = append(out.Without, ms)
		}
	}
	var err error
	each := int64(len(out.Missed) * b.s.Steps)
	out.CopyMS, err = to.CopyMS(int((missed + each/2) / each))
	return err
}
