package load

import (
	"math"
	"slices"
)

// Figures say how a set of values is distributed; all are 0 of an empty one.
type Figures struct {
	Count     int
	Mean      float64
	Deviation float64 // of the values themselves, not of a sample: divided by their number
	sorted    []float64
}

// figuresOf sorts the values.
func figuresOf(values []float64) Figures {
	f := Figures{Count: len(values), sorted: values}
	if f.Count == 0 {
		return f
	}
	slices.Sort(values)
	for _, v := range values {
		f.Mean += v
	}
	f.Mean /= float64(f.Count)
	for _, v := range values {
		f.Deviation += (v - f.Mean) * (v - f.Mean)
	}
	f.Deviation = math.Sqrt(f.Deviation / float64(f.Count))
	return f
}

// Percentile is the value below which p percent lie, as numpy.percentile has it by
// default: between two values it goes in a straight line.
func (f Figures) Percentile(p float64) float64 {
	if f.Count == 0 {
		return 0
	}
	at := p / 100 * float64(f.Count-1)
	below := int(at)
	if below >= f.Count-1 {
		return f.sorted[f.Count-1]
	}
	a, b, part := f.sorted[below], f.sorted[below+1], at-float64(below)
	if part >= 0.5 { // from the nearer one, as numpy does
		return b - (b-a)*(1-part)
	}
	return a + (b-a)*part
}

// Median is the 50th percentile.
func (f Figures) Median() float64 { return f.Percentile(50) }
