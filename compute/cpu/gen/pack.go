package main

import "fmt"

// Rows into the order of tiles, sixteen elements of a sum at a time. Twin: packGo.

func init() {
	files["pack_avx512_amd64.s"] = func(e *emitter) {
		pack(e, 16, "pack16AVX512", "dst[class·lane + step·st + row] is set for sixteen rows.")
		pack(e, 8, "pack8AVX512", "dst[class·lane + step·st + row] is set for eight rows.")
	}
}

// pack writes the routine for so many rows. Quarters of four elements of rows are
// put together, so that turning them four by four leaves rows side by side: for
// sixteen rows register j holds rows j, j+4, j+8 and j+12, for eight rows j and
// j+4, and those again eight elements later.
func pack(e *emitter, rows int, name, what string) {
	e.text(name, 48, "(dst, src *float32, ss, steps, class, st int)\n//\n// "+what)
	e.op("MOVQ", "dst+0(FP)", "DI")
	e.op("MOVQ", "src+8(FP)", "SI")
	e.op("MOVQ", "ss+16(FP)", "R8")
	e.op("MOVQ", "steps+24(FP)", "CX")
	e.op("MOVQ", "class+32(FP)", "R9")
	e.op("MOVQ", "st+40(FP)", "R14")
	for _, r := range []string{"R8", "R9", "R14"} {
		e.op("SHLQ", "$2", r)
	}
	e.op("LEAQ", "(R9)(R9*2)", "BX")
	e.op("LEAQ", "(R8)(R8*2)", "AX")
	e.op("LEAQ", "(SI)(AX*1)", "R10") // row 3
	e.op("LEAQ", "(SI)(AX*2)", "R11") // row 6
	bases := []string{"SI", "R10", "R11"}
	if rows == 16 {
		e.op("LEAQ", "(R11)(R8*1)", "R12") // row 7
		e.op("LEAQ", "(SI)(AX*4)", "R13")  // row 12
		bases = append(bases, "R12", "R13")
	}
	// A row's place as a base and a multiple of the distance.
	place := map[int]string{
		0: "(SI)", 1: "(SI)(R8*1)", 2: "(SI)(R8*2)", 3: "(R10)", 4: "(SI)(R8*4)", 5: "(R10)(R8*2)", 6: "(R11)", 7: "(R10)(R8*4)",
		8: "(SI)(R8*8)", 9: "(R12)(R8*2)", 10: "(R11)(R8*4)", 11: "(R10)(R8*8)", 12: "(R13)", 13: "(R13)(R8*1)", 14: "(R11)(R8*8)", 15: "(R12)(R8*8)",
	}
	e.label("step")
	e.op("SUBQ", "$1", "CX")
	e.op("JLT", "done")
	e.op("MOVQ", "DI", "AX")
	if rows == 8 {
		e.op("LEAQ", "(DI)(R9*8)", "DX")
	}
	for q := range rows / 4 {
		for j := range 4 {
			at := func(part int) string {
				if rows == 16 {
					return fmt.Sprintf("%d%s", 16*q, place[j+4*part])
				}
				return fmt.Sprintf("%d%s", 16*q+32*(part/2), place[j+4*(part%2)])
			}
			e.op("VMOVUPS", at(0), xmm(j))
			for part := 1; part < 4; part++ {
				e.op("VINSERTF32X4", fmt.Sprintf("$%d", part), at(part), zmm(j), zmm(j))
			}
		}
		e.op("VUNPCKLPS", "Z1", "Z0", "Z4")
		e.op("VUNPCKHPS", "Z1", "Z0", "Z5")
		e.op("VUNPCKLPS", "Z3", "Z2", "Z6")
		e.op("VUNPCKHPS", "Z3", "Z2", "Z7")
		e.op("VUNPCKLPD", "Z6", "Z4", "Z0")
		e.op("VUNPCKHPD", "Z6", "Z4", "Z1")
		e.op("VUNPCKLPD", "Z7", "Z5", "Z2")
		e.op("VUNPCKHPD", "Z7", "Z5", "Z3")
		for j, to := range []string{"", "(R9*1)", "(R9*2)", "(BX*1)"} {
			if rows == 16 {
				e.op("VMOVUPS", zmm(j), "(AX)"+to)
				continue
			}
			e.op("VMOVUPS", ymm(j), "(AX)"+to)
			e.op("VEXTRACTF32X8", "$1", zmm(j), "(DX)"+to)
		}
		if q < rows/4-1 {
			e.op("LEAQ", "(AX)(R9*4)", "AX")
			if rows == 8 {
				e.op("LEAQ", "(DX)(R9*4)", "DX")
			}
		}
	}
	for _, b := range bases {
		e.op("ADDQ", "$64", b)
	}
	e.op("ADDQ", "R14", "DI")
	e.op("JMP", "step")
	e.label("done")
	e.op("VZEROUPPER")
	e.op("RET")
}
