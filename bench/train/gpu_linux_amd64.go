package train

import (
	"errors"

	"nosa/compute"
	"nosa/compute/cuda/driver"
	cudatrain "nosa/compute/cuda/train"
)

// peakOf is what a GPU's tensor cores do in bf16 at its highest clock; 0 for what is none.
func peakOf(dev compute.Trainer) float64 {
	if d, ok := dev.(*cudatrain.Device); ok {
		return d.Properties().PeakBF16()
	}
	return 0
}

func clockOf(dev compute.Trainer) clock {
	if d, ok := dev.(*cudatrain.Device); ok {
		return &events{d: d}
	}
	return &hostClock{dev: dev}
}

// events are a GPU's clock: they lie in its stream, so that nothing waits.
type events struct {
	d     *cudatrain.Device
	marks []driver.Event
}

func (c *events) mark() error {
	e, err := c.d.Context().NewEvent(true)
	if err != nil {
		return err
	}
	c.d.Context().Record(e, c.d.Stream())
	c.marks = append(c.marks, e)
	return nil
}

func (c *events) between() ([]float64, error) {
	err := c.d.Sync()
	var all []float64
	for i := 1; i < len(c.marks) && err == nil; i++ {
		var ms float64
		ms, err = c.d.Context().Elapsed(c.marks[i-1], c.marks[i])
		all = append(all, ms)
	}
	for _, e := range c.marks {
		err = errors.Join(err, c.d.Context().FreeEvent(e))
	}
	c.marks = nil
	return all, err
}
