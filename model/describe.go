package model

import (
	"nosa/compute"
	"nosa/dtype"
	"nosa/weights"
)

// Describe is the Decoder of the model that Load would make, with shapes and formats and
// no memory: for plans.
func Describe(ck *weights.Checkpoint, c *Config, context int, scored bool) (compute.Decoder, error) {
	m, err := Load(describer{}, ck, c, context, scored)
	if err != nil {
		return compute.Decoder{}, err
	}
	return m.Decoder(), nil
}

// describer is a device that keeps nothing.
type describer struct{ compute.Reference }

func (describer) Alloc(t dtype.Type, shape ...int) (compute.Tensor, error) {
	return compute.Describe(t, shape...), nil
}

func (describer) Load(t dtype.Type, _ []byte, shape ...int) (compute.Tensor, error) {
	return compute.Describe(t, shape...), nil
}

func (describer) Upload(compute.Tensor, []byte) {}
func (describer) Free(compute.Tensor)           {}
