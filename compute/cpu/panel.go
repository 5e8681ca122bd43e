package cpu

import "math"

// A product of many rows is made of tiles, whose operands are packed so that a
// tile reads both of them one after the other. What decides the bits is the order
// of summation, and it is that of a row alone (stream.go): elements are taken in
// runs of runLen; of a run, lane l is the sum over the elements ≡ l mod lanes, in
// ascending order by fused multiply-add; the lanes of all runs are added one after
// the other. A row alone keeps its lanes in a vector; a tile has outputs in its
// vectors and takes lane after lane, so that it never adds across a vector.
//
//	rows     [run][group of rows][lane][tile of rows][step][row of the tile]
//	weights  of a strip of outputs and a run: [lane][step][output]
//
// where a step is the next element of a lane. Short runs are filled with zeros to
// whole steps, as a row alone is.

// runLen is the length of a run: a strip's lane stays in the first cache.
const runLen = 2048

// panelKernels are a level's packing and tile. A level without them has lanes 0.
type panelKernels struct {
	lanes  int // of a sum
	vector int // outputs of a vector
	tile   int // rows of a tile
	most   int // vectors of a strip
	least  int // rows from which tiles are faster than reading the weights as they lie

	// weights sets dst[lane·class + step·st + s] to element step·lanes + lane of row
	// s, for vector rows that begin ss apart and for the k elements of a run; what is
	// missing of the last step is 0. rows does so for eight rows in tiles, whose
	// steps lie one after the other, tile after tile.
	weights func(dst, src []float32, ss, k, class, st int)
	rows    func(dst, src []float32, ss, k, class int)

	// panel adds to c, or with add = 0 sets it to, the products of blocks tiles of
	// rows with a strip of vectors·vector outputs, over one lane of so many steps.
	panel func(vectors int, c []float32, ldc int, a, b []float32, steps, blocks, add int)
}

// packGo is the twin of weights for n rows.
func packGo(lanes, n int, dst, src []float32, ss, k, class, st int) {
	for s := range n {
		for e := range (k + lanes - 1) / lanes * lanes {
			var v float32
			if e < k {
				v = src[s*ss+e]
			}
			dst[e%lanes*class+e/lanes*st+s] = v
		}
	}
}

// panelGo is the twin of panel for tiles of so many rows and outputs.
func panelGo(tile, width int, c []float32, ldc int, a, b []float32, steps, blocks, add int) {
	for r := range blocks * tile {
		for i := range width {
			var sum float32
			for s := range steps {
				x, y := a[(r/tile*steps+s)*tile+r%tile], b[s*width+i]
				sum = float32(math.FMA(float64(x), float64(y), float64(sum)))
			}
			if add != 0 {
				sum += c[r*ldc+i]
			}
			c[r*ldc+i] = sum
		}
	}
}
