package chat

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Input is what a template is given. Values inside of Content, Fields, Tools
// and Extra are what JSON has: nil, bool, string, json.Number, the integer and
// float types of Go, []any, []string, *Object, and map[string]any, whose keys
// are put in alphabetical order.
type Input struct {
	Messages            []Message
	Tools               []any  // definitions of tools; nil: the template sees none
	AddGenerationPrompt bool   // end with what opens the assistant's turn
	BOS, EOS            string // texts of the special tokens; empty: not defined, as for a model without one
	Extra               *Object
	Now                 func() time.Time // for strftime_now; nil: time.Now
	Limits              Limits
}

// Message is one message of a conversation.
type Message struct {
	Role    string
	Content any     // string, []any of parts, or nil for null; Absent for no content at all
	Fields  *Object // further fields in their order: tool_calls, tool_call_id, name, reasoning_content
}

// Absent as a Content leaves the field out, so that a template finds it undefined.
var Absent any = absent{}

// UnmarshalJSON reads a message of the chat completions API.
func (m *Message) UnmarshalJSON(data []byte) error {
	var o Object
	if err := o.UnmarshalJSON(data); err != nil {
		return err
	}
	role, ok := o.vals["role"].(string)
	if !ok {
		return fmt.Errorf("chat: the role of a message must be a string, found %T: %w", o.vals["role"], ErrInput)
	}
	*m = Message{Role: role, Content: Absent, Fields: &Object{}}
	for _, k := range o.keys {
		switch k {
		case "role":
		case "content":
			m.Content = o.vals[k]
		default:
			m.Fields.Set(k, o.vals[k])
		}
	}
	return nil
}

// reserved are the names that Extra may not define.
var reserved = []string{"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"}

// converter turns Go values into those of the interpreter and adds up their size.
type converter struct{ size int }

func (c *converter) fail(where, format string, args ...any) {
	panic(failure{&Error{Msg: where + ": " + fmt.Sprintf(format, args...), Kind: ErrInput}})
}

// globals gives the variables that a rendering starts with.
func (c *converter) globals(in Input) dict {
	var d dict
	for _, f := range functions {
		d.setString(f.name, f)
	}
	messages := &list{make([]value, len(in.Messages))}
	for i, m := range in.Messages {
		messages.items[i] = c.message(fmt.Sprintf("message %d", i), m)
	}
	d.setString("messages", messages)
	d.setString("add_generation_prompt", in.AddGenerationPrompt)
	d.setString("documents", nil)
	d.setString("tools", nil)
	if in.Tools != nil {
		d.setString("tools", c.value("tools", in.Tools, 0))
	}
	if in.BOS != "" {
		d.setString("bos_token", c.value("bos_token", in.BOS, 0))
	}
	if in.EOS != "" {
		d.setString("eos_token", c.value("eos_token", in.EOS, 0))
	}
	for _, k := range in.Extra.Keys() {
		if slices.Contains(reserved, k) {
			c.fail("extra argument", "the name %q is one of Input's own fields", k)
		}
		if k == "" || nameLen(k) != len(k) {
			c.fail("extra argument", "%q is not a name", k)
		}
		v, _ := in.Extra.Get(k)
		d.setString(k, c.value(k, v, 0))
	}
	return d
}

func (c *converter) message(where string, m Message) value {
	d := &dict{}
	c.size += len(m.Role)
	d.setString("role", validText(m.Role))
	if m.Content != Absent {
		d.setString("content", c.value(where+": content", m.Content, 0))
	}
	for _, k := range m.Fields.Keys() {
		if k == "role" || k == "content" {
			c.fail(where, "the field %q stands twice", k)
		}
		v, _ := m.Fields.Get(k)
		c.size += len(k)
		d.setString(validText(k), c.value(where+": "+k, v, 0))
	}
	return d
}

func (c *converter) value(where string, v any, depth int) value {
	if depth > maxJSONDepth {
		c.fail(where, "nests deeper than %d", maxJSONDepth)
	}
	c.size += valueSize
	switch v := v.(type) {
	case nil, bool, int64, float64:
		return v
	case string:
		c.size += len(v)
		return validText(v)
	case json.Number:
		return c.number(where, v.String())
	case int:
		return int64(v)
	case int32:
		return int64(v)
	case uint64:
		return normInt(new(big.Int).SetUint64(v))
	case float32:
		return float64(v)
	case []any:
		l := &list{make([]value, len(v))}
		for i, it := range v {
			l.items[i] = c.value(where, it, depth+1)
		}
		return l
	case []string:
		l := &list{make([]value, len(v))}
		for i, it := range v {
			l.items[i] = c.value(where, it, depth+1)
		}
		return l
	case *Object:
		d := &dict{}
		for _, k := range v.Keys() {
			c.size += len(k)
			d.setString(validText(k), c.value(where+"."+k, v.vals[k], depth+1))
		}
		return d
	case map[string]any:
		d := &dict{}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			c.size += len(k)
			d.setString(validText(k), c.value(where+"."+k, v[k], depth+1))
		}
		return d
	}
	c.fail(where, "a Go value of type %T has no form in JSON", v)
	return nil
}

// number reads a number of JSON: an integer unless it has a point or an exponent.
func (c *converter) number(where, s string) value {
	if strings.ContainsAny(s, ".eE") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && f == 0 {
			c.fail(where, "%q is not a number", s)
		}
		return f
	}
	n, ok := new(big.Int), len(s) <= maxDigits
	if ok {
		n, ok = n.SetString(s, 10)
	}
	if !ok {
		c.fail(where, "%.32q is not a number, or has more than %d digits", s, maxDigits)
	}
	return normInt(n)
}
