package compute

// Append takes the rows of a tile into its block: keys and values (k, v [rows,
// kvHeads, dim], keys after rotation) into the tail, scores (s [rows, kvHeads],
// absent in methods without) and the mean of each segment that becomes complete
// into the block's summary. A mean is one sum over its tokens in their order, so
// it does not depend on how the prompt was cut.
func Append(c *Cache, t Tile, k, v, s Tensor) {
	kf, vf, tail := k.F32(), v.F32(), t.Tail.F32()
	width, dim, own := c.Heads*c.Dim, c.Dim, t.Own(c.Block)
	at := t.Pos % c.Block
	for h := range c.Heads {
		id := int(t.Tables[h][own])
		key := tail[h*2*c.Block*dim:]
		val := key[c.Block*dim:]
		for r := range t.N {
			from := (t.Row+r)*width + h*dim
			copy(key[(at+r)*dim:(at+r+1)*dim], kf[from:from+dim])
			copy(val[(at+r)*dim:(at+r+1)*dim], vf[from:from+dim])
			if c.Scores {
				c.Score.F32()[id*c.Block+at+r] = s.F32()[(t.Row+r)*c.Heads+h]
			}
		}
		if c.Stride == 0 {
			continue
		}
		for seg := at / c.Stride; (seg+1)*c.Stride <= at+t.N; seg++ {
			mean := c.Segments.F32()[(id*c.Layout.Segments()+seg)*dim:][:dim]
			meanRows(mean, key[seg*c.Stride*dim:(seg+1)*c.Stride*dim])
			if c.Scores {
				n := c.Layout.Segments()
				meanRows(c.SegScore.F32()[id*n+seg:id*n+seg+1], c.Score.F32()[id*c.Block+seg*c.Stride:][:c.Stride])
			}
		}
	}
}

// meanRows sets mean [dim] to the mean of the rows of x [n, dim].
func meanRows(mean, x []float32) {
	dim := len(mean)
	n := len(x) / dim
	for d := range mean {
		var sum float64
		for r := range n {
			sum += float64(x[r*dim+d])
		}
		mean[d] = float32(sum / float64(n))
	}
}
