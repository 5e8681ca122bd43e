package train

import (
	"fmt"
	"runtime"

	"nosa/compute"
)

// Single is a new model that learns on one device from rows that it is handed. Its steps are those
// of a Run, which has data, a log and checkpoints beside them; it is for those who measure steps.
type Single struct {
	*replica
	config *Config
	step   int // steps done
}

// NewSingle draws the weights of the config's first stage, as a Run with the same config does.
func NewSingle(dev compute.Trainer, c *Config) (*Single, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	_, shape, err := c.Shape(nil, 0)
	if err != nil {
		return nil, err
	}
	s := &Single{config: c}
	if s.replica, err = newReplica(dev, shape, shape.Tied, false, c); err == nil {
		err = s.draw(shape.Layers)
	}
	if err == nil {
		err = s.decoder.SetStage(c.Stages[0].Method, shape, c.Stages[0].Context)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// draw gives every tensor its first values. Each has numbers of its own, so that several are drawn
// at a time; they reach the device in their order.
func (s *Single) draw(layers int) error {
	drawn := make([]chan []float32, len(s.params.list))
	for i := range drawn {
		drawn[i] = make(chan []float32, 1)
	}
	ahead := make(chan struct{}, runtime.GOMAXPROCS(0)) // tensors in the host's memory
	go func() {
		for i, x := range s.params.list {
			ahead <- struct{}{}
			go func() { drawn[i] <- s.config.Model.initial(x, layers, s.config.Seed) }()
		}
	}()
	var err error
	for i, x := range s.params.list {
		v := <-drawn[i]
		if err == nil {
			err = s.params.Write(x.Name, v)
		}
		<-ahead
	}
	s.params.Refresh()
	if err == nil {
		err = s.dev.Sync()
	}
	if err != nil {
		return fmt.Errorf("train: the first weights: %w", err)
	}
	return nil
}

// Step moves the weights by what the passes teach, at the highest rate of the config, and returns
// the mean loss of their targets before.
func (s *Single) Step(passes []Rows) (loss float64, err error) {
	s.params.zeroGrads()
	targets := 0
	for _, rows := range passes {
		losses, err := s.decoder.Pass(rows)
		if err != nil {
			return 0, err
		}
		for i, l := range losses {
			if rows.Targets[i] >= 0 {
				loss += float64(l)
				targets++
			}
		}
	}
	n := float64(max(targets, 1))
	loss /= n
	norm := s.params.norm() / n
	if !finite(loss) || !finite(norm) {
		return loss, fmt.Errorf("train: step %d: %w: loss %v, norm of gradients %v", s.step+1, ErrDiverged, loss, norm)
	}
	o := &s.config.Optimiser
	s.params.update(o, o.Rate, o.factor(n, norm), s.step+1)
	if err := s.dev.Sync(); err != nil {
		return loss, fmt.Errorf("train: step %d: %w", s.step+1, err)
	}
	s.step++
	return loss, nil
}

// Parameters are those of the model, as the last step left them.
func (s *Single) Parameters() *Parameters { return s.params }

// Close gives the memory back.
func (s *Single) Close() { s.close() }
