package main

import "fmt"

// The loops around the groups of packedneon.go: over panels and rows.

func init() {
	files["packedtile_neon_arm64.s"] = func(e *emitter) {
		for _, p := range openedFormats {
			for _, form := range packedForms {
				for _, rows := range form.rows {
					packedNEON{neon: neon{e}, p: p, form: form, rows: rows}.tile()
				}
			}
		}
	}
	files["packedfew_neon_arm64.s"] = func(e *emitter) {
		for _, p := range packedFormats {
			for _, form := range packedForms {
				for _, rows := range form.rows {
					if rows > 1 {
						packedNEON{neon: neon{e}, p: p, form: form, rows: rows}.few()
					}
				}
			}
		}
	}
	files["packedrow_neon_arm64.s"] = func(e *emitter) {
		for _, p := range packedFormats {
			packedNEON{neon: neon{e}, p: p, form: packedForms[0], rows: 1}.open()
			for _, form := range packedForms {
				packedNEON{neon: neon{e}, p: p, form: form, rows: 1}.row()
			}
		}
	}
}

// groups is the loop over the groups of a panel.
func (k packedNEON) groups(body func()) {
	if k.p.header > 0 {
		k.label("super")
		k.op("MOVD", "R8", "R13")
		k.plus(k.p.header, "R8")
		k.op("MOVD", "$8", "R12")
	}
	k.label("group")
	body()
	k.plus(k.p.group, "R8")
	if k.p.header > 0 {
		k.minus(1, "R12")
		k.op("CBNZ", "R12", "group")
		k.minus(8, "R11")
		k.op("CBNZ", "R11", "super")
		return
	}
	k.minus(1, "R11")
	k.op("CBNZ", "R11", "group")
}

// several writes the loop over the rows of a tile, so many at a time, each over the
// same panel.
func (k packedNEON) several(name, src string) {
	k.text(fmt.Sprintf("%s%s%s%dNEON", name, k.p.name, k.form.name, k.rows), 48,
		fmt.Sprintf("(out *float32, os int, %s, tile *byte, groups, rows int)", src))
	for i, arg := range []string{"out", "os", src, "tile"} {
		k.argument(arg, 8*i, x(i))
	}
	k.argument("groups", 32, "R5")
	k.argument("rows", 40, "R6")
	k.op("LSL", "$2", "R1")
	k.op("MOVD", fmt.Sprintf("$%d", k.width()), "R7")
	k.op("MUL", "R7", "R6", "R4")
	k.op("ADD", "R6<<4", "R4", "R7") // of a group
	k.op("ADD", "R3", "R4")
	k.constants()
	k.label("rows")
	k.op("MOVD", "R2", "R8")
	k.op("MOVD", "R3", "R9")
	k.op("MOVD", "R4", "R10")
	k.op("MOVD", "R5", "R11")
	for i := range 4 * k.rows {
		k.zero(i)
	}
	k.groups(k.group)
	for r := range k.rows {
		for v := range 4 {
			k.store(k.sum(r, v), 16*v, "R0")
		}
		k.op("ADD", "R1", "R0")
	}
	k.plus(k.rows*k.width(), "R3")
	k.plus(k.rows*16, "R4")
	k.minus(k.rows, "R6")
	k.op("CBNZ", "R6", "rows")
	k.op("RET")
}

func (k packedNEON) tile() { k.several("packedTile", "panel") }

func (k packedNEON) few() { k.several("packedFew", "src") }

// row writes the product of panels, one behind the other, with one row.
func (k packedNEON) row() {
	k.text(fmt.Sprintf("packedRow%s%sNEON", k.p.name, k.form.name), 40, "(out *float32, src, tile *byte, groups, panels int)")
	k.argument("out", 0, "R0")
	k.argument("src", 8, "R8")
	k.argument("tile", 16, "R3")
	k.argument("groups", 24, "R5")
	k.argument("panels", 32, "R6")
	k.op("MOVD", fmt.Sprintf("$%d", k.width()+16), "R7")
	k.constants()
	k.label("panel")
	k.op("MOVD", "R3", "R9")
	k.op("ADD", fmt.Sprintf("$%d", k.width()), "R3", "R10")
	k.op("MOVD", "R5", "R11")
	for i := range 4 {
		k.zero(i)
	}
	k.groups(k.group)
	for v := range 4 {
		k.put(k.sum(0, v), "R0")
	}
	k.minus(1, "R6")
	k.op("CBNZ", "R6", "panel")
	k.op("RET")
}

// open writes the expansion of a panel.
func (k packedNEON) open() {
	opened := 512 + 64
	if k.p.kind != "Scale" {
		opened += 64
	}
	k.text(fmt.Sprintf("packedOpen%sNEON", k.p.name), 24, "(dst, src *byte, groups int)")
	k.argument("dst", 0, "R0")
	k.argument("src", 8, "R8")
	k.argument("groups", 16, "R11")
	if !k.flip() {
		k.constants()
	}
	k.groups(func() {
		for v := range 4 {
			if k.flip() {
				for q := range 8 {
					k.load(packedCodeNEON, 64*q+16*v, "R8")
					k.store(packedCodeNEON, 64*q+16*v, "R0")
				}
			} else {
				k.each(v, func() {}, func(code, quad, _ int) { k.store(code, 64*quad+16*v, "R0") })
			}
			k.scale(v, false)
			k.store(packedCodeNEON, 512+16*v, "R0")
			if k.p.kind != "Scale" {
				k.scale(v, true)
				k.store(packedCodeNEON, 576+16*v, "R0")
			}
		}
		k.plus(opened, "R0")
	})
	k.op("RET")
}
