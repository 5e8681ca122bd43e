package convert

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"nosa/dtype"
	"nosa/weights"
)

// Options says what to change on the way; the zero value keeps all it can.
type Options struct {
	// Type is the number format of matrices: F32, F16 or BF16, and for GGUF Q8_0 and Q4_0. Norms, biases and importance
	// scores stay F32 in GGUF; matrices whose rows are no whole blocks become F16; with Q4_0 the embedding and the
	// output layer become Q8_0, as they lose most. Invalid keeps the source's formats, and expands quantised ones to F32
	// where the target is a folder.
	Type dtype.Type
	// Plain leaves NOSA's importance scores out, so that other programs can run the model with full attention.
	Plain bool
	// Adapter is the folder of a checkpoint of nosa train whose base is src, a folder: its config.json and AdapterFile are laid
	// over src. Empty: none.
	Adapter string
	// Shard is the most bytes of tensors in one safetensors file; 0: 5 GB.
	Shard int64
	// Progress is told how many bytes of tensors have been written.
	Progress weights.Progress
}

// ErrUnsupported is returned for models, tokenizers and settings that the target format or nosa has no words for.
var ErrUnsupported = errors.New("cannot be converted")

// ErrValue is returned when a value does not fit the number format asked for: infinity or NaN in a quantised block, or a
// magnitude that would become infinity.
var ErrValue = errors.New("value does not fit the number format")

// Convert writes the model at src, a folder or a GGUF file, to dst: see Write.
func Convert(ctx context.Context, src, dst string, opts Options) (err error) {
	c, err := weights.Open(src)
	if err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return Write(ctx, c, dst, opts)
}

// Write writes a model to dst: to a GGUF file when dst ends in .gguf, to a folder otherwise. dst must not exist; it appears
// when it is complete, and not at all after an error or when ctx ends. An adapter stays laid over the model.
func Write(ctx context.Context, c *weights.Checkpoint, dst string, opts Options) error {
	toGGUF := strings.EqualFold(suffix(dst), ".gguf")
	if opts.Type != dtype.Invalid && (!opts.Type.Encodes() || opts.Type.Quantised() && !toGGUF) {
		return fmt.Errorf("convert: %s cannot be written to %s: choose F32, F16 or BF16, or for GGUF also Q8_0 or Q4_0: %w",
			opts.Type, dst, ErrUnsupported)
	}
	if opts.Adapter != "" {
		if err := overlay(c, opts.Adapter); err != nil {
			return fmt.Errorf("convert: adapter: %w", err)
		}
	}
	write := writeFolder
	if toGGUF {
		write = writeGGUF
	}
	// The source is mapped: should its file be cut short meanwhile, that is an error and not the end of the process.
	if err := weights.Guard(func() error { return write(ctx, c, dst, opts) }); err != nil {
		return fmt.Errorf("convert %s: %w", c.Path(), err)
	}
	return nil
}

func suffix(path string) string { return path[max(0, len(path)-len(".gguf")):] }

// model is what both directions need to know of a source.
type model struct {
	*weights.Checkpoint
	config *config
	arch   string // GGUF's name of the architecture to be written
	vocab  int    // rows of the embedding
}

const (
	embeddingName = "model.embed_tokens.weight"
	outputName    = "lm_head.weight"

	maxVocab = 1 << 24
)

func inspect(c *weights.Checkpoint, plain bool) (*model, error) {
	cfg, err := parseConfig(c.Config())
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	m := &model{Checkpoint: c, config: cfg}
	m.arch, err = cfg.architecture(c.Has("model.layers.0.self_attn.delta.weight"), plain)
	if err != nil {
		return nil, err
	}
	return m, m.check()
}

// interleaved says whether llama.cpp has the rows of q and k of the architecture in its own order.
func interleaved(arch string) bool { return arch == "llama" || arch == "minicpm" }

// scores says whether the tensor is of NOSA's importance score.
func scores(name string) bool {
	return strings.Contains(name, ".self_attn.delta.") || strings.HasSuffix(name, ".self_attn.A")
}

// derived are tensors that hold what config.json says too.
func derived(name string) bool {
	return strings.HasPrefix(name, "rope_f") && !strings.HasPrefix(name, "model.") ||
		strings.HasSuffix(name, ".rotary_emb.inv_freq")
}

// tensors returns the tensors to be written in the order of layers, by transformers' names.
func (m *model) tensors(plain bool) ([]weights.Tensor, error) {
	var out []weights.Tensor
	for _, name := range ordered(m.Names()) {
		if derived(name) || plain && scores(name) || m.config.Tied && name == outputName {
			continue
		}
		t, err := m.Tensor(name)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// ordered sorts names so that layer 2 comes before layer 10, between the embedding and what follows the layers.
func ordered(names []string) []string {
	slices.SortStableFunc(names, func(a, b string) int {
		if d := place(a) - place(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return names
}

func place(name string) int {
	if rest, ok := strings.CutPrefix(name, "model.layers."); ok {
		n := 0
		for _, r := range rest {
			if r < '0' || r > '9' || n > 1<<20 {
				break
			}
			n = 10*n + int(r-'0')
		}
		return 1 + n
	}
	if strings.HasPrefix(name, "model.embed_tokens") {
		return 0
	}
	return 1 << 30
}

// check holds the embedding and the tensors that are reordered against the configuration.
func (m *model) check() error {
	embedding, err := m.Tensor(embeddingName)
	if err != nil {
		return err
	}
	if len(embedding.Shape) != 2 || embedding.Shape[1] != m.config.Hidden || embedding.Shape[0] > maxVocab {
		return fmt.Errorf("tensor %q has shape %v, want [vocabulary, %d]: %w", embeddingName, embedding.Shape, m.config.Hidden,
			weights.ErrFormat)
	}
	m.vocab = embedding.Shape[0]
	for _, name := range m.Names() {
		heads, ok := m.heads(name)
		if !ok {
			continue
		}
		t, err := m.Tensor(name)
		if err != nil {
			return err
		}
		if len(t.Shape) == 0 || t.Shape[0] != heads*m.config.headDim() {
			return fmt.Errorf("tensor %q has shape %v, but %d heads of %d say %d rows: %w", name, t.Shape, heads,
				m.config.headDim(), heads*m.config.headDim(), weights.ErrFormat)
		}
	}
	return nil
}

// heads returns the number of heads of a q or k projection's weight or bias; false for other tensors.
func (m *model) heads(name string) (int, bool) {
	stem := strings.TrimSuffix(strings.TrimSuffix(name, ".weight"), ".bias")
	switch {
	case strings.HasSuffix(stem, ".self_attn.q_proj"):
		return m.config.Heads, true
	case strings.HasSuffix(stem, ".self_attn.k_proj"):
		return m.config.kvHeads(), true
	}
	return 0, false
}

// rows returns the order in which to write the rows of a tensor, nil for the order they are in.
func (m *model) rows(name string, targetInterleaved bool) func(int) int {
	if _, ok := m.heads(name); !ok || m.Interleaved() == targetInterleaved {
		return nil
	}
	dim := m.config.headDim()
	if targetInterleaved { // row 2i+p of a head is row p·dim/2+i of the source
		return func(r int) int { h, i := r/dim, r%dim; return h*dim + i%2*(dim/2) + i/2 }
	}
	return func(r int) int { h, i := r/dim, r%dim; return h*dim + i%(dim/2)*2 + i/(dim/2) }
}
