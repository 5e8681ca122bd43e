package tokenizer

import "fmt"

// template is what a post-processor puts around the ids of a text.
type template struct{ prefix, suffix []int32 }

// newTemplate reads the post-processors, which work from the inside to the outside.
func newTemplate(nodes []node, size int) (template, error) {
	var t template
	for _, n := range nodes {
		switch n.Type {
		case "ByteLevel": // changes offsets, which are not kept here
		case "TemplateProcessing":
			if err := t.wrap(n); err != nil {
				return t, err
			}
		case "RobertaProcessing", "BertProcessing":
			if n.Cls == nil || n.Sep == nil {
				return t, fmt.Errorf("%w: post-processor %s without cls and sep", ErrFormat, n.Type)
			}
			t.prefix = append([]int32{n.Cls.id}, t.prefix...)
			t.suffix = append(t.suffix, n.Sep.id)
		default:
			return t, fmt.Errorf("%w: post-processor %q is not known here", ErrUnsupported, n.Type)
		}
	}
	for _, ids := range [][]int32{t.prefix, t.suffix} {
		for _, id := range ids {
			if id < 0 || int(id) >= size {
				return t, fmt.Errorf("%w: post-processor adds id %d, the vocabulary has %d", ErrFormat, id, size)
			}
		}
	}
	return t, nil
}

// wrap puts the special tokens of a template for one sequence around what is there.
func (t *template) wrap(n node) error {
	seen := false
	var prefix, suffix []int32
	for _, p := range n.Single {
		switch {
		case p.Sequence != nil && p.SpecialToken == nil:
			if p.Sequence.ID != "A" || seen {
				return fmt.Errorf("%w: a template for one text must have sequence A once", ErrFormat)
			}
			seen = true
		case p.SpecialToken != nil && p.Sequence == nil:
			token, ok := n.SpecialTokens[p.SpecialToken.ID]
			if !ok {
				return fmt.Errorf("%w: template names %q, which its special_tokens lack", ErrFormat,
					shorten(p.SpecialToken.ID))
			}
			if seen {
				suffix = append(suffix, token.IDs...)
			} else {
				prefix = append(prefix, token.IDs...)
			}
		default:
			return fmt.Errorf("%w: a piece of a template is neither a sequence nor a special token", ErrFormat)
		}
		if len(prefix)+len(suffix) > maxTemplate {
			return fmt.Errorf("%w: a template of more than %d ids", ErrFormat, maxTemplate)
		}
	}
	if !seen {
		return fmt.Errorf("%w: a template for one text must have sequence A once", ErrFormat)
	}
	t.prefix = append(prefix, t.prefix...)
	t.suffix = append(t.suffix, suffix...)
	return nil
}

const maxTemplate = 1024
