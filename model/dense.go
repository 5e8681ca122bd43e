package model

import (
	"fmt"

	"nosa/compute"
	"nosa/dtype"
)

// ops is the dense part of a decoder by a device's ops, in float32.
type ops struct {
	dev compute.Device
	m   *Model

	rows     int
	h        compute.Tensor // [rows, hidden]
	gate, up compute.Tensor // [rows, intermediate]
}

var _ compute.Dense = (*ops)(nil)

// opsBytes is the device memory that ops takes for so many rows.
func (c *Config) opsBytes(rows int) int64 {
	return 4 * int64(rows) * (int64(c.Hidden) + 2*int64(c.Intermediate))
}

// Reserve: see compute.Dense.
func (o *ops) Reserve(rows int) error {
	if rows <= o.rows {
		return nil
	}
	if err := o.Close(); err != nil {
		return err
	}
	for _, t := range []struct {
		to    *compute.Tensor
		width int
	}{{&o.h, o.m.Hidden}, {&o.gate, o.m.Intermediate}, {&o.up, o.m.Intermediate}} {
		var err error
		if *t.to, err = o.dev.Alloc(dtype.F32, rows, t.width); err != nil {
			return fmt.Errorf("model: memory of %d rows: %w", rows, err)
		}
	}
	o.rows = rows
	return nil
}

// Close gives the memory back.
func (o *ops) Close() error {
	for _, t := range []*compute.Tensor{&o.h, &o.gate, &o.up} {
		if !t.None() {
			o.dev.Free(*t)
			*t = compute.Tensor{}
		}
	}
	o.rows = 0
	return nil
}

// Project: see compute.Dense.
func (o *ops) Project(layer int, q, k, v, x, angles compute.Tensor) {
	d, m, y, n := o.dev, o.m, &o.m.layers[layer], x.Dims[0]
	h := o.h.Rows(0, n)
	d.RMSNorm(h, x, y.AttnNorm, m.Eps)
	d.Linear(k, h, y.K.Weight, y.K.Bias)
	d.Linear(v, h, y.V.Weight, y.V.Bias)
	if m.QKNorm {
		d.RMSNorm(k, k, y.KNorm, m.Eps)
	}
	d.Rotate(k, angles, m.rope)
	from := n - q.Dims[0]
	if from == n {
		return
	}
	d.Linear(q, h.Rows(from, n), y.Q.Weight, y.Q.Bias)
	if m.QKNorm {
		d.RMSNorm(q, q, y.QNorm, m.Eps)
	}
	d.Rotate(q, angles.Rows(from, n), m.rope)
}

// Join: see compute.Dense.
func (o *ops) Join(layer int, x, attended compute.Tensor) {
	h, y := o.h.Rows(0, x.Dims[0]), &o.m.layers[layer]
	o.dev.Linear(h, attended, y.O.Weight, y.O.Bias)
	o.dev.AddScaled(x, h, o.m.ResidualScale)
}

// MLP: see compute.Dense.
func (o *ops) MLP(layer int, x compute.Tensor) {
	d, y, n := o.dev, &o.m.layers[layer], x.Dims[0]
	h, gate, up := o.h.Rows(0, n), o.gate.Rows(0, n), o.up.Rows(0, n)
	d.RMSNorm(h, x, y.MLPNorm, o.m.Eps)
	d.Linear(gate, h, y.Gate.Weight, y.Gate.Bias)
	d.Linear(up, h, y.Up.Weight, y.Up.Bias)
	d.SwiGLU(gate, gate, up)
	d.Linear(h, gate, y.Down.Weight, y.Down.Bias)
	d.AddScaled(x, h, o.m.ResidualScale)
}

// Logits: see compute.Dense.
func (o *ops) Logits(out, x compute.Tensor) {
	h := o.h.Rows(0, x.Dims[0])
	o.dev.RMSNorm(h, x, o.m.norm, o.m.Eps)
	if o.m.LogitScale != 1 {
		o.dev.Scale(h, o.m.LogitScale)
	}
	o.dev.Linear(out, h, o.m.head, compute.Tensor{})
}
