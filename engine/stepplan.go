package engine

import (
	"errors"

	"nosa/compute"
	"nosa/model"
)

// steps is what a plan must know of a device that decodes by itself; nil: it does not.
type steps struct {
	dev     compute.Stepper
	decoder compute.Decoder
}

// mostStepRows is the most rows of such a step: more than that make it slower by as much.
const mostStepRows = 256

// newSteps describes the model to a device that decodes by itself. Who wants to be told of
// every selection, or be given queries and keys, gets none, since the device does not tell; nor does
// a policy, which changes blocks that such a step would have to be told of.
func newSteps(dev compute.Device, src *Source, c *model.Config, s *settings) (*steps, error) {
	st, ok := dev.(compute.Stepper)
	if !ok || s.OnSelect != nil || s.OnAttend != nil || s.policy != nil {
		return nil, nil
	}
	d, err := model.Describe(src.Checkpoint, c, s.Context, s.method.Keeps().Scores)
	return &steps{st, d}, err
}

// plan divides the slots between the store and the device's own steps, and adds what those
// take.
//
// Where every block has a slot and none lies below, there is nothing to divide. Otherwise
// the store's part is for prompts, and for sequences that have no room to sit: as much as a
// tile of a prompt can select in a layer, but a quarter of all at most. The rest is the
// steps', whose rows are as many as find room for all that they can select in a layer. Where
// that is not one, there are no steps.
func (st *steps) plan(p *Plan, s *settings, below bool) error {
	if st == nil {
		return nil
	}
	params := s.method.Params(s.constants)
	o := compute.StepOptions{
		Rows: min(s.Seats, mostStepRows), Seats: s.Seats, Context: s.Context, Columns: p.Blocks / (len(st.decoder.Layers) * s.layout.Heads),
		Select: params, Resident: !below,
	}
	own := p.Slots
	if below {
		tile := s.layout.Heads * ((s.Context + s.layout.Block - 1) / s.layout.Block)
		own = max(1, min(tile, p.Slots/4))
		o.Rows = min(o.Rows, (p.Slots-own)/compute.StepSlots(s.layout, params, s.Context, 1))
		o.FirstSlot = own
	}
	if o.Rows < 1 {
		return nil
	}
	n, err := st.dev.StepBytes(st.decoder, s.layout, o)
	switch {
	case errors.Is(err, compute.ErrStep):
		return nil
	case err != nil:
		return err
	}
	p.StepRows, p.Seats = o.Rows, o.Seats
	p.StepSlots, p.Slots = p.Slots-own, own
	p.Step += n
	return nil
}
