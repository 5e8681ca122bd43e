package cpu

import (
	"math"

	"nosa/compute"
)

// keyLogits is the task of KeyLogits; a piece is a block.
type keyLogits struct {
	attend // blocks and queries as Attend reads them
	part   compute.Part
	out    []float32
}

// KeyLogits: see compute.KeyLogits.
func (d *Device) KeyLogits(out, q compute.Tensor, c *compute.Cache, t compute.Tile, p compute.Part) {
	l := &keyLogits{part: p, out: out.F32()}
	l.k, l.q, l.cache, l.tile = &d.kernels, q.F32(), c, t
	l.heads, l.dim = q.Dims[1], c.Dim
	l.group = l.heads / c.Heads
	l.scale = float32(1 / math.Sqrt(float64(c.Dim)))
	if n := len(p.Blocks); n > 0 {
		l.own = int(p.Blocks[n-1]) // if any is the tail
	}
	_ = l.out[:t.N*l.group*len(p.Blocks)*c.Block]
	d.team.do(l, len(p.Blocks))
}

func (l *keyLogits) run(w *worker, piece int) {
	block, blocks, head := l.cache.Block, len(l.part.Blocks), l.part.Head
	var b attended
	if slot := l.part.Slots[piece]; slot < 0 {
		l.tail(head, &b)
	} else {
		l.expanded(w, head, int(l.part.Blocks[piece]), slot, &b)
	}
	var bias []float32
	if l.cache.Scores {
		bias = l.cache.Score.F32()[int(l.tile.Tables[head][l.part.Blocks[piece]])*block:][:block]
	}
	m := &w.attend
	ld := (block + 63) &^ 63
	logits, p := room(&m.logits, batchQueries*ld), &m.product
	p.b, p.pairs, p.ahead, p.stride = b.key.data, b.key.pairs, b.key.ahead, b.key.stride
	p.depth, p.cols, p.fresh = l.dim, block, 1
	for i, n := 0, l.tile.N*l.group; i < n; i += b.key.most {
		rows := min(b.key.most, n-i)
		for j := range rows {
			row, g := (i+j)/l.group, (i+j)%l.group
			p.a[j], p.c[j] = &l.q[((l.tile.Row+row)*l.heads+head*l.group+g)*l.dim], &logits[j*ld]
		}
		l.multiply(m, &b.key, rows)
		for j := range rows {
			to := l.out[((i+j)*blocks+piece)*block:][:block]
			for x, y := range logits[j*ld:][:block] {
				to[x] = y * l.scale
				if bias != nil {
					to[x] += bias[x]
				}
			}
		}
	}
}
