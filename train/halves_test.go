package train

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"testing"

	"nosa/compute"
	"nosa/dtype"
	"nosa/weights"
)

// halves is a device whose activations are BF16, as a GPU's are: each op computes in float32 from what it is given and
// rounds what it gives. It panics where it is handed a tensor of the other type.
type halves struct{ compute.Reference }

func (halves) Activations() dtype.Type { return dtype.BF16 }

func (halves) Name() string { return "halves" }

// wide is a copy in float32 of an activation, or of what products read.
func (d halves) wide(x compute.Tensor) compute.Tensor {
	if x.None() {
		return x
	}
	if x.Type != dtype.BF16 {
		panic("an activation of type " + x.Type.String())
	}
	out := compute.F32s(make([]float32, x.Len()), x.Dims[:x.Rank]...)
	d.Copy(out, x)
	return out
}

// floats checks that tensors are float32.
func floats(list ...compute.Tensor) {
	for _, x := range list {
		if !x.None() && x.Type != dtype.F32 {
			panic("a float32 tensor of type " + x.Type.String())
		}
	}
}

// to runs an op on wide copies of what it writes to, and rounds them.
func (d halves) to(op func(wide []compute.Tensor), outs ...compute.Tensor) {
	var list []compute.Tensor
	for _, x := range outs {
		list = append(list, d.wide(x))
	}
	op(list)
	for i, x := range outs {
		d.Copy(x, list[i])
	}
}

func (d halves) Embed(out, table compute.Tensor, ids []int32) {
	d.to(func(o []compute.Tensor) { d.Reference.Embed(o[0], d.wide(table), ids) }, out)
}

func (d halves) RMSNorm(out, x, weight compute.Tensor, eps float32) {
	floats(weight)
	d.to(func(o []compute.Tensor) { d.Reference.RMSNorm(o[0], d.wide(x), weight, eps) }, out)
}

func (d halves) Linear(out, x, weight, bias compute.Tensor) {
	floats(bias)
	d.to(func(o []compute.Tensor) { d.Reference.Linear(o[0], d.wide(x), d.wide(weight), bias) }, out)
}

func (d halves) Rotate(x, angles compute.Tensor, rope *compute.Rope) {
	floats(angles)
	d.to(func(o []compute.Tensor) { d.Reference.Rotate(o[0], angles, rope) }, x)
}

func (d halves) SwiGLU(out, gate, up compute.Tensor) {
	d.to(func(o []compute.Tensor) { d.Reference.SwiGLU(o[0], d.wide(gate), d.wide(up)) }, out)
}

func (d halves) AddScaled(x, y compute.Tensor, scale float32) {
	d.to(func(o []compute.Tensor) { d.Reference.AddScaled(o[0], d.wide(y), scale) }, x)
}

func (d halves) Scale(x compute.Tensor, scale float32) {
	d.to(func(o []compute.Tensor) { d.Reference.Scale(o[0], scale) }, x)
}

func (d halves) Importance(out, v, delta, bias, a compute.Tensor) {
	floats(out, delta, bias, a)
	d.Reference.Importance(out, d.wide(v), delta, bias, a)
}

func (d halves) LinearInputGrad(dx, dy, weight compute.Tensor, add bool) {
	d.to(func(o []compute.Tensor) { d.Reference.LinearInputGrad(o[0], d.wide(dy), d.wide(weight), add) }, dx)
}

func (d halves) LinearWeightGrad(dweight, dbias, dy, x compute.Tensor) {
	floats(dweight, dbias)
	d.Reference.LinearWeightGrad(dweight, dbias, d.wide(dy), d.wide(x))
}

func (d halves) EmbedGrad(dtable, dout compute.Tensor, ids []int32) {
	floats(dtable)
	d.Reference.EmbedGrad(dtable, d.wide(dout), ids)
}

func (d halves) RMSNormGrad(dx, dweight, dy, x, weight compute.Tensor, eps float32, add bool) {
	floats(dweight, weight)
	d.to(func(o []compute.Tensor) {
		d.Reference.RMSNormGrad(o[0], dweight, d.wide(dy), d.wide(x), weight, eps, add)
	}, dx)
}

func (d halves) RotateGrad(dx, angles compute.Tensor, rope *compute.Rope) {
	floats(angles)
	d.to(func(o []compute.Tensor) { d.Reference.RotateGrad(o[0], angles, rope) }, dx)
}

func (d halves) SwiGLUGrad(dgate, dup, dy, gate, up compute.Tensor) {
	d.to(func(o []compute.Tensor) {
		d.Reference.SwiGLUGrad(o[0], o[1], d.wide(dy), d.wide(gate), d.wide(up))
	}, dgate, dup)
}

func (d halves) ImportanceGrad(dv, ddelta, dbias, da, ds, v, delta, bias, a compute.Tensor) {
	floats(ddelta, dbias, da, ds, delta, bias, a)
	d.to(func(o []compute.Tensor) {
		d.Reference.ImportanceGrad(o[0], ddelta, dbias, da, ds, d.wide(v), delta, bias, a)
	}, dv)
}

