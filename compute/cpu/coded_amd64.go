//go:build !noasm

package cpu

import "unsafe"

func codeRowsAVX512(p *product, rows *[codedRows]codedRow, m int) {
	switch m {
	case 1:
		codeRowsx1AVX512(p, &rows[0])
	case 2:
		codeRowsx2AVX512(p, &rows[0])
	case 3:
		codeRowsx3AVX512(p, &rows[0])
	}
}

func codeRowsAVX2(p *product, rows *[codedRows]codedRow, m int) {
	for i := range m {
		codeRowAVX2(&rows[i], p.a[i], p.pairs, p.depth)
	}
}

func codedQ8AVX512(p *product, rows *[codedRows]codedRow, m int) {
	switch m {
	case 1:
		codedQ8x1AVX512(p, &rows[0])
	case 2:
		codedQ8x2AVX512(p, &rows[0])
	case 3:
		codedQ8x3AVX512(p, &rows[0])
	}
}

func codedQ4AVX512(p *product, rows *[codedRows]codedRow, m int) {
	switch m {
	case 1:
		codedQ4x1AVX512(p, &rows[0])
	case 2:
		codedQ4x2AVX512(p, &rows[0])
	case 3:
		codedQ4x3AVX512(p, &rows[0])
	}
}

func codedQ8AVX2(p *product, rows *[codedRows]codedRow, m int) {
	switch m {
	case 1:
		codedQ8x1AVX2(p, &rows[0])
	case 2:
		codedQ8x2AVX2(p, &rows[0])
	case 3:
		codedQ8x3AVX2(p, &rows[0])
	}
}

func codedQ4AVX2(p *product, rows *[codedRows]codedRow, m int) {
	switch m {
	case 1:
		codedQ4x1AVX2(p, &rows[0])
	case 2:
		codedQ4x2AVX2(p, &rows[0])
	case 3:
		codedQ4x3AVX2(p, &rows[0])
	}
}

//go:noescape
func codeRowAVX2(r *codedRow, a *float32, pairs unsafe.Pointer, depth int)

//go:noescape
func codeRowsx1AVX512(p *product, rows *codedRow)

//go:noescape
func codeRowsx2AVX512(p *product, rows *codedRow)

//go:noescape
func codeRowsx3AVX512(p *product, rows *codedRow)

//go:noescape
func codedQ8x1AVX512(p *product, rows *codedRow)

//go:noescape
func codedQ8x2AVX512(p *product, rows *codedRow)

//go:noescape
func codedQ8x3AVX512(p *product, rows *codedRow)

//go:noescape
func codedQ4x1AVX512(p *product, rows *codedRow)

//go:noescape
func codedQ4x2AVX512(p *product, rows *codedRow)

//go:noescape
func codedQ4x3AVX512(p *product, rows *codedRow)

//go:noescape
func codedQ8x1AVX2(p *product, rows *codedRow)

//go:noescape
func codedQ8x2AVX2(p *product, rows *codedRow)

//go:noescape
func codedQ8x3AVX2(p *product, rows *codedRow)

//go:noescape
func codedQ4x1AVX2(p *product, rows *codedRow)

//go:noescape
func codedQ4x2AVX2(p *product, rows *codedRow)

//go:noescape
func codedQ4x3AVX2(p *product, rows *codedRow)
