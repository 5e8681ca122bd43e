//go:build !noasm

package cpu

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
