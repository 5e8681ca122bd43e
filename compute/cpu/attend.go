package cpu

import (
	"math"

	"nosa/compute"
)

// attend is the task of Attend. The state of a row and query head is the one that
// compute.StateLen describes, and the walk the one of compute.Attend: block by
// block a running softmax in float32, folded into the total at each split.
//
// A piece of a tile of many rows is a run of its rows for one KV head
// (attend_prefill.go), a piece of a tile of one row is one split of one KV head
// (attend_decode.go). Both add blocks to states by attend_block.go, so their bits
// are those of one walk.
type attend struct {
	k        *kernels
	state, q []float32
	cache    *compute.Cache
	tile     compute.Tile
	sel      compute.Selection
	parts    []compute.Part

	heads, group, dim, own int
	scale                  float32

	span   int         // rows of a piece; 0 in a tile of one row
	wanted []want      // one row: the blocks that it selected, by KV head
	splits []splitWork // one row: the pieces
	spare  []float32   // one row: states of the splits that do not begin in state
}

// Attend: see compute.Attend.
func (d *Device) Attend(state, q compute.Tensor, c *compute.Cache, t compute.Tile, sel compute.Selection, parts []compute.Part) {
	a := &d.attend
	a.k, a.state, a.q = &d.kernels, state.F32(), q.F32()
	a.cache, a.tile, a.sel, a.parts = c, t, sel, parts
	a.heads, a.dim = q.Dims[1], c.Dim
	a.group, a.own = a.heads/c.Heads, t.Own(c.Block)
	a.scale = float32(1 / math.Sqrt(float64(c.Dim)))
	_ = a.state[:t.N*a.heads*compute.StateLen(a.dim)]
	_ = a.q[:(t.Row+t.N)*a.heads*a.dim]
	if t.N == 1 {
		a.decode(d)
	} else {
		a.prefill(d)
	}
	a.state, a.q, a.cache, a.tile, a.sel, a.parts = nil, nil, nil, compute.Tile{}, compute.Selection{}, nil
}

func (a *attend) run(w *worker, piece int) {
	if a.span == 0 {
		a.runSplit(w, a.splits[piece])
	} else {
		a.runRows(w, piece%a.cache.Heads, piece/a.cache.Heads*a.span)
	}
}

// selection is the list of a row for a KV head, or false if the row sees every
// block.
func (a *attend) selection(row, head int) ([]int32, bool) {
	at := row*a.sel.Count.Dims[1] + head
	n := int(a.sel.Count.I32()[at])
	if n < 0 {
		return nil, false
	}
	return a.sel.Blocks.I32()[at*a.sel.Blocks.Dims[2]:][:n], true
}

// finish is the task of AttendEnd; a piece is a run of states.
type finish struct {
	k          *kernels
	out, state []float32
	dim, step  int
}

// AttendEnd: see compute.AttendEnd.
func (d *Device) AttendEnd(out, state compute.Tensor, t compute.Tile) {
	heads, dim := out.Dims[1], out.Dims[2]
	f := &d.finish
	*f = finish{
		k: &d.kernels, dim: dim,
		out:   out.F32()[t.Row*heads*dim : (t.Row+t.N)*heads*dim],
		state: state.F32()[:t.N*heads*compute.StateLen(dim)],
	}
	var pieces int
	f.step, pieces = d.share(t.N*heads, 4*dim)
	d.team.do(f, pieces)
	*f = finish{}
}

func (f *finish) run(w *worker, piece int) {
	length := compute.StateLen(f.dim)
	for i := piece * f.step; i < min(len(f.state)/length, (piece+1)*f.step); i++ {
		s := f.state[i*length:][:length]
		if s[0] > 0 {
			f.k.fold(&w.attend.product, s, f.dim)
		}
		tot, o := s[3+f.dim:], f.out[i*f.dim:][:f.dim]
		if tot[1] == 0 {
			clear(o)
			continue
		}
		inv := 1 / tot[1]
		for d, x := range tot[2:] {
			o[d] = x * inv
		}
	}
}
