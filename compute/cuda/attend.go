//go:build linux && amd64

package cuda

import (
	"fmt"

	"nosa/compute"
)

// attendArgs is the struct of attend.cu.
type attendArgs struct {
	l                                           LayoutArgs
	state, out, q, slots, score, tail           uintptr
	tables, selected, count, wanted, list, part uintptr
	blocks, group, places, own, pos, most       int32
}

// AttendBegin: see the definition.
func (d *Device) AttendBegin(state compute.Tensor, t compute.Tile, heads, dim int) {
	a := attendArgs{l: LayoutArgs{Dim: int32(dim)}, state: state.Addr}
	launch(d, d.k.attendBegin, grid(t.N*heads, 1, 1), 128, 0, &a)
}

// Attend: see the definition. Blocks run beside each other, then join the state.
func (d *Device) Attend(state, q compute.Tensor, c *compute.Cache, t compute.Tile, sel compute.Selection, parts []compute.Part) {
	if d.tiles(c.Layout) {
		d.attendTile(state, q, c, t, sel, parts)
		return
	}
	most := 0
	total := make([]int, c.Heads)
	for _, p := range parts {
		total[p.Head] += len(p.Blocks)
		most = max(most, total[p.Head])
	}
	if most == 0 {
		return
	}
	heads, blocks := q.Dims[1], t.Own(c.Block)+1
	group := heads / c.Heads
	shared := 16*ceil(group, 4)*(c.Dim+c.Block) + ceil(c.BlockBytes(), 16)*16
	if shared > d.props.SharedMemory {
		panic(fmt.Sprintf("cuda: %d query heads of %d channels on blocks of %d tokens take %d bytes of shared memory, there are %d",
			group, c.Dim, c.Block, shared, d.props.SharedMemory))
	}
	a := attendArgs{l: LayoutOf(c.Layout), slots: c.Slots.Addr, tail: t.Tail.Addr, wanted: d.wanted(c.Heads, most, parts),
		blocks: int32(blocks), group: int32(group), places: int32(sel.Blocks.Dims[2]),
		own: int32(blocks - 1), most: int32(most)}
	if c.Scores {
		a.score = c.Score.Addr
		a.tables = list(d, tables(t, c.Heads, blocks)...)
	}
	lists, sums := 4*c.Heads*(1+most), 4*heads*most*(2+c.Dim)
	step := rowsAtOnce(t.N, lists+sums)
	scratch, err := d.scratch.need(d.ctx, step*(lists+sums))
	if err != nil {
		d.keep(err)
		return
	}
	for r := 0; r < t.N; r += step {
		n := min(step, t.N-r)
		a.pos = int32(t.Pos + r)
		a.q = q.Addr + uintptr(4*(t.Row+r)*heads*c.Dim)
		a.state = state.Addr + uintptr(4*r*heads*compute.StateLen(c.Dim))
		a.selected = sel.Blocks.Addr + uintptr(4*r*c.Heads*sel.Blocks.Dims[2])
		a.count = sel.Count.Addr + uintptr(4*r*c.Heads)
		a.list, a.part = scratch, scratch+uintptr(n*lists)
		launch(d, d.k.attendList, grid(n, c.Heads, 1), 128, 0, &a)
		launch(d, d.k.attendBlock[c.Type], grid(most, c.Heads, n), 128, shared, &a)
		launch(d, d.k.attendFold, grid(n, heads, 1), 128, 0, &a)
	}
}

// wanted is the list of a call's blocks and their slots, by KV head: [heads, 1+2·most].
func (d *Device) wanted(heads, most int, parts []compute.Part) uintptr {
	w := make([]int32, heads*(1+2*most))
	for _, p := range parts {
		row := w[p.Head*(1+2*most):][:1+2*most]
		n := int(row[0])
		copy(row[1+n:], p.Blocks)
		copy(row[1+most+n:], p.Slots)
		row[0] += int32(len(p.Blocks))
	}
	return list(d, w)
}

// AttendEnd: see the definition.
func (d *Device) AttendEnd(out, state compute.Tensor, t compute.Tile) {
	heads, dim := out.Dims[1], out.Dims[2]
	a := attendArgs{l: LayoutArgs{Heads: int32(heads), Dim: int32(dim)}, group: 1,
		state: state.Addr, out: out.Addr + uintptr(4*t.Row*heads*dim)}
	launch(d, d.k.attendEnd, grid(t.N, heads, 1), 128, 0, &a)
}
