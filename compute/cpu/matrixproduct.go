package cpu

// A product of whole matrices in float32: the gradients of Linear, whose operands change with
// every step, so that nothing of them is kept. Blocks of both are packed as the tiles of
// panel.go read them, by all threads, and then multiplied, strips of the result by runs of
// its rows.
//
// An element of the result is one sum, whose order depends on its length alone: elements are
// taken in runs of matrixRun; a run is a chain of fused multiply-adds from 0, and the runs are
// added one after the other, to what is there where the result is added to. Every level in
// assembly gives the same bits.
//
//	a  [run][tile of rows][step][row of the tile]
//	b  [run][strip][step][column of the strip]

// How a product is cut, in elements. All but the first change the time alone.
const (
	matrixRun    = 128            // of a sum, in registers: a strip's run stays in the first cache
	matrixDepth  = 8 * matrixRun  // of a sum, packed together
	matrixRows   = 16 * groupRows // of the result, packed together
	matrixCols   = 42 * 48        // likewise; whole strips of every level
	matrixPieces = 2 * piecesEach // pieces a thread should find
)

// matrixKernels are a level's tile, beside what panelKernels says of it.
type matrixKernels struct {
	vector, tile, most int

	// turn packs k elements of eight rows, which begin ss apart, in tiles: dst[r/tile·tile·k +
	// e·tile + r%tile].
	turn  func(dst, src []float32, ss, k int)
	panel func(vectors int, c []float32, ldc int, a, b []float32, steps, blocks, add int)
}

var matrixGo = matrixKernels{
	vector: 2, tile: 4, most: 1,
	turn:  func(dst, src []float32, ss, k int) { turnGo(4, 0, dst, src, ss, k) },
	panel: panelTileGo,
}

// turnGo is the twin of turn, from element e on.
func turnGo(tile, e int, dst, src []float32, ss, k int) {
	for ; e < k; e++ {
		for r := range 8 {
			dst[r/tile*tile*k+e*tile+r%tile] = src[r*ss+e]
		}
	}
}

// panelTileGo is panel for tiles of four rows by two columns. Its products are rounded.
func panelTileGo(_ int, c []float32, ldc int, a, b []float32, steps, blocks, add int) {
	for t := range blocks {
		var s00, s01, s10, s11, s20, s21, s30, s31 float32
		rows := a[4*t*steps : 4*(t+1)*steps]
		for s := range steps {
			x, y := (*[4]float32)(rows[4*s:]), (*[2]float32)(b[2*s:])
			s00 += float32(x[0] * y[0])
			s01 += float32(x[0] * y[1])
			s10 += float32(x[1] * y[0])
			s11 += float32(x[1] * y[1])
			s20 += float32(x[2] * y[0])
			s21 += float32(x[2] * y[1])
			s30 += float32(x[3] * y[0])
			s31 += float32(x[3] * y[1])
		}
		for r, sum := range [4][2]float32{{s00, s01}, {s10, s11}, {s20, s21}, {s30, s31}} {
			row := (*[2]float32)(c[(4*t+r)*ldc:])
			if add != 0 {
				sum[0], sum[1] = row[0]+sum[0], row[1]+sum[1]
			}
			*row = sum
		}
	}
}

// matrixProduct is the task of a product c [m, n] = a·b, or c + a·b. Its pieces pack, and then
// multiply, a block of the operands.
type matrixProduct struct {
	k       *matrixKernels
	c, a, b []float32
	m, n    int
	depth   int
	byDepth bool // a is [depth, m], else [m, depth]; b is [depth, n]
	add     bool

	row, rows int // this block: of the result
	col, cols int
	at, deep  int // and of the sums

	packing          bool
	packedA, packedB []float32
	span             int // groups of rows of a piece that multiplies
}

// multiply runs the product.
func (d *Device) multiply(p matrixProduct) {
	p.k = &d.kernels.matrix
	t := &d.matrix
	*t = p
	for t.col = 0; t.col < t.n; t.col += t.cols {
		t.cols = min(matrixCols, t.n-t.col)
		for t.at = 0; t.at < t.depth; t.at += t.deep {
			t.deep = min(matrixDepth, t.depth-t.at)
			t.packedB = room(&d.matrixB, t.deep*t.strips()*t.strip())
			for t.row = 0; t.row < t.m; t.row += t.rows {
				t.rows = min(matrixRows, t.m-t.row)
				t.packedA = room(&d.matrixA, t.deep*t.groups()*groupRows)
				pieces := t.groups()
				if t.row == 0 {
					pieces += t.strips()
				}
				t.packing = true
				d.team.do(t, pieces)
				t.packing = false
				t.span = min(t.groups(), max(1, t.groups()*t.strips()/(matrixPieces*d.threads)))
				d.team.do(t, t.strips()*t.spans())
			}
		}
	}
	*t = matrixProduct{}
}

func (t *matrixProduct) strip() int  { return t.k.most * t.k.vector }
func (t *matrixProduct) strips() int { return (t.cols + t.strip() - 1) / t.strip() }
func (t *matrixProduct) groups() int { return (t.rows + groupRows - 1) / groupRows }
func (t *matrixProduct) spans() int  { return (t.groups() + t.span - 1) / t.span }

