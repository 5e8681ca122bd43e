package convert

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"nosa/dtype"
	"nosa/weights"
)

// fileTypes are llama.cpp's numbers for what most matrices of a file are.
var fileTypes = map[dtype.Type]uint32{
	dtype.F32: 0, dtype.F16: 1, dtype.Q4_0: 2, dtype.Q4_1: 3, dtype.Q8_0: 7, dtype.Q5_0: 8, dtype.Q5_1: 9, dtype.Q4_K: 14,
	dtype.Q5_K: 16, dtype.Q6_K: 18, dtype.BF16: 32,
}

// writeGGUF writes c, a folder or another GGUF file, as a GGUF file.
func writeGGUF(ctx context.Context, c *weights.Checkpoint, dst string, opts Options) error {
	m, err := inspect(c, opts.Plain)
	if err != nil {
		return err
	}
	tensors, err := m.tensors(opts.Plain)
	if err != nil {
		return err
	}
	meta, factors, err := m.config.metadata(m.arch)
	if err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	vocabulary, err := m.vocabulary()
	if err != nil {
		return err
	}
	var out []weights.Source
	for _, t := range factors {
		out = append(out, t.Source())
	}
	bytes := map[dtype.Type]int{} // of matrices, to name the file's type
	for _, t := range tensors {
		name := weights.GGUFName(t.Name)
		if name == t.Name && strings.HasPrefix(name, "model.") {
			return fmt.Errorf("tensor %q has no place in a GGUF of architecture %s: %w", t.Name, m.arch, ErrUnsupported)
		}
		to, err := ggufType(t, opts.Type)
		if err != nil {
			return err
		}
		s := recode(t, to, m.rows(t.Name, interleaved(m.arch)))
		s.Name = name
		out = append(out, s)
		if len(t.Shape) > 1 {
			bytes[to] += t.Elements()
		}
	}
	main := dtype.F32
	for t, n := range bytes {
		if n > bytes[main] || n == bytes[main] && t > main {
			main = t
		}
	}
	if opts.Type != dtype.Invalid {
		main = opts.Type
	}
	all := append(m.general(main), meta...)
	return weights.WriteGGUF(ctx, dst, append(all, vocabulary...), out, opts.Progress)
}

// general returns the keys that every GGUF has.
func (m *model) general(main dtype.Type) []weights.Pair {
	out := []weights.Pair{{Key: "general.architecture", Value: m.arch}, {Key: "general.type", Value: "model"}}
	taken := map[string]bool{
		"general.architecture": true, "general.type": true, "general.file_type": true, "general.alignment": true,
		"general.quantization_version": true,
	}
	if _, ok := m.Metadata().String("general.name"); !ok {
		name := strings.TrimSuffix(filepath.Base(filepath.Clean(m.Path())), ".gguf")
		out = append(out, weights.Pair{Key: "general.name", Value: name})
	}
	for key := range m.Metadata().Keys() { // of another GGUF file
		if strings.HasPrefix(key, "general.") && !taken[key] {
			v, _ := m.Metadata().Get(key)
			out = append(out, weights.Pair{Key: key, Value: v})
		}
	}
	return append(out, weights.Pair{Key: "general.file_type", Value: fileTypes[main]},
		weights.Pair{Key: "general.quantization_version", Value: uint32(2)})
}

// ggufType returns the number format in which a tensor is written: see Options.Type.
func ggufType(t weights.Tensor, want dtype.Type) (dtype.Type, error) {
	switch {
	case !t.Type.Quantised() && !t.Type.Encodes():
		return 0, fmt.Errorf("tensor %q has integers (%s), not weights: %w", t.Name, t.Type, ErrUnsupported)
	case len(t.Shape) < 2 || scores(t.Name):
		return dtype.F32, nil
	case want == dtype.Invalid:
		return t.Type, nil
	case want == dtype.Q4_0 && (t.Name == embeddingName || t.Name == outputName):
		want = dtype.Q8_0
	}
	if t.Shape[len(t.Shape)-1]%want.Block() != 0 {
		want = dtype.F16
	}
	return want, nil
}

// vocabulary returns the keys of the tokenizer.
func (m *model) vocabulary() ([]weights.Pair, error) {
	if m.Format() == weights.FormatGGUF {
		var out []weights.Pair
		for key := range m.Metadata().Keys() {
			if strings.HasPrefix(key, "tokenizer.") {
				v, _ := m.Metadata().Get(key)
				out = append(out, weights.Pair{Key: key, Value: v})
			}
		}
		return out, nil
	}
	return folderVocabulary(m)
}
