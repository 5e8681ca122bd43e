package model

import (
	"fmt"
	"slices"
	"strings"
)

// family is what distinguishes one kind of decoder from another. All else is
// decoder.go's.
type family struct {
	name          string
	architectures []string
	modelTypes    []string
	tied          bool // what an absent tie_word_embeddings means
	apply         func(c *Config, r *raw)
}

// families are tried in order: architectures first, as they are the more exact.
var families = []family{llama, qwen2, qwen3, minicpm, nosa}

func familyOf(r *raw) (*family, error) {
	for i := range families {
		for _, a := range r.Architectures {
			if slices.Contains(families[i].architectures, a) {
				return &families[i], nil
			}
		}
	}
	if len(r.Architectures) == 0 {
		for i := range families {
			if slices.Contains(families[i].modelTypes, r.ModelType) {
				return &families[i], nil
			}
		}
	}
	var known []string
	for _, f := range families {
		known = append(known, f.architectures...)
	}
	name := strings.Join(r.Architectures, ", ")
	if name == "" {
		name = r.ModelType
	}
	return nil, fmt.Errorf("%w: architecture %q is not one that nosa runs: %s", ErrConfig, name, strings.Join(known, ", "))
}
