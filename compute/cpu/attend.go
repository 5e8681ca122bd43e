package cpu

import (
	"math"

	"nosa/compute"
)

// attend is the task of Attend. The state of a row and query head is the one that
// compute.StateLen describes, and the walk the one of compute.Attend: block by
// block a running softmax in float32, folded into the total at each split.
//
// A piece of a tile of many rows is a run of its rows for one KV head: the block
// is expanded once for all of them. A piece of a tile of one row is one split of
// one KV head, summed into a state of its own; the splits join the total in their
// order afterwards, so the bits are those of the walk in one go.
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

// want is a block of one row's walk.
type want struct{ block, slot int32 }

// splitWork is a run of one row's walk that ends at a split's end or at the
// walk's.
type splitWork struct {
	head     int
	from, to int // in wanted
	spare    int // index of its state, or −1: the row's own
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

// prefill cuts the rows so that each thread finds a few pieces, of eight rows at
// least: fewer would expand the blocks too often.
func (a *attend) prefill(d *Device) {
	cuts := 1
	if d.threads > 1 {
		cuts = min((3*d.threads+a.cache.Heads-1)/a.cache.Heads, (a.tile.N+7)/8)
	}
	a.span = (a.tile.N + cuts - 1) / cuts
	cuts = (a.tile.N + a.span - 1) / a.span
	d.team.do(a, a.cache.Heads*cuts)
}

func (a *attend) run(w *worker, piece int) {
	if a.span == 0 {
		a.runSplit(w, a.splits[piece])
		return
	}
	head := piece % a.cache.Heads
	from := piece / a.cache.Heads * a.span
	to := min(a.tile.N, from+a.span)
	next := room(&w.next, a.tile.N)
	clear(next)
	for _, p := range a.parts {
		if p.Head != head {
			continue
		}
		for i, b := range p.Blocks {
			rows := room(&w.rows, a.tile.N)[:0]
			for r := from; r < to; r++ {
				if a.selected(r, head, b, &next[r]) {
					rows = append(rows, r)
				}
			}
			if len(rows) > 0 {
				a.block(w, head, b, p.Slots[i], rows, nil)
			}
		}
	}
}

// selected reports whether a row selected a block. Blocks are asked for in
// ascending order, so next moves along the row's selection and never back.
func (a *attend) selected(row, head int, b int32, next *int) bool {
	at := row*a.sel.Count.Dims[1] + head
	n := int(a.sel.Count.I32()[at])
	if n < 0 {
		return true
	}
	list := a.sel.Blocks.I32()[at*a.sel.Blocks.Dims[2]:][:n]
	for *next < n && list[*next] < b {
		*next++
	}
	return *next < n && list[*next] == b
}

// block adds one block to the states of rows, of all query heads of its KV head.
// own is the state of the only row and first query head, nil for those of the
// tile.
func (a *attend) block(w *worker, head int, b, slot int32, rows []int, own []float32) {
	c, dim, length := a.cache, a.dim, compute.StateLen(a.dim)
	key, val := a.load(w, head, b, slot)
	var bias []float32
	if c.Scores {
		bias = c.Score.F32()[int(a.tile.Tables[head][b])*c.Block:][:c.Block]
	}
	first := a.tile.Pos + 1 - int(b)*c.Block // keys that row 0 sees
	most := min(c.Block, first+rows[len(rows)-1])
	logits := room(&w.logits, 3*c.Block)
	count := len(rows) * a.group
	for i := 0; i < count; i += 3 {
		n := min(3, count-i)
		if n == 3 {
			a.k.dot3(logits, c.Block, a.query(rows, head, i), a.query(rows, head, i+1), a.query(rows, head, i+2), key, dim, most)
		} else {
			for j := range n {
				a.k.dot1(logits[j*c.Block:], a.query(rows, head, i+j), key, dim, most)
			}
		}
		for j := range n {
			r, g := rows[(i+j)/a.group], (i+j)%a.group
			at := r*a.heads + head*a.group + g
			s := own
			if s == nil {
				s = a.state[at*length:]
			} else {
				s = s[g*length:]
			}
			s = s[:length]
			seen := min(c.Block, first+r)
			p := logits[j*c.Block:][:seen]
			decay := a.k.softmax(p, bias, (*[2]float32)(s[1:3]), a.scale)
			a.k.weigh(s[3:3+dim], p, val, decay)
			if s[0]++; s[0] == compute.Split && own == nil {
				a.k.fold(s, dim)
			}
		}
	}
}

// query is the i-th of the queries of rows and of the heads of a group.
func (a *attend) query(rows []int, head, i int) []float32 {
	at := (a.tile.Row+rows[i/a.group])*a.heads + head*a.group + i%a.group
	return a.q[at*a.dim:][:a.dim]
}

// load returns a block's keys, by token, and values as float32.
func (a *attend) load(w *worker, head int, b, slot int32) (key, val []float32) {
	c := a.cache
	n := c.Block * c.Dim
	if int(b) == a.own {
		tail := a.tile.Tail.F32()[head*2*n:][:2*n]
		return a.byToken(w, tail[:n]), tail[n:]
	}
	key, val = room(&w.keys, n), room(&w.values, n)
	decodeBlock(w, a.k, &c.Layout, key, val, c.SlotData(slot))
	return a.byToken(w, key), val
}

func (a *attend) byToken(w *worker, key []float32) []float32 {
	out := room(&w.turned, len(key))
	for d := range a.dim {
		for t, x := range key[d*a.cache.Block : (d+1)*a.cache.Block] {
			out[t*a.dim+d] = x
		}
	}
	return out
}

// fold merges the running split of s into the total and starts the next one, as
// compute does at each split's end.
func (k *kernels) fold(s []float32, dim int) {
	cur, tot := s[1:3+dim], s[3+dim:]
	top := max(cur[0], tot[0])
	var x, y float32
	if top != negInf {
		x = float32(math.Exp(float64(tot[0]) - float64(top)))
		y = float32(math.Exp(float64(cur[0]) - float64(top)))
	}
	s[0] = y // the count has served
	k.weigh(tot[1:], s[:1], cur[1:], x)
	tot[0] = top
	clear(s[:3+dim])
	s[1] = negInf
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

func (f *finish) run(_ *worker, piece int) {
	length := compute.StateLen(f.dim)
	for i := piece * f.step; i < min(len(f.state)/length, (piece+1)*f.step); i++ {
		s := f.state[i*length:][:length]
		if s[0] > 0 {
			f.k.fold(s, f.dim)
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
