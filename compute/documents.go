package compute

// Count is the number of documents.
func (d Documents) Count() int { return len(d.Begins) - 1 }

// Rows is the number of rows.
func (d Documents) Rows() int { return int(d.Begins[d.Count()]) }

// Span is the rows of document i: from begin to end−1.
func (d Documents) Span(i int) (begin, end int) { return int(d.Begins[i]), int(d.Begins[i+1]) }

// Tiles calls f with each block's rows, document by document: n rows from row on, of
// which the first is at position pos of its document.
func (d Documents) Tiles(f func(row, n, pos int)) {
	for i := range d.Count() {
		begin, end := d.Span(i)
		for row := begin; row < end; row += d.Block {
			f(row, min(d.Block, end-row), row-begin)
		}
	}
}

// None reports whether there is no selection: every row sees every block.
func (s Selection) None() bool { return s.Count.None() }

// keys appends the rows that a row attends to for a KV head, ascending: those of the
// selected blocks of its document, up to itself.
func (d Documents) keys(keys []int, sel Selection, begin, row, head int) []int {
	own := (row - begin) / d.Block
	add := func(b int) {
		for j := begin + b*d.Block; j < min(begin+(b+1)*d.Block, row+1); j++ {
			keys = append(keys, j)
		}
	}
	if sel.None() {
		for b := range own + 1 {
			add(b)
		}
		return keys
	}
	for _, b := range sel.List(row, head, own) {
		add(int(b))
	}
	return keys
}