func (t *matrixProduct) run(w *worker, piece int) {
	switch {
	case !t.packing:
		t.product(w, piece/t.spans(), piece%t.spans())
	case piece < t.groups():
		t.packA(w, piece)
	default:
		t.packB(piece - t.groups())
	}
}

// runs calls f for every run of the block: its first element, its steps, and where it begins
// in what is packed for so many rows or columns.
func (t *matrixProduct) runs(width int, f func(e, steps, at int)) {
	for e := 0; e < t.deep; e += matrixRun {
		f(e, min(matrixRun, t.deep-e), e*width)
	}
}

// packA packs a group of rows of a, filled up to eights with zeros.
func (t *matrixProduct) packA(w *worker, group int) {
	first := group * groupRows
	rows := min(groupRows, t.rows-first)
	t.runs(t.groups()*groupRows, func(e, steps, at int) {
		dst := t.packedA[at+first*steps:]
		row, depth := t.row+first, t.at+e
		if t.byDepth {
			packColumns(t.k.tile, dst, t.a[depth*t.m+row:], t.m, steps, rows)
			return
		}
		for r := 0; r < rows; r += 8 {
			src, ss := t.a[(row+r)*t.depth+depth:], t.depth
			if n := rows - r; n < 8 {
				full := room(&w.spare, 8*steps)
				clear(full)
				for i := range n {
					copy(full[i*steps:(i+1)*steps], src[i*ss:])
				}
				src, ss = full, steps
			}
			t.k.turn(dst[r*steps:][:8*steps], src, ss, steps)
		}
	})
}

// packColumns packs n columns of k rows that begin ss apart, eight by eight in tiles of 8 or
// 4 as turn does; those that are missing are 0.
func packColumns(tile int, dst, src []float32, ss, k, n int) {
	full, second := n&^7, 4 // how far on the last four of eight lie
	if tile == 4 {
		second *= k
	}
	for e := range k {
		row := src[e*ss:][:n]
		for r := 0; r < full; r += 8 {
			at, eight := dst[r*k+e*tile:], (*[8]float32)(row[r:])
			*(*[4]float32)(at) = [4]float32(eight[:4])
			*(*[4]float32)(at[second:]) = [4]float32(eight[4:])
		}
	}
	if full == n {
		return
	}
	dst = dst[full*k:]
	clear(dst[:8*k])
	for e := range k {
		for r, x := range src[e*ss:][full:n] {
			dst[r/tile*tile*k+e*tile+r%tile] = x
		}
	}
}

// packB packs a strip of b's columns, filled up to whole vectors with zeros.
func (t *matrixProduct) packB(strip int) {
	first := strip * t.strip()
	n := min(t.strip(), t.cols-first)
	width := t.width(n)
	t.runs(t.strips()*t.strip(), func(e, steps, at int) {
		dst := t.packedB[at+first*steps:]
		for s := range steps {
			src := t.b[(t.at+e+s)*t.n+t.col+first:]
			clear(dst[s*width+copy(dst[s*width:], src[:n]) : (s+1)*width])
		}
	})
}

// width is the columns of the vectors that n columns take.
func (t *matrixProduct) width(n int) int { return (n + t.k.vector - 1) / t.k.vector * t.k.vector }

// product sets a strip of the block's result, for a span of its groups of rows.
func (t *matrixProduct) product(w *worker, strip, span int) {
	col, row := strip*t.strip(), span*t.span*groupRows
	n, m := min(t.strip(), t.cols-col), min(t.span*groupRows, t.rows-row)
	width := t.width(n)
	whole := m / t.k.tile
	if n != width {
		whole = 0
	}
	c := t.c[(t.row+row)*t.n+t.col+col:]
	t.runs(1, func(e, steps, _ int) {
		a := t.packedA[e*t.groups()*groupRows+row*steps:]
		b := t.packedB[e*t.strips()*t.strip()+col*steps:]
		add := t.add || t.at+e > 0
		if whole > 0 {
			t.k.panel(width/t.k.vector, c, t.n, a, b, steps, whole, more(add))
		}
		for first := whole * t.k.tile; first < m; first += groupRows {
			t.edge(w, c[first*t.n:], a[first*steps:], b, min(groupRows, m-first), n, steps, add)
		}
	})
}

// edge multiplies tiles that reach beyond the rows or the columns, by way of a buffer.
func (t *matrixProduct) edge(w *worker, c, a, b []float32, rows, n, steps int, add bool) {
	tiles, width := (rows+t.k.tile-1)/t.k.tile, t.width(n)
	buf := room(&w.edge, groupRows*width)
	if add {
		for r := range rows {
			copy(buf[r*width:], c[r*t.n:][:n])
		}
	}
	t.k.panel(width/t.k.vector, buf, width, a, b, steps, tiles, more(add))
	for r := range rows {
		copy(c[r*t.n:][:n], buf[r*width:])
	}
}

// more is what a tile is told.
func more(add bool) int {
	if add {
		return 1
	}
	return 0
}
