package prefill

import (
	"errors"

	"nosa/compute"
	"nosa/compute/cuda/driver"
	"nosa/compute/cuda/step"
)

// timed is a GPU that marks, when asked to, where one part of the work ends and another
// begins: with an event in its stream, so that nothing waits. What the GPU waits for the host
// goes to the part that comes to its end.
type timed struct {
	*step.Device
	on    bool
	part  int
	marks []mark
	free  []driver.Event
	sums  [partCount]float64 // milliseconds
}

// The parts of a pass.
const (
	rest = iota
	products
	scores
	selection
	attend
	partCount
)

var partNames = [partCount]string{"rest", "products", "scores", "select", "attention"}

// mark is where a part begins.
type mark struct {
	part int
	at   driver.Event
}

// to marks the beginning of a part, if it is another one.
func (d *timed) to(part int) {
	if !d.on || part == d.part {
		return
	}
	d.mark(part)
}

func (d *timed) mark(part int) {
	var e driver.Event
	if n := len(d.free); n > 0 {
		e, d.free = d.free[n-1], d.free[:n-1]
	} else {
		var err error
		if e, err = d.Context().NewEvent(true); err != nil {
			d.Fail(err)
			return
		}
	}
	d.Context().Record(e, d.Stream())
	d.part = part
	d.marks = append(d.marks, mark{part, e})
}

// begin begins to time parts.
func (d *timed) begin() error {
	if err := d.Sync(); err != nil {
		return err
	}
	d.on, d.sums = true, [partCount]float64{}
	d.mark(rest)
	return nil
}

// Sync waits, and adds up what was marked.
func (d *timed) Sync() error {
	if !d.on {
		return d.Device.Sync()
	}
	d.mark(d.part)
	err := d.Device.Sync()
	for i := 0; i+1 < len(d.marks) && err == nil; i++ {
		var ms float64
		ms, err = d.Context().Elapsed(d.marks[i].at, d.marks[i+1].at)
		d.sums[d.marks[i].part] += ms
	}
	last := len(d.marks) - 1
	for _, m := range d.marks[:last] {
		d.free = append(d.free, m.at)
	}
	d.marks = append(d.marks[:0], d.marks[last])
	return err
}

// end is what the parts took; err is passed on.
func (d *timed) end(err error) ([]Part, error) {
	err = errors.Join(err, d.Sync())
	d.on = false
	for _, m := range d.marks {
		d.free = append(d.free, m.at)
	}
	for _, e := range d.free {
		err = errors.Join(err, d.Context().FreeEvent(e))
	}
	d.marks, d.free = d.marks[:0], nil
	var parts []Part
	for i, ms := range d.sums {
		if ms > 0 {
			parts = append(parts, Part{partNames[i], ms / 1e3})
		}
	}
	return parts, err
}

func (d *timed) Embed(out, table compute.Tensor, ids []int32) {
	d.to(rest)
	d.Device.Embed(out, table, ids)
}

func (d *timed) Importance(out, v, delta, bias, a compute.Tensor) {
	d.to(rest)
	d.Device.Importance(out, v, delta, bias, a)
}

func (d *timed) Append(c *compute.Cache, t compute.Tile, k, v, s compute.Tensor) {
	d.to(rest)
	d.Device.Append(c, t, k, v, s)
}

func (d *timed) Seal(c *compute.Cache, t compute.Tile, head int, slot int32) {
	d.to(rest)
	d.Device.Seal(c, t, head, slot)
}

func (d *timed) ScoreBlocks(out, q compute.Tensor, c *compute.Cache, t compute.Tile) {
	d.to(scores)
	d.Device.ScoreBlocks(out, q, c, t)
}

func (d *timed) ScoreImportance(out compute.Tensor, c *compute.Cache, t compute.Tile) {
	d.to(scores)
	d.Device.ScoreImportance(out, c, t)
}

func (d *timed) Select(sel compute.Selection, byQuery, byScore compute.Tensor, t compute.Tile, block int, p compute.SelectParams) {
	d.to(selection)
	d.Device.Select(sel, byQuery, byScore, t, block, p)
}

func (d *timed) AttendBegin(state compute.Tensor, t compute.Tile, heads, dim int) {
	d.to(attend)
	d.Device.AttendBegin(state, t, heads, dim)
}

func (d *timed) Attend(state, q compute.Tensor, c *compute.Cache, t compute.Tile, sel compute.Selection, parts []compute.Part) {
	d.to(attend)
	d.Device.Attend(state, q, c, t, sel, parts)
}

func (d *timed) AttendEnd(out, state compute.Tensor, t compute.Tile) {
	d.to(attend)
	d.Device.AttendEnd(out, state, t)
}

// AppendTiles: see compute.TilesDevice.
func (d *timed) AppendTiles(c *compute.Cache, tiles []compute.Tile, k, v, s compute.Tensor) {
	d.to(rest)
	d.Device.AppendTiles(c, tiles, k, v, s)
}

func (d *timed) SealTiles(c *compute.Cache, tiles []compute.Tile, slots []int32) {
	d.to(rest)
	d.Device.SealTiles(c, tiles, slots)
}

// SelectTiles: scores are in it.
func (d *timed) SelectTiles(sel compute.Selection, q compute.Tensor, c *compute.Cache, tiles []compute.Tile, p compute.SelectParams) {
	d.to(selection)
	d.Device.SelectTiles(sel, q, c, tiles, p)
}

func (d *timed) AttendTiles(out, q compute.Tensor, c *compute.Cache, tiles []compute.Tile, sel compute.Selection, slots [][]int32) {
	d.to(attend)
	d.Device.AttendTiles(out, q, c, tiles, sel, slots)
}

// NewPacked: its products are a part, with the norms and rotations between them.
func (d *timed) NewPacked(m compute.Decoder) (compute.Packed, error) {
	p, err := d.Device.NewPacked(m)
	if err != nil {
		return nil, err
	}
	return timedPacked{p, d}, nil
}

type timedPacked struct {
	compute.Packed
	d *timed
}

func (p timedPacked) Project(layer int, q, k, v, x, angles compute.Tensor) {
	p.d.to(products)
	p.Packed.Project(layer, q, k, v, x, angles)
}

func (p timedPacked) Join(layer int, x, o compute.Tensor) {
	p.d.to(products)
	p.Packed.Join(layer, x, o)
}

func (p timedPacked) MLP(layer int, x compute.Tensor) {
	p.d.to(products)
	p.Packed.MLP(layer, x)
}

func (p timedPacked) Logits(out, x compute.Tensor) {
	p.d.to(products)
	p.Packed.Logits(out, x)
}
