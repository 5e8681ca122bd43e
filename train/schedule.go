package train

import "math"

// The schedules of the learning rate.
const (
	scheduleCosine   = "cosine"
	scheduleWSD      = "wsd" // warm-up, stable, decay (Hu et al., 2024)
	scheduleConstant = "constant"
)

var schedules = []string{scheduleCosine, scheduleWSD, scheduleConstant}

// RateAt is the learning rate of a step, counted from 0, of a run of total steps. The warm-up
// rises in a straight line, of which step 0 is the first stair; the last step of a descent is the
// last stair above the floor.
func (o *OptimiserConfig) RateAt(step, total int) float64 {
	if step < o.Warmup {
		return o.Rate * float64(step+1) / float64(o.Warmup)
	}
	switch o.Schedule {
	case scheduleCosine:
		along := float64(step-o.Warmup) / float64(max(total-o.Warmup, 1))
		return o.Rate * (o.Floor + (1-o.Floor)*(1+math.Cos(math.Pi*along))/2)
	case scheduleWSD:
		if into := step - (total - o.Decay); into >= 0 {
			along := float64(into+1) / float64(o.Decay+1)
			return o.Rate * (1 - (1-o.Floor)*along)
		}
	}
	return o.Rate
}
