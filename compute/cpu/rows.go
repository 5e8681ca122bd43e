package cpu

import (
	"fmt"

	"nosa/compute"
)

// norm is the task of RMSNorm; a piece is a run of rows.
type norm struct {
	k              *kernels
	out, x, weight []float32
	eps            float32
	rows, step     int
}

// RMSNorm: see compute.RMSNorm.
func (d *Device) RMSNorm(out, x, weight compute.Tensor, eps float32) {
	n := &d.norm
	*n = norm{k: &d.kernels, x: x.F32(), weight: weight.F32(), eps: eps}
	n.out = out.F32()[:len(n.x)]
	n.rows = len(n.x) / len(n.weight)
	var pieces int
	n.step, pieces = d.share(n.rows, len(n.weight))
	d.team.do(n, pieces)
	*n = norm{}
}

func (n *norm) run(_ *worker, piece int) {
	width := len(n.weight)
	for r := piece * n.step; r < min(n.rows, (piece+1)*n.step); r++ {
		n.k.rmsNorm(n.out[r*width:(r+1)*width], n.x[r*width:(r+1)*width], n.weight, n.eps)
	}
}

// rotation is the task of Rotate and RotateGrad; a piece is a run of rows.
type rotation struct {
	k          *kernels
	x, angles  []float32
	heads, dim int
	rope       *compute.Rope
	back       bool // the other way round
	rows, step int
}

// Rotate: see compute.Rotate.
func (d *Device) Rotate(x, angles compute.Tensor, rope *compute.Rope) {
	d.rotate(x, angles, rope, false)
}

// RotateGrad: see compute.RotateGrad.
func (d *Device) RotateGrad(dx, angles compute.Tensor, rope *compute.Rope) {
	d.rotate(dx, angles, rope, true)
}

func (d *Device) rotate(x, angles compute.Tensor, rope *compute.Rope, back bool) {
	t := &d.rotation
	*t = rotation{k: &d.kernels, x: x.F32(), angles: angles.F32(), heads: x.Dims[1], dim: x.Dims[2], rope: rope, back: back, rows: x.Dims[0]}
	var pieces int
	t.step, pieces = d.share(t.rows, 2*t.heads*t.dim)
	d.team.do(t, pieces)
	*t = rotation{}
}

func (t *rotation) run(w *worker, piece int) {
	n, width := len(t.rope.Inv), t.heads*t.dim
	for r := piece * t.step; r < min(t.rows, (piece+1)*t.step); r++ {
		cos, sin := t.angles[r*2*n:][:n], t.angles[r*2*n+n:][:n]
		if t.back {
			sin = room(&w.edge, n)
			for i, s := range t.angles[r*2*n+n:][:n] {
				sin[i] = -s
			}
		}
		t.k.rotate(t.x[r*width:][:width], cos, sin, t.heads, t.dim, t.rope.Interleaved)
	}
}

// embedding is the task of Embed; a piece is a run of rows.
type embedding struct {
	k     *kernels
	out   []float32
	table compute.Tensor
	ids   []int32
	step  int
}

// Embed: see compute.Embed.
func (d *Device) Embed(out, table compute.Tensor, ids []int32) {
	for _, id := range ids {
		if id < 0 || int(id) >= table.Dims[0] {
			panic(fmt.Sprintf("cpu: token id %d outside the table of %d", id, table.Dims[0]))
		}
	}
	e := &d.embedding
	width := table.Stride()
	*e = embedding{k: &d.kernels, out: out.F32()[:len(ids)*width], table: table, ids: ids}
	var pieces int
	e.step, pieces = d.share(len(ids), width)
	d.team.do(e, pieces)
	*e = embedding{}
}

func (e *embedding) run(_ *worker, piece int) {
	width, size := e.table.Stride(), len(e.table.Data)/e.table.Dims[0]
	for r := piece * e.step; r < min(len(e.ids), (piece+1)*e.step); r++ {
		at := int(e.ids[r]) * size
		e.k.expand(e.table.Type, e.out[r*width:(r+1)*width], e.table.Data[at:at+size])
	}
}
