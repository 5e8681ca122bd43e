package step

import "math"

// Roofline is what a decode step of a model cannot do without, for measurements to be held
// against: weights, selected blocks and the means by which they are selected, each read
// once, and over the bus the blocks that no slot holds. Activations, tails and what is
// written are left out: they are a thousandth of it.
type Roofline struct {
	Layers, Heads int // KV heads
	Block, Stride int // tokens of a block and of a segment
	Weights       float64
	BlockBytes    float64 // of one layer and KV head
	SegmentBytes  float64 // likewise: a segment's mean
	K             int     // blocks that are selected; 0: all of them, and no means
}

// StepBytes are the bytes of one step.
type StepBytes struct {
	Weights float64 `json:"weights"`
	Blocks  float64 `json:"blocks"`
	Means   float64 `json:"means"`
	Bus     float64 `json:"bus"` // from the host
}

// Device is what the GPU's memory is read for.
func (b StepBytes) Device() float64 { return b.Weights + b.Blocks + b.Means }

// Seconds is the least time of the step on a machine that reads memory and moves bytes
// over the bus at these rates. Copies run beside everything else, or, in series, when
// nothing does.
func (b StepBytes) Seconds(memory, bus float64, series bool) float64 {
	compute, copies := b.Device()/memory, 0.0
	if b.Bus > 0 {
		copies = b.Bus / bus
	}
	if series {
		return compute + copies
	}
	return max(compute, copies)
}

// Step is what a token for each of these sequences takes, the given share of the selected
// blocks being missed.
func (r Roofline) Step(contexts []int, missed float64) StepBytes {
	b := StepBytes{Weights: r.Weights}
	for _, tokens := range contexts {
		blocks := float64(r.blocks(tokens))
		if r.K > 0 {
			blocks = min(blocks, float64(r.K))
			b.Means += r.means(tokens)
		}
		b.Blocks += blocks * r.column()
		b.Bus += missed * blocks * r.column()
	}
	return b
}

// Sequence is the device memory that a sequence takes with so many slots for each layer
// and KV head, or less where it has fewer blocks.
func (r Roofline) Sequence(tokens, slots int) float64 {
	means := 0.0
	if r.K > 0 {
		means = r.means(tokens)
	}
	return float64(min(slots, r.blocks(tokens)))*r.column() + means
}

// Slots is how many slots for each layer and KV head fit into so much memory, when
// sequences of one length share it.
func (r Roofline) Slots(tokens, sequences int, memory float64) int {
	slots := math.Floor((memory/float64(sequences) - r.means(tokens)) / r.column())
	return int(min(max(slots, 0), float64(r.blocks(tokens))))
}

func (r Roofline) blocks(tokens int) int { return (tokens + r.Block - 1) / r.Block }

// column is the bytes of a block number's blocks of all layers and heads.
func (r Roofline) column() float64 { return r.BlockBytes * float64(r.Layers*r.Heads) }

func (r Roofline) means(tokens int) float64 {
	return float64(tokens/r.Stride) * r.SegmentBytes * float64(r.Layers*r.Heads)
}
