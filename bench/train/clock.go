package train

import (
	"time"

	"nosa/compute"
)

// clock knows when a device comes to a place in its work.
type clock interface {
	mark() error
	// between gives the milliseconds between neighbouring marks, and forgets all.
	between() ([]float64, error)
}

// hostClock lets a device finish before it looks.
type hostClock struct {
	dev   compute.Trainer
	marks []time.Time
}

func (c *hostClock) mark() error {
	err := c.dev.Sync()
	c.marks = append(c.marks, time.Now())
	return err
}

func (c *hostClock) between() ([]float64, error) {
	var ms []float64
	for i := 1; i < len(c.marks); i++ {
		ms = append(ms, milliseconds(c.marks[i].Sub(c.marks[i-1])))
	}
	c.marks = nil
	return ms, nil
}
