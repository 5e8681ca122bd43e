package compute

import (
	"math"
	"slices"
)

// The steps of deep: so many, of so many to a unit of a weight's logarithm. Beyond the last
// one is nothing that a draw falls on.
const (
	deepSteps = 4096
	deepUnit  = 64
)

// deepParts is in how many parts a row is looked at side by side.
const deepParts = 8

// deepPart is what a part of a row has come to.
type deepPart struct {
	steps []float64 // weights, by how far they are below the largest
	keys  []uint64  // of one step
}

// Side calls f for 0 to n−1, in any order or side by side.
type Side func(n int, f func(i int))

// stepOf is a step that does not fall as v does, for v up to top.
func stepOf(v, top float32, scale float64) int {
	x := float64(top-v) * scale * deepUnit
	if !(x < deepSteps-1) {
		return deepSteps - 1
	}
	return int(x)
}

// deep draws where many candidates would have to be sorted: it adds their weights up by
// steps, and sorts those alone that share one with the border it looks for. The first
// candidate is there.
func (d *Sampler) deep(logits []float32, s Sampling, u, sum float64, side Side) (int32, verdict) {
	top := valueOf(d.keys[0])
	scale, slack := 1/float64(s.Temperature), sumError*sum
	n := 1
	if side != nil {
		n = deepParts
	}
	for len(d.parts) < n {
		d.parts = append(d.parts, deepPart{steps: make([]float64, deepSteps)})
	}
	if n == 1 {
		d.parts[0].weigh(logits, top, scale)
	} else {
		side(n, func(i int) { d.parts[i].weigh(part(logits, i), top, scale) })
		for _, p := range d.parts[1:] {
			for i, w := range p.steps {
				d.parts[0].steps[i] += w
			}
		}
	}
	if s.nucleus() {
		var v verdict
		if _, sum, v = d.reach(logits, s, float64(s.TopP)*sum, slack, side); v != drawn {
			return 0, v
		}
	}
	id, _, v := d.reach(logits, s, u*sum, slack, side)
	return id, v
}

// part is the i-th of a row's.
func part(logits []float32, i int) []float32 {
	return logits[len(logits)*i/deepParts : len(logits)*(i+1)/deepParts]
}

func (p *deepPart) weigh(logits []float32, top float32, scale float64) {
	clear(p.steps)
	for _, v := range logits {
		if v == v {
			p.steps[stepOf(v, top, scale)] += expNeg(float64(v-top) * scale)
		}
	}
}

// gather keeps what is of a step, floor being below it. first is the id of the first logit.
func (p *deepPart) gather(logits []float32, first int, top, floor float32, scale float64, step int) {
	p.keys = p.keys[:0]
	for i, v := range logits {
		if v >= floor && stepOf(v, top, scale) == step {
			p.keys = append(p.keys, key(v, first+i))
		}
	}
}

// reach finds the first logit with which those up to it weigh more than target, and what
// they weigh.
func (d *Sampler) reach(logits []float32, s Sampling, target, slack float64, side Side) (id int32, sum float64, v verdict) {
	top, temperature, step := valueOf(d.keys[0]), float64(s.Temperature), 0
	for steps := d.parts[0].steps; step < deepSteps-1 && sum+steps[step] <= target; step++ {
		sum += steps[step]
	}
	if math.Abs(sum-target) < slack {
		return 0, 0, unclear
	}
	least := float64(step+1) / deepUnit * temperature
	least += 1e-6 * (math.Abs(float64(top)) + least) // what rounding may do
	floor, scale := float32(float64(top)-least), 1/temperature
	d.keys = d.keys[:1]
	if side == nil {
		d.parts[0].gather(logits, 0, top, floor, scale, step)
		d.keys = append(d.keys, d.parts[0].keys...)
	} else {
		side(deepParts, func(i int) {
			d.parts[i].gather(part(logits, i), len(logits)*i/deepParts, top, floor, scale, step)
		})
		for _, p := range d.parts {
			d.keys = append(d.keys, p.keys...)
		}
	}
	slices.Sort(d.keys[1:])
	for _, k := range d.keys[1:] {
		sum += math.Exp(float64(valueOf(k)-top) / temperature)
		if math.Abs(sum-target) < slack {
			break
		}
		if sum > target {
			return int32(uint32(k)), sum, drawn
		}
	}
	return 0, 0, unclear
}
