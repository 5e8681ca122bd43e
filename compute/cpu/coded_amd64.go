//go:build !noasm

package cpu

import "unsafe"

func codeRows512(p *product, rows *[codedRows]codedRow, m int) {
	switch m {
	case 1:
		codeRowsx1AVX512(p, &rows[0])
	case 2:
		codeRowsx2AVX512(p, &rows[0])
	case 3:
		codeRowsx3AVX512(p, &rows[0])
	}
}

func productCoded512(p *product, rows *[codedRows]codedRow, m int) {
	switch m {
	case 1:
		productCodedx1AVX512(p, &rows[0])
	case 2:
		productCodedx2AVX512(p, &rows[0])
	case 3:
		productCodedx3AVX512(p, &rows[0])
	}
}

//go:noescape
func codeRowsx1AVX512(p *product, rows *codedRow)

//go:noescape
func codeRowsx2AVX512(p *product, rows *codedRow)

//go:noescape
func codeRowsx3AVX512(p *product, rows *codedRow)

//go:noescape
func productCodedx1AVX512(p *product, rows *codedRow)

//go:noescape
func productCodedx2AVX512(p *product, rows *codedRow)

//go:noescape
func productCodedx3AVX512(p *product, rows *codedRow)

func codeRowsAVX2(p *product, rows *[codedRows]codedRow, m int) {
	for i := range m {
		codeRowAVX2(&rows[i], p.a[i], p.pairs, p.depth)
	}
}

func productCodedAVX2(p *product, rows *[codedRows]codedRow, m int) {
	switch m {
	case 1:
		productCodedx1AVX2(p, &rows[0])
	case 2:
		productCodedx2AVX2(p, &rows[0])
	case 3:
		productCodedx3AVX2(p, &rows[0])
	}
}

//go:noescape
func codeRowAVX2(r *codedRow, a *float32, pairs unsafe.Pointer, depth int)

//go:noescape
func productCodedx1AVX2(p *product, rows *codedRow)

//go:noescape
func productCodedx2AVX2(p *product, rows *codedRow)

//go:noescape
func productCodedx3AVX2(p *product, rows *codedRow)
