package weights

import (
	"cmp"
	"slices"

	"nosa/dtype"
)

// Description says what is in a checkpoint, for people and for JSON.
type Description struct {
	Path         string       `json:"path"`
	Format       string       `json:"format"`
	Architecture string       `json:"architecture"`
	Parameters   int64        `json:"parameters"`
	Bytes        int64        `json:"bytes"`
	Types        []TypeTotal  `json:"types"` // the largest first
	Tensors      []TensorInfo `json:"tensors"`
	Metadata     []Entry      `json:"metadata,omitempty"` // in the order of the file
}

// TypeTotal sums the tensors of one number format.
type TypeTotal struct {
	Type       string `json:"type"`
	Tensors    int    `json:"tensors"`
	Parameters int64  `json:"parameters"`
	Bytes      int64  `json:"bytes"`
}

// TensorInfo is a tensor without its data.
type TensorInfo struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Shape []int  `json:"shape"`
	Bytes int64  `json:"bytes"`
}

// Entry is a key of GGUF's metadata with its value shortened.
type Entry struct {
	Key   string `json:"key"`
	Kind  string `json:"kind"`
	Value string `json:"value"`
}

// Describe lists what the checkpoint holds, without reading the tensors.
func (c *Checkpoint) Describe() Description {
	d := Description{Path: c.path, Format: c.format, Architecture: c.arch, Bytes: c.bytes}
	totals := map[string]*TypeTotal{}
	for _, name := range c.names {
		e := c.tensors[name]
		kind := e.Type.String()
		if e.Type == dtype.Invalid {
			kind = e.stored
		}
		n, size := int64(e.Elements()), int64(len(e.Data))
		d.Tensors = append(d.Tensors, TensorInfo{name, kind, e.Shape, size})
		d.Parameters += n
		t := totals[kind]
		if t == nil {
			t = &TypeTotal{Type: kind}
			totals[kind] = t
		}
		t.Tensors++
		t.Parameters += n
		t.Bytes += size
	}
	for _, t := range totals {
		d.Types = append(d.Types, *t)
	}
	slices.SortFunc(d.Types, func(a, b TypeTotal) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Type, b.Type))
	})
	for key := range c.meta.Keys() {
		v, _ := c.meta.Get(key)
		kind := v.Kind.String()
		if v.Kind == KindArray {
			kind += " of " + v.Elem.String()
		}
		d.Metadata = append(d.Metadata, Entry{key, kind, v.Text()})
	}
	return d
}

// Architecture returns GGUF's general.architecture or config.json's model_type; empty if the file has none.
func (c *Checkpoint) Architecture() string { return c.arch }
