package compute

import (
	"math"
	"slices"
)

// Sampler draws what Sample defines, in time that hardly grows with the
// vocabulary: it sorts those alone that the draw can fall on. It allocates nothing
// from its second draw on, but for distributions far flatter than any before. The
// zero value works; it belongs to one goroutine.
//
// The weight of the whole vocabulary is summed to one part in 10¹¹. A draw that comes
// so near to a border that this could tell is left to Sample, which happens by chance
// once in 10⁹, and with equal logits when TopP falls between two of them.
type Sampler struct {
	keys    []uint64  // of the candidates: see key
	weights []float64 // of the first of them, as far as cuts looked at them
	parts   []deepPart
}

// Candidates that are gathered first and second, as the least part of the whole
// weight that each must have: there cannot be more than one over it. Then all that MinP
// leaves; without it deep looks for the draw.
var leastParts = [...]float64{1. / 1024, 1. / 16384, 0}

// sumError bounds the error of the summed weight, as a part of it, with a margin of
// 100: what Sample adds up in its order is off by some 10⁻¹¹ itself.
const sumError = 1e-9

// A verdict says what a walk over the candidates came to.
type verdict int

const (
	drawn   verdict = iota
	beyond          // the draw falls on an id that is not among the candidates
	unclear         // it falls too near to a border for the sum that is known
)

// Sample draws one id: see the function of the same name.
func (d *Sampler) Sample(logits []float32, s Sampling, pos int) int32 {
	best := argmax(logits)
	top := logits[best]
	switch {
	case !(s.Temperature > 0):
		return int32(best)
	case top-top != 0: // infinite, or no number: masked, or damaged
		return Sample(logits, s, pos)
	}
	if cap(d.keys) == 0 {
		d.keys = make([]uint64, 0, int(1/leastParts[0]))
	}
	u, temperature := uniform(s.Seed, uint64(pos)), float64(s.Temperature)
	if s.TopK > 0 && s.TopK < len(logits) {
		d.best(logits, s.TopK)
		slices.Sort(d.keys)
		id, _ := d.draw(s, u, d.sum(temperature), 0, true)
		return id
	}
	floor, sum := math.Inf(-1), 0.0 // logarithm of the least weight that MinP keeps
	if s.MinP > 0 {
		floor = math.Log(float64(s.MinP))
	}
	if s.nucleus() || !s.cuts() {
		if sum = sumExp(logits, top, 1/temperature); sum != sum {
			sum = sumNumbers(logits, top, 1/temperature)
		}
	}
	for i, part := range leastParts {
		least := min(0, math.Log(part*sum)) // without a sum: all
		whole := least <= floor
		d.gather(logits, top, (max(least, floor)-1e-9)*temperature) // a little more than what has the weight
		slices.Sort(d.keys)
		switch id, v := d.draw(s, u, sum, sumError*sum, whole); v {
		case drawn:
			return id
		case unclear:
			return Sample(logits, s, pos)
		}
		if i == 1 && s.MinP == 0 {
			if id, v := d.deep(logits, s, u, sum, nil); v == drawn {
				return id
			}
			return Sample(logits, s, pos)
		}
	}
	return int32(best) // not reached: the last part is the whole
}

// Best appends the ids of the n largest logits to ids, in their order, ties by the
// lower id. Those that are not numbers are left out.
func (d *Sampler) Best(ids []int32, logits []float32, n int) []int32 {
	if n = min(n, len(logits)); n <= 0 {
		return ids
	}
	d.best(logits, n)
	slices.Sort(d.keys)
	for _, k := range d.keys {
		ids = append(ids, int32(uint32(k)))
	}
	return ids
}

// draw walks the candidates, sorted, as Sample does. slack is how far sum may be
// off; 0: it is Sample's own. whole says that the candidates are all that may be
// drawn.
func (d *Sampler) draw(s Sampling, u, sum, slack float64, whole bool) (int32, verdict) {
	keys, temperature := d.keys, float64(s.Temperature)
	top := valueOf(keys[0])
	weights := d.weights[:0]
	if s.cuts() {
		var have float64
		end := -1
		for i, k := range keys {
			w := math.Exp(float64(valueOf(k)-top) / temperature)
			if w < float64(s.MinP) {
				end = i
				break
			}
			have += w
			weights = append(weights, w)
			if !s.nucleus() {
				continue
			}
			over := have - float64(s.TopP)*sum
			if math.Abs(over) < slack {
				return 0, unclear
			}
			if over >= 0 {
				end = i + 1
				break
			}
		}
		d.weights = weights
		if end < 0 && !whole {
			return 0, beyond
		}
		if end >= 0 {
			keys = keys[:end]
		}
		sum, slack, whole = have, 0, true // added up as Sample does
	}
	at := u * sum
	last := keys[0]
	for i, k := range keys {
		var w float64
		if i < len(weights) {
			w = weights[i]
		} else {
			w = math.Exp(float64(valueOf(k)-top) / temperature)
		}
		if w == 0 {
			break // and so are all that follow
		}
		last = k
		at -= w
		if math.Abs(at) < slack {
			return 0, unclear
		}
		if at < 0 {
			return int32(uint32(k)), drawn
		}
	}
	if !whole {
		return 0, beyond
	}
	return int32(uint32(last)), drawn
}

// key orders candidates: ascending keys are descending logits, ties by id, which
// is the lower half.
func key(v float32, id int) uint64 {
	b := math.Float32bits(v + 0) // −0 is 0
	if b>>31 != 0 {
		b = ^b
	} else {
		b |= 1 << 31
	}
	return uint64(^b)<<32 | uint64(uint32(id))
}

// valueOf is the logit that a key was made of, −0 being 0.
func valueOf(key uint64) float32 {
	b := ^uint32(key >> 32)
	if b>>31 != 0 {
		return math.Float32frombits(b &^ (1 << 31))
	}
	return math.Float32frombits(^b)
}

// gather keeps the logits that are at least top + least, and those that rounding
// may put there.
func (d *Sampler) gather(logits []float32, top float32, least float64) {
	d.keys = d.keys[:0]
	least -= 1e-6 * (math.Abs(float64(top)) + math.Abs(least))
	cut := float32(float64(top) + least)
	for i, v := range logits {
		if v >= cut {
			d.keys = append(d.keys, key(v, i))
		}
	}
}

// best keeps the n best logits: a heap whose root is the worst of them.
func (d *Sampler) best(logits []float32, n int) {
	h := d.keys[:0]
	i := 0
	for ; i < len(logits) && len(h) < n; i++ {
		if v := logits[i]; v == v {
			h = append(h, key(v, i))
		}
	}
	d.keys = h
	if len(h) < n {
		return
	}
	for j := n/2 - 1; j >= 0; j-- {
		sink(h, j)
	}
	worst := logits[uint32(h[0])]
	for ; i < len(logits); i++ {
		if v := logits[i]; v > worst {
			h[0] = key(v, i)
			sink(h, 0)
			worst = logits[uint32(h[0])]
		}
	}
}

// sink moves element i of a heap down to its place.
func sink(h []uint64, i int) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h[c+1] > h[c] {
			c++
		}
		if h[c] <= h[i] {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}

// argmax is the index of the largest logit, the first of several; 0 if none is a
// number.
func argmax(logits []float32) int {
	best, top := -1, float32(math.Inf(-1))
	for i, v := range logits {
		if v > top {
			best, top = i, v
		}
	}
	if best >= 0 {
		return best
	}
	for i, v := range logits { // −∞ at most
		if v == v {
			return i
		}
	}
	return 0
}
