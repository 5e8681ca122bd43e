package cpu

import (
	"encoding/binary"
	"math"

	"nosa/dtype"
)

// openGo is the portable twin of open.
func openGo(p *packing, dst, src []byte, groups int) {
	size := p.kind.opened()
	var first, second [panelOutputs]float32 // scales and minima, or scales of halves
	for g := range groups {
		in, out := src[p.at(g):][:p.group], dst[g*size:][:size]
		openCodesGo(p, out[:openCodes], in)
		p.scales(&first, &second, src, g)
		putFloats(out[openCodes:], &first)
		if p.kind != kindScale {
			putFloats(out[openCodes+64:], &second)
		}
	}
}

// openCodesGo expands the codes of a group to a byte each.
func openCodesGo(p *packing, dst, src []byte) {
	if p.format == dtype.Q8_0 {
		copy(dst, src[:openCodes])
		return
	}
	low, plane := src[:256], src[256:p.codes]
	for q := range 4 {
		for i, b := range low[q*64 : q*64+64] {
			dst[q*64+i], dst[(q+4)*64+i] = b&15, b>>4
		}
	}
	switch len(plane) {
	case 64:
		for q := range 8 {
			for i, b := range plane {
				dst[q*64+i] |= b >> q & 1 << 4
			}
		}
	case 128:
		for q := range 8 {
			for i, b := range plane[q/4*64:][:64] {
				dst[q*64+i] |= b >> (q % 4 * 2) & 3 << 4
			}
		}
	}
}

// scales reads what 16 outputs have for group g of a panel.
func (p *packing) scales(first, second *[panelOutputs]float32, panel []byte, g int) {
	at := p.at(g) + p.codes
	tail := panel[at : at+p.group-p.codes]
	for i := range panelOutputs {
		if p.header == 0 {
			first[i] = half(tail[2*i:])
			if p.kind == kindMinimum {
				second[i] = half(tail[32+2*i:])
			}
			continue
		}
		header := panel[p.at(g&^(superGroups-1))-p.header:][:p.header]
		d := half(header[2*i:])
		if p.kind == kindHalves {
			first[i], second[i] = d*float32(int8(tail[i])), d*float32(int8(tail[16+i]))
		} else {
			first[i], second[i] = d*float32(tail[i]), -half(header[32+2*i:])*float32(tail[16+i])
		}
	}
}

func half(b []byte) float32 { return dtype.F16ToF32(binary.LittleEndian.Uint16(b)) }

func putFloats(dst []byte, v *[panelOutputs]float32) {
	for i, x := range v {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(x))
	}
}

func getFloats(v *[panelOutputs]float32, src []byte) {
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

// tileGo is the portable twin of tile.
func tileGo(q *quantiser, rows int, out []float32, os int, panel, tile []byte, groups int) {
	size, width := q.kind.opened(), q.form.bytes()
	step := rows * (width + sideBytes)
	for r := range rows {
		var acc, first, second [panelOutputs]float32
		for g := range groups {
			in := panel[g*size:][:size]
			getFloats(&first, in[openCodes:])
			if q.kind != kindScale {
				getFloats(&second, in[openCodes+64:])
			}
			x := tile[g*step:][:step]
			addGroupGo(&acc, q, in, &first, &second, x[r*width:][:width], x[rows*width+r*sideBytes:])
		}
		copy(out[r*os:r*os+panelOutputs], acc[:])
	}
}

// unopenedGo is the portable twin of unopened.
func unopenedGo(p *packing, q *quantiser, rows int, out []float32, os int, src, tile, _ []byte, groups int) {
	width := q.form.bytes()
	step := rows * (width + sideBytes)
	var acc [8][panelOutputs]float32
	var first, second [panelOutputs]float32
	var codes [openCodes]byte
	for g := range groups {
		openCodesGo(p, codes[:], src[p.at(g):][:p.group])
		p.scales(&first, &second, src, g)
		x := tile[g*step:][:step]
		for r := range rows {
			addGroupGo(&acc[r], q, codes[:], &first, &second, x[r*width:][:width], x[rows*width+r*sideBytes:])
		}
	}
	for r := range rows {
		copy(out[r*os:r*os+panelOutputs], acc[r][:])
	}
}

// rowGo is the portable twin of row.
func rowGo(p *packing, q *quantiser, out []float32, src, tile []byte, groups int) {
	width := q.form.bytes()
	step := width + sideBytes
	var codes [openCodes]byte
	for ; len(src) >= p.panel(groups); src = src[p.panel(groups):] {
		var acc, first, second [panelOutputs]float32
		for g := range groups {
			openCodesGo(p, codes[:], src[p.at(g):][:p.group])
			p.scales(&first, &second, src, g)
			x := tile[g*step:][:step]
			addGroupGo(&acc, q, codes[:], &first, &second, x[:width], x[width:])
		}
		copy(out[:panelOutputs], acc[:])
		out = out[panelOutputs:]
	}
}

// addGroupGo adds one group of opened codes times one row's codes to 16 sums.
func addGroupGo(acc *[panelOutputs]float32, q *quantiser, codes []byte, first, second *[panelOutputs]float32, x, beside []byte) {
	var xs [groupLen]int32
	q.form.get(&xs, x)
	scale, s0, s1 := side(beside)
	var sum [2][panelOutputs]int32 // of quads 0–3 and 4–7
	for quad := range 8 {
		w := codes[quad*64:][:64]
		s := &sum[quad/4]
		x0, x1, x2, x3 := xs[4*quad], xs[4*quad+1], xs[4*quad+2], xs[4*quad+3]
		for i := range s {
			s[i] += int32(w[4*i])*x0 + int32(w[4*i+1])*x1 + int32(w[4*i+2])*x2 + int32(w[4*i+3])*x3
		}
	}
	// Conversions of products forbid fusing them with the sums.
	for i := range acc {
		switch q.kind {
		case kindScale:
			acc[i] += float32(float32(sum[0][i]+sum[1][i]+int32(s0)) * float32(first[i]*scale))
		case kindMinimum:
			acc[i] += float32(float32(sum[0][i]+sum[1][i]) * float32(first[i]*scale))
			acc[i] += float32(second[i] * math.Float32frombits(s0))
		case kindHalves:
			acc[i] += float32(float32(sum[0][i]+int32(s0)) * float32(first[i]*scale))
			acc[i] += float32(float32(sum[1][i]+int32(s1)) * float32(second[i]*scale))
		}
	}
}
