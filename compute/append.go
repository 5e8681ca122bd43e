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
			for d, x := range kf[from : from+dim] {
				key[d*c.Block+at+r] = x
			}
			copy(val[(at+r)*dim:(at+r+1)*dim], vf[from:from+dim])
			if c.Scores {
				c.Score.F32()[id*c.Block+at+r] = s.F32()[(t.Row+r)*c.Heads+h]
			}
		}
		if c.Stride == 0 {
			continue
		}
		for seg := at / c.Stride; (seg+1)*c.Stride <= at+t.N; seg++ {
			summary := c.Summary(int32(id))
			for d := range dim {
				c.PutMean(summary, seg, d, meanOf(key[d*c.Block+seg*c.Stride:][:c.Stride]))
			}
			if c.Scores {
				n := c.Layout.Segments()
				c.SegScore.F32()[id*n+seg] = meanOf(c.Score.F32()[id*c.Block+seg*c.Stride:][:c.Stride])
			}
		}
	}
}

func meanOf(x []float32) float32 {
	var sum float64
	for _, v := range x {
		sum += float64(v)
	}
	return float32(sum / float64(len(x)))
}
