package compute

import (
	"encoding/binary"
	"math"

	"nosa/dtype"
)

// The summary of a block: the mean key of each of its segments, as ScoreBlocks
// reads it. It is stored as [Dim/4, Segments, 4]: the first four channels of each
// segment in turn, then the next four; channels beyond Dim, up to a multiple of
// four, are zero. So the four segments of a published block are sixteen lanes of a
// vector that meet the same four channels of a query, and nothing is gathered.

// meanLanes is the number of neighbouring channels of a mean.
const meanLanes = 4

// SummaryType is the format of the means: float16, half the bytes of what each
// query reads of the whole context, and finer than the bfloat16 in which the
// published implementations pool keys; float32 in a cache of float32, which is
// there for comparison. Beyond ±65504 a float16 mean is held there.
func (l Layout) SummaryType() dtype.Type {
	if l.Type == KVF32 {
		return dtype.F32
	}
	return dtype.F16
}

// SummarySteps is the number of runs of four channels in a summary.
func (l Layout) SummarySteps() int { return (l.Dim + meanLanes - 1) / meanLanes }

// SummaryBytes is the size of the means of a block.
func (l Layout) SummaryBytes() int {
	n, err := l.SummaryType().Size(l.SummarySteps() * meanLanes * l.Segments())
	if err != nil {
		panic("compute: " + err.Error())
	}
	return n
}

// summaryAt is the place of a channel of a segment's mean, in elements.
func (l Layout) summaryAt(segment, channel int) int {
	return (channel/meanLanes*l.Segments()+segment)*meanLanes + channel%meanLanes
}

// PutMean sets channel d of a segment's mean in a block's summary.
func (l Layout) PutMean(summary []byte, segment, channel int, mean float32) {
	at := l.summaryAt(segment, channel)
	if l.SummaryType() == dtype.F32 {
		binary.LittleEndian.PutUint32(summary[4*at:], math.Float32bits(mean))
		return
	}
	const most = 65504
	binary.LittleEndian.PutUint16(summary[2*at:], dtype.F32ToF16(max(-most, min(most, mean))))
}

// Mean reads a segment's mean [Dim] from a block's summary.
func (l Layout) Mean(mean []float32, summary []byte, segment int) {
	wide := l.SummaryType() == dtype.F32
	for d := range mean[:l.Dim] {
		at := l.summaryAt(segment, d)
		if wide {
			mean[d] = math.Float32frombits(binary.LittleEndian.Uint32(summary[4*at:]))
		} else {
			mean[d] = dtype.F16ToF32(binary.LittleEndian.Uint16(summary[2*at:]))
		}
	}
}

// Summary is the means of the block with the given id, on a device whose memory
// the host reaches.
func (c *Cache) Summary(id int32) []byte {
	size := c.SummaryBytes()
	return c.Segments.Data[int(id)*size:][:size:size]
}
