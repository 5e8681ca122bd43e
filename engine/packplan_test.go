package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/step"
)

// packer packs weights into one and a half times their bytes, and takes 100 bytes a row.
type packer struct {
	compute.Reference
	refuse error
}

func (p packer) NewPacked(compute.Decoder) (compute.Packed, error) { return nil, p.refuse }

func (p packer) PackedBytes(m compute.Decoder, rows int) (int64, error) {
	n := m.Head.Bytes()
	for _, y := range m.Layers {
		for _, w := range []compute.Projection{y.Q, y.K, y.V, y.O, y.Gate, y.Up, y.Down} {
			n += w.Weight.Bytes()
		}
	}
	return int64(n*3/2 + 100*rows), p.refuse
}

// TestPlanPacked: packed weights are counted in place of those of the checkpoint, and once.
func TestPlanPacked(t *testing.T) {
	src, err := OpenSource(randomModel(t, 2, 8))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	o := NewOptions()
	o.Context = 4096
	planOn := func(dev compute.Device) *Plan {
		_, s, p, err := src.prepare(o, dev)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: packedChunk, false: DefaultChunk}[s.packing != nil]; dev == (packer{}) && s.Chunk != want {
			t.Errorf("a chunk of %d, want %d", s.Chunk, want)
		}
		return p
	}
	plain := planOn(compute.Reference{})
	if p := planOn(packer{refuse: fmt.Errorf("float32: %w", compute.ErrPack)}); p.Weights != plain.Weights {
		t.Errorf("weights that are not packed take %d bytes, want %d", p.Weights, plain.Weights)
	}
	const table = 2 * 512 * 192
	const matrices = 2*2*(192*192*2+64*192*2+3*256*192) + table
	p := planOn(packer{})
	if p.Weights != plain.Weights+matrices/2-table {
		t.Errorf("packed weights take %d bytes, others %d, of which matrices are %d and the table %d", p.Weights, plain.Weights, matrices, table)
	}
	if o.Chunk = packedChunk; p.Step-planOn(compute.Reference{}).Step != packedChunk*(100-4*(192+2*256)) {
		t.Errorf("a step takes %d bytes packed, %d by ops", p.Step, planOn(compute.Reference{}).Step)
	}
}

// TestPackedFits: on a GPU a model with its steps takes no more than was planned.
func TestPackedFits(t *testing.T) {
	dev, err := step.New(cuda.Options{})
	if errors.Is(err, cuda.ErrNoDriver) {
		t.Skipf("needs a GPU: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	src, err := OpenSource(randomModel(t, 2, 8))
	if err != nil {
		t.Fatal(err)
	}
	o := NewOptions()
	o.Context, o.Sequences, o.Chunk = 1024, 2, 256
	e, err := Open(dev, src, o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if e.dec == nil || e.set.packing == nil {
		t.Fatalf("steps %v, packing %v", e.dec, e.set.packing)
	}
	took := dev.(interface{ Allocated() int64 }).Allocated()
	if p := e.Plan(); took > p.Device || took < p.Weights {
		t.Errorf("%d bytes are taken, %d were planned, of which weights %d", took, p.Device, p.Weights)
	}
	if _, err := e.Generate(context.Background(), Request{IDs: someIDs(300, src.Config.Vocab), MaxTokens: 3, IgnoreEnd: true}); err != nil {
		t.Error(err)
	}
}
