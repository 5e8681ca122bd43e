package compute

// EmbedGrad adds row r of dout [rows, width] to row ids[r] of dtable, F32 [vocab, width], in
// the order of rows.
func EmbedGrad(dtable Tensor, dout []float32, ids []int32) {
	width, table := dtable.Stride(), dtable.F32()
	for r, id := range ids {
		row := table[int(id)*width : (int(id)+1)*width]
		for i, g := range dout[r*width : (r+1)*width] {
			row[i] += g
		}
	}
}
