package weights

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"

	"nosa/dtype"
)

// limits of a GGUF header, beside those that the file's length sets
const (
	maxKeys      = 1 << 16
	maxKeyLength = 1<<16 - 1 // the format's own
	maxNesting   = 4         // arrays within arrays
	ggufDims     = 4
	ggufAlign    = 32 // unless general.alignment says otherwise
)

// ggufTypes are GGUF's numbers of number formats.
var ggufTypes = map[uint32]dtype.Type{
	0: dtype.F32, 1: dtype.F16, 2: dtype.Q4_0, 3: dtype.Q4_1, 6: dtype.Q5_0, 7: dtype.Q5_1, 8: dtype.Q8_0,
	12: dtype.Q4_K, 13: dtype.Q5_K, 14: dtype.Q6_K, 26: dtype.I32, 27: dtype.I64, 30: dtype.BF16,
}

// ggufOther names the formats that exist and are not read, so that the refusal can name them.
var ggufOther = map[uint32]string{
	9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL",
	21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0",
	39: "MXFP4", 40: "NVFP4",
}

// openGGUF opens a GGUF file and gives its tensors and keys the names that they have in Hugging Face folders.
func openGGUF(path string) (*Checkpoint, error) {
	f, err := os.OpenFile(path, openFlags, 0)
	if err != nil {
		return nil, err
	}
	m, err := mapFile(f)
	if err != nil {
		return nil, err
	}
	c, err := readGGUF(m.data)
	if err != nil {
		_ = m.close() // the first error is the one to tell
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c.path, c.maps = path, []*mapping{m}
	return c, nil
}

// readGGUF makes a checkpoint of a whole file's bytes.
func readGGUF(data []byte) (*Checkpoint, error) {
	meta, tensors, err := parseGGUF(data)
	if err != nil {
		return nil, err
	}
	if n, ok := meta.Int("split.count"); ok && n > 1 {
		no, _ := meta.Int("split.no")
		return nil, fmt.Errorf("is part %d of %d; put the parts together with llama-gguf-split --merge: %w", no+1, n,
			ErrUnsupported)
	}
	c := &Checkpoint{format: FormatGGUF, meta: meta, tensors: make(map[string]entry, len(tensors))}
	c.arch, _ = meta.String("general.architecture")
	c.interleaved = c.arch == "llama" || c.arch == "minicpm"
	for _, t := range tensors {
		t.Name = FolderName(t.Name)
		if err := c.add(entry{Tensor: t}); err != nil {
			return nil, err
		}
	}
	c.config, err = ggufConfig(c)
	return c, err
}

// parseGGUF reads the header of a whole GGUF file: its metadata, and its tensors under their own names, as views of
// data in the order of their bytes. Shapes are turned round to be row-major.
func parseGGUF(data []byte) (*Metadata, []Tensor, error) {
	r := &reader{data: data}
	magic, err := r.take(4, "magic")
	if err != nil {
		return nil, nil, err
	}
	if !bytes.Equal(magic, []byte("GGUF")) {
		return nil, nil, fmt.Errorf("begins with %q, want \"GGUF\": %w", magic, ErrNoModel)
	}
	version, err := r.uint32("version")
	if err != nil {
		return nil, nil, err
	}
	switch {
	case version == 2 || version == 3:
	case version&0xffff == 0:
		return nil, nil, fmt.Errorf("is big-endian, only little-endian files are read: %w", ErrUnsupported)
	default:
		return nil, nil, fmt.Errorf("has version %d, only 2 and 3 are read: %w", version, ErrUnsupported)
	}
	tensorCount, err := r.count("tensors", maxTensors)
	if err != nil {
		return nil, nil, err
	}
	keyCount, err := r.count("keys", maxKeys)
	if err != nil {
		return nil, nil, err
	}
	meta, err := r.metadata(keyCount)
	if err != nil {
		return nil, nil, err
	}
	table, err := r.tensors(tensorCount)
	if err != nil {
		return nil, nil, err
	}
	align, err := alignment(meta)
	if err != nil {
		return nil, nil, err
	}
	tensors, err := place(table, data, r.at, align)
	return meta, tensors, err
}

func alignment(meta *Metadata) (int, error) {
	v, ok := meta.Get("general.alignment")
	if !ok {
		return ggufAlign, nil
	}
	n, ok := v.Kind.integer(v.raw)
	if !ok || n <= 0 || n&(n-1) != 0 || n > 1<<30 {
		return 0, fmt.Errorf("general.alignment is %s, want a power of two up to 2^30: %w", v.Text(), ErrFormat)
	}
	return int(n), nil
}

// located is a tensor of the table: its description, and where it says that its bytes are.
type located struct {
	Tensor
	offset, size int
}

// place checks the offsets of the table and sets the tensors' bytes. Offsets count from the first aligned byte behind
// the header, are aligned themselves, and no tensor may begin before another's end.
func place(table []located, data []byte, header, align int) ([]Tensor, error) {
	start := len(data) // a file without tensors may end before the next aligned byte
	if pad := -header & (align - 1); pad <= len(data)-header {
		start = header + pad
	}
	body := data[start:]
	slices.SortStableFunc(table, func(a, b located) int { return cmp.Compare(a.offset, b.offset) })
	tensors, at := make([]Tensor, len(table)), 0
	for i, t := range table {
		switch {
		case t.offset%align != 0:
			return nil, fmt.Errorf("tensor %q is at offset %d, not a multiple of %d: %w", t.Name, t.offset, align, ErrFormat)
		case t.offset < at:
			return nil, fmt.Errorf("tensor %q at offset %d begins inside the tensor before it, which ends at %d: %w", t.Name,
				t.offset, at, ErrFormat)
		case t.offset > len(body) || t.size > len(body)-t.offset:
			return nil, fmt.Errorf("tensor %q has %d bytes at offset %d, but the file has only %d: %w (%w)", t.Name, t.size,
				t.offset, len(body), ErrTruncated, ErrFormat)
		}
		at = t.offset + t.size
		t.Data = body[t.offset:at:at]
		tensors[i] = t.Tensor
	}
	return tensors, nil
}
