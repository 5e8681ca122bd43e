//go:build linux && amd64

package step

import (
	"errors"
	"fmt"
	"unsafe"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// replaying writes a Replay's selections over those that a step's layers chose.
type replaying struct {
	d           *cuda.Device
	g           *gpu
	r           *Replay
	data, first compute.Tensor
	write       driver.Function
}

// newReplaying uploads a Replay, once.
func newReplaying(d *cuda.Device, g *gpu, r *Replay) (*replaying, error) {
	p := &replaying{d: d, g: g, r: r}
	if err := g.load("replay", map[string]*driver.Function{"step_replay": &p.write}); err != nil {
		return nil, err
	}
	for _, x := range []struct {
		to   *compute.Tensor
		from []byte
	}{
		{&p.data, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(r.data))), 2*len(r.data))},
		{&p.first, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(r.first))), 4*len(r.first))},
	} {
		t, err := d.Alloc(dtype.U8, len(x.from))
		if err != nil {
			return nil, fmt.Errorf("replay of selections: %w", errors.Join(err, p.close()))
		}
		*x.to = t
		d.Upload(t, x.from)
	}
	return p, nil
}

func (p *replaying) close() error {
	p.d.Free(p.data)
	p.d.Free(p.first)
	return nil
}

type replayArgs struct {
	rows                                     rowsArgs
	to                                       selectionArgs
	data, first                              uintptr
	steps, layers, layer, seats, heads, free int32
	init, local, block                       int32
	_                                        int32
}

// replay posts the selections of a layer's rows, behind its choose. to has places for K.
func (p *replaying) replay(rows rowsArgs, layer int, to selectionArgs) {
	o := p.r.o
	a := replayArgs{rows: rows, to: to, data: p.data.Addr, first: p.first.Addr,
		steps: int32(o.Steps), layers: int32(o.Layers), layer: int32(layer), seats: int32(len(p.r.first)), heads: int32(o.Heads), free: int32(p.r.free),
		init: int32(o.Select.Init), local: int32(o.Select.Local), block: int32(o.Block)}
	launchEarly(p.g, p.write, driver.Dim{X: int(rows.n), Y: o.Heads, Z: 1}, 64, 0, &a)
}
