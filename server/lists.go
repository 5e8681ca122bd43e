package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"nosa/engine"
)

// Lists are read one element at a time and no further than their bound, so that a
// body can not grow far beyond its own length in memory. encoding/json takes null for
// an element's zero value; here it is refused, as 0 is a token and "" a text.

// maxPrompts is the most prompts of a request.
const maxPrompts = 256

// prompts are texts, or token ids.
type prompts struct {
	texts []string
	ids   [][]int32
}

func (p *prompts) len() int { return len(p.texts) + len(p.ids) }

func (p *prompts) UnmarshalJSON(data []byte) error { return p.read("prompt", data) }

// read reads the parameter of that name.
func (p *prompts) read(param string, data []byte) (err error) {
	*p = prompts{}
	switch kinds(data) {
	case `"`:
		p.texts = make([]string, 1)
		return json.Unmarshal(data, &p.texts[0])
	case `["`:
		p.texts, err = listOf[string](param, data, maxPrompts)
		return err
	case `[[`:
		lists, err := listOf[tokenIDs](param, data, maxPrompts)
		for _, ids := range lists {
			p.ids = append(p.ids, ids)
		}
		return err
	case `[0`:
		p.ids = make([][]int32, 1)
		err = (*tokenIDs)(&p.ids[0]).read(param, data)
		return err
	}
	return invalid(param, "%s: want a string, a list of strings, a list of token ids, or a list of such lists, none of them empty", param)
}

// kinds is the first byte of a value, and of the first element if it is a list; 0 for a
// number.
func kinds(data []byte) string {
	data = bytes.TrimLeft(data, " \t\r\n")
	if len(data) == 0 || data[0] != '[' {
		return string(data[:min(1, len(data))])
	}
	in := bytes.TrimLeft(data[1:], " \t\r\n")
	switch {
	case len(in) == 0:
		return "["
	case in[0] == '-' || in[0] >= '0' && in[0] <= '9':
		return "[0"
	}
	return "[" + string(in[:1])
}

// listOf reads a list of at most so many elements, none of which is null.
func listOf[T any](param string, data []byte, most int) ([]T, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return nil, invalid(param, "%s: want a list", param)
	}
	all := []T{}
	for d.More() {
		if len(all) == most {
			return nil, invalid(param, "%s: want %d elements at most", param, most)
		}
		var one *T
		if err := d.Decode(&one); err != nil {
			var known *apiError
			if !errors.As(err, &known) {
				known = invalid(param, "%v", err)
			}
			known.Message = fmt.Sprintf("%s: element %d: %s", param, len(all), known.Message)
			return nil, known
		}
		if one == nil {
			return nil, invalid(param, "%s: element %d is null", param, len(all))
		}
		all = append(all, *one)
	}
	return all, nil
}

// tokenIDs is a list of numbers.
type tokenIDs []int32

func (t *tokenIDs) UnmarshalJSON(data []byte) error { return t.read("tokens", data) }

func (t *tokenIDs) read(param string, data []byte) error {
	if bytes.IndexByte(data, 'n') >= 0 {
		return invalid(param, "%s: want a list of token ids, not null", param)
	}
	if !bytes.ContainsAny(data, ".eE") {
		if err := json.Unmarshal(data, (*[]int32)(t)); err != nil {
			return invalid(param, "%s: want a list of token ids: %v", param, err)
		}
		return nil
	}
	var numbers []float64 // as of a language without integers
	if err := json.Unmarshal(data, &numbers); err != nil {
		return invalid(param, "%s: want a list of token ids: %v", param, err)
	}
	*t = make(tokenIDs, len(numbers))
	for i, f := range numbers {
		if (*t)[i] = int32(f); float64((*t)[i]) != f {
			return invalid(param, "%s: token %d is %v: want an integer", param, i, f)
		}
	}
	return nil
}

// oneOrMore is a string or a list of them.
type oneOrMore []string

func (o *oneOrMore) UnmarshalJSON(data []byte) (err error) {
	switch kinds(data) {
	case "n": // null
	case `"`:
		*o = make(oneOrMore, 1)
		return json.Unmarshal(data, &(*o)[0])
	default:
		*o, err = listOf[string]("stop", data, engine.MaxStops)
	}
	return err
}

// object reads an object of at most so many fields, none of which stands twice.
func object(param string, data []byte, most int, each func(name string, value json.RawMessage) error) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return invalid(param, "%s: want an object", param)
	}
	seen := map[string]bool{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return invalid(param, "%s: %v", param, err)
		}
		key := name.(string) // or Token would have failed
		switch {
		case len(seen) == most:
			return invalid(param, "%s: want %d fields at most", param, most)
		case seen[key]:
			return invalid(param, "%s: %.100q stands twice", param, key)
		}
		seen[key] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return invalid(param, "%s: %.100q: %v", param, key, err)
		}
		if err := each(key, value); err != nil {
			return err
		}
	}
	return nil
}

// biases are added to the logits of tokens, by their ids.
type biases map[string]float32

func (b *biases) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	*b = biases{}
	return object("logit_bias", data, maxBiases, func(id string, value json.RawMessage) error {
		var v *float32
		if err := json.Unmarshal(value, &v); err != nil || v == nil {
			return invalid("logit_bias", "logit_bias of %.30q: want a number", id)
		}
		(*b)[id] = *v
		return nil
	})
}
