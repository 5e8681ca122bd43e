package weights

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"nosa/dtype"
)

// Tensor is one tensor of a checkpoint.
type Tensor struct {
	Name  string     // transformers' name, such as model.layers.0.self_attn.q_proj.weight
	Type  dtype.Type // number format of Data
	Shape []int      // row-major; a linear layer's is [out, in]; do not change
	Data  []byte     // the file's own bytes, mapped read-only: writing to them is a fault, and so is use after Close
}

// Elements returns the number of elements, the product of the shape.
func (t Tensor) Elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d // checked against overflow when the file was opened
	}
	return n
}

// entry is a tensor as the file has it.
type entry struct {
	Tensor
	stored string // the file's word for a number format that dtype does not know; empty for those it does
}

// Checkpoint is an open model: its tensors, its configuration and the files beside them. Its methods may be called
// from several goroutines at once, Close excepted.
type Checkpoint struct {
	path        string
	format      string
	arch        string
	tensors     map[string]entry
	names       []string // sorted
	config      []byte
	meta        *Metadata
	interleaved bool

	maps  []*mapping
	root  *os.Root // of a folder, nil for GGUF
	bytes int64
}

// Formats, as Checkpoint.Format names them.
const (
	FormatFolder = "safetensors"
	FormatGGUF   = "gguf"
)

// limits of what is read whole
const (
	maxTensors = 1 << 16   // a dense model of 100 layers has some 1,200
	maxConfig  = 16 << 20  // config.json
	maxFile    = 128 << 20 // tokenizer.json and its neighbours; the largest known have 40 MB
)

// Open opens a folder with config.json and safetensors, or a GGUF file. The caller closes the checkpoint when nothing
// uses its tensors any more.
func Open(path string) (*Checkpoint, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	open := openGGUF
	if info.IsDir() {
		open = openFolder
	}
	c, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	c.sortNames()
	return c, nil
}

// OpenBytes opens a GGUF file that lies in memory: one inside the binary, or one that was received. name takes the place of its
// path. data must not change, and begin at a multiple of 8, as its tensors are views of it.
func OpenBytes(name string, data []byte) (*Checkpoint, error) {
	c, err := readGGUF(data)
	if err != nil {
		return nil, fmt.Errorf("weights: %s: %w", name, err)
	}
	c.path = name
	c.sortNames()
	return c, nil
}

func (c *Checkpoint) sortNames() {
	c.names = slices.Sorted(maps.Keys(c.tensors))
}

// Close gives back the mappings. Tensors, and strings of the metadata that were not copied, are gone afterwards.
func (c *Checkpoint) Close() error {
	var errs []error
	for _, m := range c.maps {
		errs = append(errs, m.close())
	}
	if c.root != nil {
		errs = append(errs, c.root.Close())
	}
	c.maps, c.root, c.tensors, c.names, c.meta = nil, nil, nil, nil, nil
	return errors.Join(errs...)
}

// Tensor returns the tensor with the given name: ErrNoTensor when there is none, ErrUnsupported when its number format
// is not one of dtype's.
func (c *Checkpoint) Tensor(name string) (Tensor, error) {
	e, ok := c.tensors[name]
	switch {
	case !ok:
		return Tensor{}, fmt.Errorf("%s: tensor %q: %w", c.path, name, ErrNoTensor)
	case e.Type == dtype.Invalid:
		return Tensor{}, fmt.Errorf("%s: tensor %q is %s: %w", c.path, name, e.stored, ErrUnsupported)
	}
	return e.Tensor, nil
}

// Has says whether there is a tensor with the given name.
func (c *Checkpoint) Has(name string) bool {
	_, ok := c.tensors[name]
	return ok
}

// Names returns the names of all tensors, sorted.
func (c *Checkpoint) Names() []string { return slices.Clone(c.names) }

// Config returns config.json. For GGUF the same keys are put back from the metadata: see ggufConfig.
func (c *Checkpoint) Config() []byte { return c.config }

// Metadata returns GGUF's keys and values; nil, of which every question may be asked, for a folder.
func (c *Checkpoint) Metadata() *Metadata { return c.meta }

// Interleaved says that the rows of q_proj and k_proj, and their biases, are stored in the order of llama.cpp's llama
// family: the pair that rotation i turns is (2i, 2i+1) within each head, not (i, i+dim/2). Rotating adjacent pairs
// gives the same attention, so nothing has to be copied.
func (c *Checkpoint) Interleaved() bool { return c.interleaved }

// Format returns FormatFolder or FormatGGUF.
func (c *Checkpoint) Format() string { return c.format }

// Path returns what Open was given, or the name that OpenBytes was.
func (c *Checkpoint) Path() string { return c.path }

// Bytes returns the size of all tensors together.
func (c *Checkpoint) Bytes() int64 { return c.bytes }

// Check says whether all mapped files, if there are any, still have the size they were opened with: ErrChanged if not.
func (c *Checkpoint) Check() error {
	for _, m := range c.maps {
		if err := m.check(); err != nil {
			return fmt.Errorf("weights: %w", err)
		}
	}
	return nil
}

// File returns a file beside the weights, such as tokenizer.json. The name is a plain one, and 128 MiB are the limit.
// A file that is not there, and any file of a GGUF, is fs.ErrNotExist.
func (c *Checkpoint) File(name string) ([]byte, error) {
	if c.root == nil {
		return nil, &fs.PathError{Op: "read " + name + " beside", Path: c.path, Err: fs.ErrNotExist}
	}
	data, err := readFile(c.root, name, maxFile)
	if err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	return data, nil
}

// add takes up one tensor, refusing a name that was there before.
func (c *Checkpoint) add(e entry) error {
	if _, twice := c.tensors[e.Name]; twice {
		return fmt.Errorf("tensor %q is there twice: %w", e.Name, ErrFormat)
	}
	if len(c.tensors) >= maxTensors {
		return fmt.Errorf("more than %d tensors: %w", maxTensors, ErrTooLarge)
	}
	c.tensors[e.Name] = e
	c.bytes += int64(len(e.Data))
	return nil
}

// shapeElements multiplies dimensions without overflow.
func shapeElements(shape []int) (int, error) {
	n := 1
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension: %w", shape, ErrFormat)
		}
		if d > 0 && n > maxInt/d {
			return 0, fmt.Errorf("shape %v has more than %d elements: %w", shape, maxInt, ErrFormat)
		}
		n *= d
	}
	return n, nil
}

const maxInt = int(^uint(0) >> 1)
