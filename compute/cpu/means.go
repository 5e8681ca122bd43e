package cpu

import (
	"encoding/binary"
	"math"

	"nosa/dtype"
)

// scoreKernels are what ScoreBlocks and Select are made of.
//
// A product of a query and a segment's mean is summed in one order by every
// kernel: channel d belongs to sum d mod 4, each sum takes its channels ascending
// by fused multiply-add, and the whole is (first + third) + (second + fourth). So
// a row chooses the same blocks alone and in a tile.
type scoreKernels struct {
	// tall is the largest number of queries in a tile of products.
	tall int

	// means16 and means32 set out[j·os + 4b + s] to the product of query j with
	// segment s of the block table[b], for summaries of four segments of steps runs
	// of four channels in base. q is [steps, height, 4]. They may write up to twelve
	// elements more than they say. Ids that follow the table, up to its capacity, are
	// those whose summaries come next: they are asked for ahead.
	means16 func(out []float32, os int, q []float32, height, steps int, base []byte, table []int32)
	means32 func(out []float32, os int, q []float32, height, steps int, base []float32, table []int32)

	// widen copies the summaries of size bytes of float16 that the table names to
	// dst, one after the other.
	widen func(dst []float32, base []byte, size int, table []int32)

	// windows sets win to sums over span neighbours of part, takes their maximum, and
	// leaves e^((window − maximum)·scale) in win, and their sum.
	windows func(win, part []float32, span int, scale float32) (top, sum float32)

	// blend sets sum[i] to Σ e[g·es + i]·factor[g·fs] over the queries g of a group.
	blend func(sum, e []float32, es int, factor []float32, fs, group int)

	// pool sets out[b] to the maximum of win[4b] to win[4b+4].
	pool func(out, win []float32)

	// tops sets top[i] to the greatest of x[i], x[i+lanes], …, −∞ where there is none;
	// what is not a number is passed over.
	tops func(top *[lanes]float32, x []float32)

	// above lists the elements of x that are at least low, ascending, and returns how
	// many there are. It may use 16 places of ids more than x has elements.
	above func(ids []int32, x []float32, low float32) int
}

var scoreGo = scoreKernels{
	tall: 4, means16: means16Go, means32: means32Go, widen: widenGo,
	windows: windowsGo, blend: blendGo, pool: poolGo, tops: topsGo, above: aboveGo,
}

func means16Go(out []float32, os int, q []float32, height, steps int, base []byte, table []int32) {
	size := 16 * steps
	for b, id := range table {
		block := base[2*int(id)*size:][:2*size]
		meansGo(out[4*b:], os, q, height, steps, 4, func(i int) float32 {
			return dtype.F16ToF32(binary.LittleEndian.Uint16(block[2*i:]))
		})
	}
}

func means32Go(out []float32, os int, q []float32, height, steps int, base []float32, table []int32) {
	size := 16 * steps
	for b, id := range table {
		block := base[int(id)*size:][:size]
		meansGo(out[4*b:], os, q, height, steps, 4, func(i int) float32 { return block[i] })
	}
}

// meansGo is the products with one block of any number of segments, whose summary
// has element i at(i).
func meansGo(out []float32, os int, q []float32, height, steps, segs int, at func(i int) float32) {
	for s := range segs {
		for j := range height {
			out[j*os+s] = 0
		}
		var mean [4]float32
		for j := range height {
			var sum [4]float32
			for d := range steps {
				for i := range mean {
					sum[i] += float32(q[(d*height+j)*4+i] * at((d*segs+s)*4+i))
				}
			}
			out[j*os+s] = (sum[0] + sum[2]) + (sum[1] + sum[3])
		}
	}
}

func widenGo(dst []float32, base []byte, size int, table []int32) {
	for i, id := range table {
		dtype.Decode(dtype.F16, dst[i*size/2:(i+1)*size/2], base[int(id)*size:][:size])
	}
}

func windowsGo(win, part []float32, span int, scale float32) (top, sum float32) {
	top = negInf
	for i := range win {
		x := part[i]
		for _, y := range part[i+1 : i+span] {
			x += y
		}
		win[i] = x
		top = max(top, x)
	}
	for i, x := range win {
		win[i] = powerGo(float32(x-top) * float32(scale*log2e))
		sum += win[i]
	}
	return top, sum
}

const log2e = 1.44269502

// powerGo is 2ˣ for x up to 0, within 2 units in the last place; what would not be
// a normal number is 0. With n the nearest whole number, 2ˣ = 2ⁿ·2ᶠ, and a
// polynomial, the best on |f| ≤ ½, gives 2ᶠ.
func powerGo(x float32) float32 {
	if x < -126 {
		return 0
	}
	if x != x {
		return x
	}
	n := float32(math.RoundToEven(float64(x)))
	f := x - n
	y := float32(0.0001534581242594868)
	y = float32(y*f) + 0.0013399930903688073
	y = float32(y*f) + 0.009618489071726799
	y = float32(y*f) + 0.05550328642129898
	y = float32(y*f) + 0.24022646248340607
	y = float32(y*f) + 0.6931471824645996
	y = float32(y*f) + 1
	return math.Float32frombits(math.Float32bits(y) + uint32(int32(n))<<23)
}

func blendGo(sum, e []float32, es int, factor []float32, fs, group int) {
	for i := range sum {
		x := float32(e[i] * factor[0])
		for g := 1; g < group; g++ {
			x += float32(e[g*es+i] * factor[g*fs])
		}
		sum[i] = x
	}
}

func poolGo(out, win []float32) {
	for b := range out {
		w := win[4*b : 4*b+5]
		out[b] = max(w[0], w[1], w[2], w[3], w[4])
	}
}
