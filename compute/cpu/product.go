package cpu

import (
	"unsafe"

	"nosa/compute"
)

// attendKernels are what Attend is made of.
type attendKernels struct {
	// product runs a product of up to productRows rows over a matrix of float32.
	product     func(p *product, m int)
	productRows int

	// direct are products of up to directRows rows over a matrix in a cache's format,
	// to the bit as if it had been expanded, in whole steps of directCols columns and
	// an even number of rows of the matrix; nil where expanding first is as good.
	direct     [kvTypes]func(p *product, m int)
	directRows int
	directCols int

	// codeRows and coded multiply by blocks of codes (coded.go); nil where they are
	// multiplied as float32.
	codeRows func(p *product, rows *[codedRows]codedRow, m int)
	coded    [kvTypes]func(p *product, rows *[codedRows]codedRow, m int)

	// softmax continues the softmax of up to softRowsMost rows.
	softmax func(s *softRows, m int)

	// softmaxGrad sets g to p·(g − mean), as far as p goes.
	softmaxGrad func(g, p []float32, mean float32)

	// rowCodes turns rows of codes of 8 or 4 bits to float32, with a pair of minimum
	// and scale for each.
	rowCodes func(bits int, dst []float32, codes []byte, pairs []float32)
}

const kvTypes = compute.KVQ4 + 1

var attendGo = attendKernels{
	product: productGo, productRows: productMost,
	codeRows: codeRowsGo,
	coded: [kvTypes]func(*product, *[codedRows]codedRow, int){
		compute.KVQ8: func(p *product, rows *[codedRows]codedRow, m int) { codedGo(8, p, rows, m) },
		compute.KVQ4: func(p *product, rows *[codedRows]codedRow, m int) { codedGo(4, p, rows, m) },
	},
	softmax: softmaxGo, softmaxGrad: softmaxGradGo, rowCodes: rowCodesGo,
}

// productMost is the rows of the tallest product.
const productMost = 6

// product is c = c·decay + a·b for a few rows: queries times keys, and weights
// times values. Each sum runs over the rows of b in their order, so that the bits
// of a row depend on nothing beside it. The assembly reads the fields by their
// names.
type product struct {
	a, c  [productMost]*float32 // by row: [depth] and [cols]
	b     unsafe.Pointer        // [depth, cols]
	pairs unsafe.Pointer        // of quantised rows of b: minimum and scale
	ahead unsafe.Pointer        // what is read next as b: asked for meanwhile by direct products
	depth int
	cols  int
	// stride is the bytes from a row of b to the next.
	stride int
	fresh  int // 1: what is in c does not count
	decay  [productMost + 2]float32
}

// productGo is the twin of the assembly, over float32.
func productGo(p *product, m int) {
	for i := range m {
		c := unsafe.Slice(p.c[i], p.cols)
		if p.fresh != 0 {
			clear(c)
		} else {
			for j := range c {
				c[j] *= p.decay[i]
			}
		}
		for k, x := range unsafe.Slice(p.a[i], p.depth) {
			row := unsafe.Add(p.b, k*p.stride)
			for j, y := range unsafe.Slice((*float32)(row), p.cols) {
				c[j] += float32(x * y)
			}
		}
	}
}
