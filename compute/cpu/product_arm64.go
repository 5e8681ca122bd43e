//go:build !noasm

package cpu

import "nosa/compute"

// Codes of 8 and 4 bits are expanded first: turning them into float32 takes as many
// instructions as multiplying them by four rows.
var attendNEON = attendKernels{
	product: productNEON, productRows: 4,
	direct:     [kvTypes]func(*product, int){compute.KVBF16: productBF16NEON, compute.KVF16: productF16NEON},
	directRows: 4, directCols: 16,
	softmax: softmaxNEON, softmaxGrad: softmaxGrad, rowCodes: rowCodes,
}

func productNEON(p *product, m int) {
	switch m {
	case 1:
		productF32x1NEON(p)
	case 2:
		productF32x2NEON(p)
	case 3:
		productF32x3NEON(p)
	case 4:
		productF32x4NEON(p)
	}
}

func productBF16NEON(p *product, m int) {
	switch m {
	case 1:
		productBF16x1NEON(p)
	case 2:
		productBF16x2NEON(p)
	case 3:
		productBF16x3NEON(p)
	case 4:
		productBF16x4NEON(p)
	}
}

func productF16NEON(p *product, m int) {
	switch m {
	case 1:
		productF16x1NEON(p)
	case 2:
		productF16x2NEON(p)
	case 3:
		productF16x3NEON(p)
	case 4:
		productF16x4NEON(p)
	}
}

//go:noescape
func productF32x1NEON(p *product)

//go:noescape
func productF32x2NEON(p *product)

//go:noescape
func productF32x3NEON(p *product)

//go:noescape
func productF32x4NEON(p *product)

//go:noescape
func productBF16x1NEON(p *product)

//go:noescape
func productBF16x2NEON(p *product)

//go:noescape
func productBF16x3NEON(p *product)

//go:noescape
func productBF16x4NEON(p *product)

//go:noescape
func productF16x1NEON(p *product)

//go:noescape
func productF16x2NEON(p *product)

//go:noescape
func productF16x3NEON(p *product)

//go:noescape
func productF16x4NEON(p *product)
