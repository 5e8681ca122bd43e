//go:build linux && amd64

package step

import (
	"nosa/compute"
	"nosa/compute/cuda"
)

// Device is a GPU that packs weights and runs whole steps.
type Device struct{ *cuda.Device }

var _ interface {
	compute.Packer
	compute.Stepper
} = (*Device)(nil)

// Open is GPU n: see cuda.Open.
func Open(n int) (*Device, error) {
	d, err := cuda.Open(n)
	if err != nil {
		return nil, err
	}
	return &Device{d}, nil
}

// New is the GPU of the options: see cuda.New. Steps do not take attention in float32;
// with compute.NumericsF32 the GPU has its ordinary ops alone.
func New(o cuda.Options) (compute.Device, error) {
	d, err := cuda.New(o)
	if err != nil {
		return nil, err
	}
	if o.Numerics == compute.NumericsF32 {
		return d, nil
	}
	return &Device{d}, nil
}

// Numbers: prompts go through bf16 products where the weights are packed, which the ordinary
// ops of a GPU do not.
func (d *Device) Numbers() string { return d.Device.Numbers() + " packed" }

// NewStep: see compute.Stepper.
func (d *Device) NewStep(m compute.Decoder, c *compute.Cache, o compute.StepOptions) (compute.Step, error) {
	s, err := newStep(d.Device, m, c, o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// StepBytes: see compute.Stepper.
func (d *Device) StepBytes(m compute.Decoder, l compute.Layout, o compute.StepOptions) (int64, error) {
	s := &Step{o: o, d: d.Device, g: newGPU(d.Device), model: m, cache: &compute.Cache{Layout: l}}
	s.measure()
	if err := s.check(); err != nil {
		return 0, err
	}
	bytes := s.poolConfigOf(o.Columns * len(m.Layers) * l.Heads).bytes()
	for _, b := range s.buffers() {
		bytes += int64(b.shape.Bytes())
	}
	return bytes, nil
}
