//go:build linux && amd64

package train

import (
	"errors"
	"testing"

	"nosa/compute"
	"nosa/compute/cuda"
	cudatrain "nosa/compute/cuda/train"
)

// attendsOnHost is a GPU whose attention over documents runs on the host, in half precision too.
type attendsOnHost struct {
	*cudatrain.Device
	host halves
}

// bring is a copy on the host.
func (d attendsOnHost) bring(x compute.Tensor) compute.Tensor {
	if x.None() {
		return x
	}
	to := compute.NewTensor(x.Type, make([]byte, x.Bytes()), x.Dims[:x.Rank]...)
	d.Download(to.Data, x)
	return to
}

func (d attendsOnHost) selection(sel compute.Selection) compute.Selection {
	return compute.Selection{Blocks: d.bring(sel.Blocks), Count: d.bring(sel.Count)}
}

// give copies what the host has made to the GPU.
func (d attendsOnHost) give(to, from compute.Tensor) {
	if !to.None() {
		d.Upload(to, from.Data)
	}
}

func (d attendsOnHost) ChooseBlocks(sel compute.Selection, q, k, s compute.Tensor, docs compute.Documents, p compute.SelectParams) {
	chosen := d.selection(sel)
	d.host.ChooseBlocks(chosen, d.bring(q), d.bring(k), d.bring(s), docs, p)
	d.give(sel.Blocks, chosen.Blocks)
	d.give(sel.Count, chosen.Count)
}

func (d attendsOnHost) AttendDocuments(out, lse, q, k, v, s compute.Tensor, sel compute.Selection, docs compute.Documents) {
	o, l := d.bring(out), d.bring(lse)
	d.host.AttendDocuments(o, l, d.bring(q), d.bring(k), d.bring(v), d.bring(s), d.selection(sel), docs)
	d.give(out, o)
	d.give(lse, l)
}

func (d attendsOnHost) AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s compute.Tensor, sel compute.Selection, docs compute.Documents) {
	a, b, c, e := d.bring(dq), d.bring(dk), d.bring(dv), d.bring(ds)
	d.host.AttendDocumentsGrad(a, b, c, e, d.bring(dout), d.bring(out), d.bring(lse), d.bring(q), d.bring(k), d.bring(v), d.bring(s), d.selection(sel), docs)
	d.give(dq, a)
	d.give(dk, b)
	d.give(dv, c)
	d.give(ds, e)
}

// A GPU trains as float32 does, but for the rounding of activations.
func TestCUDA(t *testing.T) {
	d, err := cudatrain.Open(0)
	if errors.Is(err, cuda.ErrNoDriver) {
		t.Skipf("needs a GPU: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	dev := attendsOnHost{Device: d}
	t.Run("gradients", func(t *testing.T) { nearFloat32(t, dev) })
	t.Run("steps", func(t *testing.T) {
		c := tiny("nosa", "nosa")
		host, want := newTiny(t, halves{}, c, nil)
		gpu, got := newTiny(t, dev, c, nil)
		r := someRows(host.cfg.Vocab)
		for step := 1; step <= 5; step++ {
			a, err := host.Pass(r)
			if err != nil {
				t.Fatal(err)
			}
			b, err := gpu.Pass(r)
			if err != nil {
				t.Fatal(err)
			}
			if x, y := total(a), total(b); !(x-y < 0.02*x && y-x < 0.02*x) {
				t.Fatalf("step %d: loss %v, on the GPU %v", step, x, y)
			}
			if x, y := want.norm(), got.norm(); !(x-y < 0.05*x && y-x < 0.05*x) {
				t.Fatalf("step %d: the gradients' norm is %v, on the GPU %v", step, x, y)
			}
			for _, p := range []*Parameters{want, got} {
				p.update(&c.Optimiser, c.Optimiser.Rate, 1, step)
				p.zeroGrads()
			}
		}
	})
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
