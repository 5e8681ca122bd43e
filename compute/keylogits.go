package compute

import "math"

// KeyLogitsDevice is a Device that tells what Attend weighs tokens by.
type KeyLogitsDevice interface {
	Device
	KeyLogits(out, q Tensor, c *Cache, t Tile, p Part)
}

// KeyLogits sets out [N, group, blocks of p, Block] to q·k/√dim + bias of the rows of a tile and
// the query heads that share the part's KV head, for every place of every block of the part,
// whatever the rows select or may see: what lies behind a row, or beyond the tokens of the tail,
// is for the caller to leave out. q is [rows, heads, dim].
func KeyLogits(out, q Tensor, c *Cache, t Tile, p Part) {
	heads := q.Dims[1]
	group := heads / c.Heads
	k, v := make([]float32, c.Block*c.Dim), make([]float32, c.Block*c.Dim)
	for i, b := range p.Blocks {
		key := k
		if p.Slots[i] < 0 {
			key = t.Tail.F32()[p.Head*2*c.Block*c.Dim:][:c.Block*c.Dim]
		} else {
			c.DecodeBlock(k, v, c.SlotData(p.Slots[i]))
		}
		for r := range t.N {
			for g := range group {
				qh := q.F32()[((t.Row+r)*heads+p.Head*group+g)*c.Dim:][:c.Dim]
				to := out.F32()[((r*group+g)*len(p.Blocks)+i)*c.Block:][:c.Block]
				for j := range to {
					var x float64
					for d, y := range qh {
						x += float64(y) * float64(key[d*c.Block+j])
					}
					x /= math.Sqrt(float64(c.Dim))
					if c.Scores {
						x += float64(c.Score.F32()[int(t.Tables[p.Head][b])*c.Block+j])
					}
					to[j] = float32(x)
				}
			}
		}
	}
}
