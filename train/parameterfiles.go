package train

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"nosa/compute"
	"nosa/dtype"
	"nosa/weights"
)

// load takes values from a file of tensors, and returns the names that it does not have.
func (p *Parameters) load(ck *weights.Checkpoint) (missing []*Parameter, err error) {
	for _, x := range p.list {
		if !ck.Has(x.Name) {
			missing = append(missing, x)
			continue
		}
		if err := loadInto(p.dev, x.value, ck, x.Name); err != nil {
			return nil, err
		}
	}
	return missing, p.dev.Sync()
}

// loadInto expands a tensor of a file into memory of the device.
func loadInto(dev compute.Device, to compute.Tensor, ck *weights.Checkpoint, name string) error {
	t, err := ck.Tensor(name)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	if t.Elements() != to.Len() {
		return fmt.Errorf("train: %s: %s is %v, which is not the %d elements that are trained", ck.Path(), name, t.Shape, to.Len())
	}
	v := make([]float32, to.Len())
	if err := weights.Guard(func() error { dtype.Decode(t.Type, v, t.Data); return nil }); err != nil {
		return fmt.Errorf("train: %s: %w", ck.Path(), err)
	}
	dev.Upload(to, compute.F32s(v, len(v)).Data)
	return dev.Sync() // v is the host's again
}

// sources are the masters, to be written.
func (p *Parameters) sources() []weights.Source {
	var out []weights.Source
	for _, x := range p.list {
		out = append(out, p.source(x.Name, x.Shape, x.value))
	}
	return out
}

// trained are the masters of what is trained.
func (p *Parameters) trained() []weights.Source {
	var out []weights.Source
	for _, x := range p.list {
		if x.treated.trained {
			out = append(out, p.source(x.Name, x.Shape, x.value))
		}
	}
	return out
}

// moments are the optimiser's state, to be written.
func (p *Parameters) moments() []weights.Source {
	var out []weights.Source
	for _, x := range p.list {
		if x.treated.trained {
			out = append(out, p.source(x.Name+meanEnding, x.Shape, x.mean), p.source(x.Name+squareEnding, x.Shape, x.square))
		}
	}
	return out
}

// Endings of the names of the optimiser's tensors.
const (
	meanEnding   = ".mean"
	squareEnding = ".square"
)

func (p *Parameters) source(name string, shape []int, t compute.Tensor) weights.Source {
	return weights.Source{Name: name, Type: dtype.F32, Shape: shape, Write: func(w io.Writer) error {
		v, err := p.download(t)
		if err != nil {
			return err
		}
		data := make([]byte, 0, 4*len(v))
		for _, x := range v {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
		}
		_, err = w.Write(data)
		return err
	}}
}

// loadMoments takes the optimiser's state from a file.
func (p *Parameters) loadMoments(ck *weights.Checkpoint) error {
	for _, x := range p.list {
		if !x.treated.trained {
			continue
		}
		if err := loadInto(p.dev, x.mean, ck, x.Name+meanEnding); err != nil {
			return err
		}
		if err := loadInto(p.dev, x.square, ck, x.Name+squareEnding); err != nil {
			return err
		}
	}
	return nil
}
