package engine

import (
	"errors"

	"nosa/compute"
	"nosa/model"
)

// packing is what a plan must know of a device that packs weights; nil: it does not, or not
// those of this model.
type packing struct {
	dev     compute.Packer
	decoder compute.Decoder
	packed  int64 // bytes that the checkpoint has of what is packed, or goes to the host
}

// newPacking describes the model to a device that packs weights.
func newPacking(dev compute.Device, src *Source, c *model.Config, s *settings) (*packing, error) {
	d, ok := dev.(compute.Packer)
	if !ok {
		return nil, nil
	}
	p := &packing{dev: d}
	var err error
	if p.decoder, err = model.Describe(src.Checkpoint, c, s.Context, s.method.Keeps().Scores); err != nil {
		return nil, err
	}
	switch _, err := d.PackedBytes(p.decoder, 0); {
	case errors.Is(err, compute.ErrPack):
		return nil, nil
	case err != nil:
		return nil, err
	}
	for _, y := range p.decoder.Layers {
		for _, m := range []compute.Projection{y.Q, y.K, y.V, y.O, y.Gate, y.Up, y.Down} {
			p.packed += int64(m.Weight.Bytes())
		}
	}
	p.packed += int64(p.decoder.Embed.Bytes())
	if !model.Tied(src.Checkpoint, c) {
		p.packed += int64(p.decoder.Head.Bytes())
	}
	return p, nil
}

// bytes is the device memory of weights, which take so many in the checkpoint, and of what
// is packed for steps of so many rows; 0: nothing is.
func (p *packing) bytes(checkpoint int64, rows int) (weights, work int64, err error) {
	if p == nil {
		return checkpoint, 0, nil
	}
	packed, err := p.dev.PackedBytes(p.decoder, 0)
	if err != nil {
		return 0, 0, err
	}
	all, err := p.dev.PackedBytes(p.decoder, rows)
	return checkpoint - p.packed + packed, all - packed, err
}
