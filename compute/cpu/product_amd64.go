//go:build !noasm

package cpu

import "nosa/compute"

var attendAVX2 = attendKernels{
	product: productAVX2, productRows: 3,
	direct:     [kvTypes]func(*product, int){compute.KVBF16: productBF16AVX2, compute.KVF16: productF16AVX2},
	directRows: 3, directCols: 32,
	codeRows: codeRowsAVX2,
	coded:    [kvTypes]func(*product, *[codedRows]codedRow, int){compute.KVQ8: codedQ8AVX2, compute.KVQ4: codedQ4AVX2},
	softmax:  softmaxAVX2Rows, softmaxGrad: softmaxGrad, rowCodes: rowCodes,
}

var attendAVX512 = attendKernels{
	product: productAVX512, productRows: 6,
	direct:     [kvTypes]func(*product, int){compute.KVBF16: productBF16AVX512, compute.KVF16: productF16AVX512},
	directRows: 4, directCols: 64,
	codeRows: codeRowsAVX512,
	coded:    [kvTypes]func(*product, *[codedRows]codedRow, int){compute.KVQ8: codedQ8AVX512, compute.KVQ4: codedQ4AVX512},
	softmax:  softmaxAVX512, softmaxGrad: softmaxGrad512, rowCodes: rowCodes,
}

func productAVX2(p *product, m int) {
	switch m {
	case 1:
		productF32x1AVX2(p)
	case 2:
		productF32x2AVX2(p)
	case 3:
		productF32x3AVX2(p)
	}
}

func productBF16AVX2(p *product, m int) {
	switch m {
	case 1:
		productBF16x1AVX2(p)
	case 2:
		productBF16x2AVX2(p)
	case 3:
		productBF16x3AVX2(p)
	}
}

func productF16AVX2(p *product, m int) {
	switch m {
	case 1:
		productF16x1AVX2(p)
	case 2:
		productF16x2AVX2(p)
	case 3:
		productF16x3AVX2(p)
	}
}

func productAVX512(p *product, m int) {
	switch m {
	case 1:
		productF32x1AVX512(p)
	case 2:
		productF32x2AVX512(p)
	case 3:
		productF32x3AVX512(p)
	case 4:
		productF32x4AVX512(p)
	case 5:
		productF32x5AVX512(p)
	case 6:
		productF32x6AVX512(p)
	}
}

func productBF16AVX512(p *product, m int) {
	switch m {
	case 1:
		productBF16x1AVX512(p)
	case 2:
		productBF16x2AVX512(p)
	case 3:
		productBF16x3AVX512(p)
	case 4:
		productBF16x4AVX512(p)
	}
}

func productF16AVX512(p *product, m int) {
	switch m {
	case 1:
		productF16x1AVX512(p)
	case 2:
		productF16x2AVX512(p)
	case 3:
		productF16x3AVX512(p)
	case 4:
		productF16x4AVX512(p)
	}
}

//go:noescape
func productF32x1AVX2(p *product)

//go:noescape
func productF32x2AVX2(p *product)

//go:noescape
func productF32x3AVX2(p *product)

//go:noescape
func productBF16x1AVX2(p *product)

//go:noescape
func productBF16x2AVX2(p *product)

//go:noescape
func productBF16x3AVX2(p *product)

//go:noescape
func productF16x1AVX2(p *product)

//go:noescape
func productF16x2AVX2(p *product)

//go:noescape
func productF16x3AVX2(p *product)

//go:noescape
func productF32x1AVX512(p *product)

//go:noescape
func productF32x2AVX512(p *product)

//go:noescape
func productF32x3AVX512(p *product)

//go:noescape
func productF32x4AVX512(p *product)

//go:noescape
func productF32x5AVX512(p *product)

//go:noescape
func productF32x6AVX512(p *product)

//go:noescape
func productBF16x1AVX512(p *product)

//go:noescape
func productBF16x2AVX512(p *product)

//go:noescape
func productBF16x3AVX512(p *product)

//go:noescape
func productBF16x4AVX512(p *product)

//go:noescape
func productF16x1AVX512(p *product)

//go:noescape
func productF16x2AVX512(p *product)

//go:noescape
func productF16x3AVX512(p *product)

//go:noescape
func productF16x4AVX512(p *product)