func (d halves) CrossEntropy(loss, logits compute.Tensor, targets []int32, scale float32) {
	floats(loss)
	d.to(func(o []compute.Tensor) { d.Reference.CrossEntropy(loss, o[0], targets, scale) }, logits)
}

func (d halves) ChooseBlocks(sel compute.Selection, q, k, s compute.Tensor, docs compute.Documents, p compute.SelectParams) {
	floats(s)
	d.Reference.ChooseBlocks(sel, d.wide(q), d.wide(k), s, docs, p)
}

func (d halves) AttendDocuments(out, lse, q, k, v, s compute.Tensor, sel compute.Selection, docs compute.Documents) {
	floats(lse, s)
	d.to(func(o []compute.Tensor) {
		d.Reference.AttendDocuments(o[0], lse, d.wide(q), d.wide(k), d.wide(v), s, sel, docs)
	}, out)
}

func (d halves) AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s compute.Tensor, sel compute.Selection, docs compute.Documents) {
	floats(ds, lse, s)
	d.to(func(o []compute.Tensor) {
		d.Reference.AttendDocumentsGrad(o[0], o[1], o[2], ds, d.wide(dout), d.wide(out), lse, d.wide(q), d.wide(k), d.wide(v), s, sel, docs)
	}, dq, dk, dv)
}

func (d halves) ReceivedLoss(loss, ds, lse, q, k, s compute.Tensor, sel compute.Selection, docs compute.Documents, p compute.SelectParams, scale float32) {
	floats(loss, ds, lse, s)
	d.Reference.ReceivedLoss(loss, ds, lse, d.wide(q), d.wide(k), s, sel, docs, p, scale)
}

func (d halves) AdamW(weight, m, v, grad compute.Tensor, step compute.AdamWStep) {
	floats(weight, m, v, grad)
	d.Reference.AdamW(weight, m, v, grad, step)
}

// On a device of half precision every op is handed what its contract says, and gradients of a model are those of
// float32 but for the rounding: 8 bits of every activation, through a few layers.
func TestHalves(t *testing.T) { nearFloat32(t, halves{}) }

// nearFloat32 holds models on a device of half precision against the same ones in float32.
func nearFloat32(t *testing.T, dev compute.Trainer) {
	t.Helper()
	for _, family := range []string{"nosa", "qwen3"} {
		method := map[string]string{"nosa": "nosa", "qwen3": "full"}[family]
		c := tiny(family, method)
		c.Batch.Recompute = "cheap"
		if family == "nosa" {
			c.Loss.Importance = 0.3
		}
		exact, want := newTiny(t, compute.Reference{}, c, nil)
		rough, got := newTiny(t, dev, c, nil)
		r := someRows(exact.cfg.Vocab)
		a, err := exact.Pass(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := rough.Pass(r)
		if err != nil {
			t.Fatal(err)
		}
		if x, y := total(a), total(b); math.Abs(x-y) > 0.02*x {
			t.Errorf("%s: loss %v, in half precision %v", family, x, y)
		}
		for _, x := range want.list {
			g, err := want.ReadGrad(x.Name)
			if err != nil {
				t.Fatal(err)
			}
			h, err := got.ReadGrad(x.Name)
			if err != nil {
				t.Fatal(err)
			}
			var along, n, m float64
			for i := range g {
				along, n, m = along+float64(g[i])*float64(h[i]), n+float64(g[i])*float64(g[i]), m+float64(h[i])*float64(h[i])
			}
			if cosine := along / math.Sqrt(n*m); !(cosine > 0.98) { // also a choice of blocks may fall the other way
				t.Errorf("%s: %s: cosine %v between the gradients", family, x.Name, cosine)
			}
		}
	}
}

// Masters stay float32: what a run of half precision writes is not rounded to its working copies, and one that goes on
// has the same bits.
func TestHalvesResume(t *testing.T) {
	job := func(out string) Job {
		j := jobOf(t, runConfig(out, ""))
		j.Devices = []compute.Trainer{halves{}}
		return j
	}
	whole, out := t.TempDir(), t.TempDir()
	mustDo(t, job(whole))
	stopped := errors.New("stop")
	ctx, cancel := context.WithCancelCause(context.Background())
	j := job(out)
	j.Report = func(rec Record) {
		if rec.Step == 5 {
			cancel(stopped)
		}
	}
	r := mustOpen(t, j)
	if err := r.Do(ctx); !errors.Is(err, stopped) {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	mustDo(t, job(out))
	want, got := files(t, filepath.Join(whole, nameOf(12))), files(t, filepath.Join(out, nameOf(12)))
	if want[modelFile] != got[modelFile] || want[optimiserFile] != got[optimiserFile] {
		t.Errorf("%v\nwant %v", got, want)
	}
	ck, err := weights.OpenTensors(filepath.Join(out, nameOf(12), modelFile))
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	x, err := ck.Tensor("model.layers.0.mlp.up_proj.weight")
	if err != nil {
		t.Fatal(err)
	}
	fine := 0
	for _, v := range compute.NewTensor(x.Type, x.Data, x.Shape...).F32() {
		if math.Float32bits(v)&0xffff != 0 {
			fine++
		}
	}
	if fine < x.Elements()/2 {
		t.Errorf("%d of %d values have more digits than BF16", fine, x.Elements())
	}
}
