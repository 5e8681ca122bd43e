package cpu

// How products of many rows by tiles of 16 are cut. The numbers change the time alone.
const (
	wideLeast  = 32        // rows that are worth it, of codes of two parts
	wideGroups = 64        // of a panel that are opened at a time, a multiple of superGroups
	wideOpened = 800 << 10 // bytes of opened panels that all rows pass over: they stay in L2
)

// takesWide says whether the level multiplies so many rows sixteen at a time. Codes of
// one part gain less.
func (l *packedLinear) takesWide() bool {
	return l.k.wide != nil && l.rows >= wideLeast*(3-l.q.parts())
}

// rowCodes is the bytes of the codes of all rows.
func (l *packedLinear) rowCodes() int {
	if l.wide {
		return (l.rows + wideRows - 1) / wideRows * l.groups * l.q.wideStep()
	}
	return l.rows * l.q.form.row(l.groups)
}

// quantiseWide makes rows from … to−1 codes; from is the first of a tile.
func (l *packedLinear) quantiseWide(from, to int) {
	k, size := l.groups*groupLen, l.groups*l.q.wideStep()
	for r := from; r < to; r++ {
		l.k.wide.quantise(l.codes[r/wideRows*size:][:size], l.x[r*k:(r+1)*k], &l.q, r%wideRows)
	}
}

// wideTiles multiplies all rows by some opened panels after the other. Where a tile
// reaches beyond the rows or the outputs, its results stand aside first.
func (l *packedLinear) wideTiles(w *worker, from, to int) {
	size := l.layout.kind.wide()
	stretch := min(wideGroups, l.groups)
	sets := max(1, (to-from)*stretch*size/wideOpened)
	set := (to - from + sets - 1) / sets
	opened := room(&w.opened, set*stretch*size+wideScratch)
	scratch := opened[set*stretch*size:]
	aside := room(&w.edge, wideRows*set*panelOutputs)
	for g := 0; g < l.groups; g += stretch {
		groups := min(stretch, l.groups-g)
		for p := from; p < to; p += set {
			panels := min(set, to-p)
			for i := range panels {
				src := l.panel(w, p+i)[l.layout.at(g)-l.layout.header:]
				l.k.wide.open(l.layout, opened[i*groups*size:], src, groups)
			}
			first, width := p*panelOutputs, panels*panelOutputs
			outputs := min(width, l.n-first)
			for r := 0; r < l.rows; r += wideRows {
				tile, next := l.wideTile(r, g, groups), l.wideTile(r+wideRows, g, groups)
				rows := min(wideRows, l.rows-r)
				if rows == wideRows && outputs == width {
					l.k.wide.tile(&l.q, l.out[r*l.n+first:], l.n, opened, panels, tile, next, groups, g > 0, scratch)
					continue
				}
				for i := range rows {
					copy(aside[i*width:], l.out[(r+i)*l.n+first:][:outputs])
				}
				l.k.wide.tile(&l.q, aside, width, opened, panels, tile, next, groups, g > 0, scratch)
				for i := range rows {
					copy(l.out[(r+i)*l.n+first:][:outputs], aside[i*width:])
				}
			}
		}
	}
}

// wideTile is what the tile that begins at row r has of some groups; nil behind the last.
func (l *packedLinear) wideTile(r, g, groups int) []byte {
	if r >= l.rows {
		return nil
	}
	step := l.q.wideStep()
	return l.codes[(r/wideRows*l.groups+g)*step:][:groups*step]
}
