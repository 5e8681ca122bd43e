package attention

import (
	"math"
	"slices"
	"strconv"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// documentsDevice is what a device that trains does of attention.
type documentsDevice interface {
	compute.Device
	ChooseBlocks(sel compute.Selection, q, k, s compute.Tensor, d compute.Documents, p compute.SelectParams)
	AttendDocuments(out, lse, q, k, v, s compute.Tensor, sel compute.Selection, d compute.Documents)
}

// TestExampleDocuments holds attention as it is trained against the worked example: blocks
// equal, outputs within 1e-6. The example is the second of three documents, of which the
// last is its first half.
func TestExampleDocuments(t *testing.T) {
	x := loadExample(t)
	n, heads, dim := x.Shape.Tokens, x.Shape.KVHeads*x.Shape.Group, x.Shape.HeadDim
	const before = 13
	for name, expect := range x.Expect {
		m, err := ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		c := Constants{
			Block: x.Config.BlockSize, Kernel: x.Config.KernelSize, Stride: x.Config.KernelStride, Init: x.Config.InitBlocks,
			Local: x.Config.LocalBlocks, K: x.Config.TopK, Query: x.Config.TopKQ, DenseLen: x.Config.DenseLen,
		}
		docs := compute.Documents{
			Begins: []int32{0, before, int32(before + n), int32(before + n + n/2)},
			Block:  c.Block, Kernel: c.Kernel, Stride: c.Stride,
		}
		rows := before + n + n/2
		for _, dev := range testDevices(t) {
			trainer, ok := dev.(documentsDevice)
			if !ok {
				t.Logf("%s does not train", dev.Name())
				continue
			}
			t.Run(name+"/"+dev.Info(), func(t *testing.T) {
				put := func(v []float32, shape ...int) compute.Tensor {
					d, err := dev.Alloc(dtype.F32, shape...)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { dev.Free(d) })
					dev.Upload(d, compute.F32s(v, len(v)).Data)
					return d
				}
				// packed puts x's rows where the second document is, and their first half behind it.
				packed := func(x [][][]float64, heads int) compute.Tensor {
					v := floats(flat(flat(x)))
					all := append(make([]float32, before*heads*dim), v...)
					return put(append(all, v[:n/2*heads*dim]...), rows, heads, dim)
				}
				q, k, v := packed(x.Q, heads), packed(x.K, x.Shape.KVHeads), packed(x.V, x.Shape.KVHeads)
				var s compute.Tensor
				if m.Keeps().Scores {
					score := floats(flat(x.Score))
					all := append(make([]float32, before*x.Shape.KVHeads), score...)
					s = put(append(all, score[:n/2*x.Shape.KVHeads]...), rows, x.Shape.KVHeads)
				}
				var sel compute.Selection
				if p := m.Params(c); p.ByQuery || p.ByScore {
					places := p.Most()
					sel.Blocks, err = dev.Alloc(dtype.I32, rows, x.Shape.KVHeads, places)
					if err != nil {
						t.Fatal(err)
					}
					sel.Count, err = dev.Alloc(dtype.I32, rows, x.Shape.KVHeads)
					if err != nil {
						t.Fatal(err)
					}
					trainer.ChooseBlocks(sel, q, k, s, docs, p)
				}
				out, lse := put(make([]float32, rows*heads*dim), rows, heads, dim), put(make([]float32, rows*heads), rows, heads)
				trainer.AttendDocuments(out, lse, q, k, v, s, sel, docs)
				if err := dev.Sync(); err != nil {
					t.Fatal(err)
				}
				results := make([]float32, out.Len())
				dev.Download(compute.F32s(results, len(results)).Data, out)
				chosen := hostSelection(dev, sel)
				for at, want := range expect {
					pos, err := strconv.Atoi(at)
					if err != nil {
						t.Fatal(err)
					}
					firsts := []int{before}
					if pos < n/2 {
						firsts = append(firsts, before+n)
					}
					for _, first := range firsts {
						for h, w := range want.Blocks {
							if chosen.None() {
								break
							}
							if got := chosen.List(first+pos, h, pos/c.Block); !slices.Equal(got, w) {
								t.Errorf("position %d, KV head %d: blocks %v, want %v", pos, h, got, w)
							}
						}
						row := results[(first+pos)*heads*dim:]
						for i, w := range flat(want.Out) {
							if math.Abs(float64(row[i])-w) > 1e-6 {
								t.Errorf("position %d, output %d: %v, want %v", pos, i, row[i], w)
							}
						}
					}
				}
			})
		}
	}
}

// hostSelection is a selection that the host reads.
func hostSelection(dev compute.Device, sel compute.Selection) compute.Selection {
	if sel.None() {
		return sel
	}
	ints := func(x compute.Tensor) compute.Tensor {
		y := compute.I32s(make([]int32, x.Len()), x.Dims[:x.Rank]...)
		dev.Download(y.Data, x)
		return y
	}
	return compute.Selection{Blocks: ints(sel.Blocks), Count: ints(sel.Count)}
}
