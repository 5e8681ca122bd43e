package compute

import (
	"math"
	"slices"
)

// MostPeak is the most logits that an Ask can be for.
const MostPeak = 1024

// Ask is what a draw wants to know of a row of logits in place of the row.
type Ask struct {
	Most        int32   // so many of the largest ones, MostPeak at most; 0: nothing is asked
	Temperature float32 // by which all are weighed; 0: their weight is not asked for
}

// Peak is what a row of logits says to an Ask.
//
// A device may give fewer of the largest than were asked for, and where the largest is
// infinite or no number it gives none: they are the first of the row's order in any case.
type Peak struct {
	// Keys ascend: they are the largest logits in the order of Sample. The upper half of one is
	// the complement of a number of the same order as the logit, both zeros one; the lower half
	// is the id.
	Keys []uint64
	// Weight is the sum of exp((v−top)/temperature) over all v that are numbers, top being the
	// largest and v−top rounded to float32, to one part in 10¹¹.
	Weight float64
}

// PeakOf is the definition.
func PeakOf(logits []float32, a Ask) (p Peak) {
	top := logits[argmax(logits)]
	if a.Most == 0 || top-top != 0 {
		return p
	}
	var d Sampler
	d.best(logits, min(int(a.Most), MostPeak, len(logits)))
	slices.Sort(d.keys)
	p.Keys = d.keys
	if a.Temperature > 0 {
		p.Weight = sumNumbers(logits, top, 1/float64(a.Temperature))
	}
	return p
}

// Ask is what a draw by the settings wants to know of a row of so many logits.
func (s Sampling) Ask(vocab int) Ask {
	switch {
	case !(s.Temperature > 0):
		return Ask{Most: 1}
	case s.TopK > 0 && s.TopK < vocab:
		if s.TopK > MostPeak {
			return Ask{}
		}
		return Ask{Most: int32(s.TopK)}
	case s.nucleus() || !s.cuts():
		return Ask{Most: MostPeak, Temperature: s.Temperature}
	}
	return Ask{Most: MostPeak}
}

// SamplePeak draws from what a row of so many logits has said to the settings' Ask. It
// reports false where only the row itself can tell what Sample would draw.
func (d *Sampler) SamplePeak(p Peak, s Sampling, vocab, pos int) (int32, bool) {
	if len(p.Keys) == 0 {
		return 0, false
	}
	if !(s.Temperature > 0) {
		return int32(uint32(p.Keys[0])), true
	}
	d.keys = append(d.keys[:0], p.Keys...)
	u := uniform(s.Seed, uint64(pos))
	if s.TopK > 0 && s.TopK < vocab {
		if len(p.Keys) < s.TopK {
			return 0, false
		}
		d.keys = d.keys[:s.TopK]
		id, _ := d.draw(s, u, d.sum(float64(s.Temperature)), 0, true)
		return id, true
	}
	id, v := d.draw(s, u, p.Weight, sumError*p.Weight, false)
	return id, v == drawn
}

// SampleBeyond draws from a row, of which p is the peak, where SamplePeak could not, in less
// time than Sample takes: with side, if it is not nil, in parts side by side. It reports false
// where Sample must do it.
func (d *Sampler) SampleBeyond(p Peak, logits []float32, s Sampling, pos int, side Side) (int32, bool) {
	if len(p.Keys) == 0 || !(p.Weight > 0) || s.MinP > 0 {
		return 0, false
	}
	d.keys = append(d.keys[:0], p.Keys[0])
	id, v := d.deep(logits, s, uniform(s.Seed, uint64(pos)), p.Weight, side)
	return id, v == drawn
}

// sum adds the candidates' weights up, in their order.
func (d *Sampler) sum(temperature float64) (sum float64) {
	top := valueOf(d.keys[0])
	for _, k := range d.keys {
		sum += math.Exp(float64(valueOf(k)-top) / temperature)
	}
	return sum
}
