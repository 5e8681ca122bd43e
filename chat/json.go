package chat

import (
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// jsonWriter writes values as Python's json.dumps does.
type jsonWriter struct {
	in       *interp
	b        []byte
	ascii    bool   // write what is not ASCII as \uXXXX
	indent   string // of one level
	pretty   bool   // one item a line
	item     string // between items
	key      string // between a key and its value
	sortKeys bool
}

// toJSON is the filter tojson as transformers defines it.
func toJSON(in *interp, v value, a args) value {
	p := a.bind(in, "tojson", "ensure_ascii?", "indent?", "separators?", "sort_keys?")
	flag := func(v value) bool { return given(v) && in.truth(v) }
	w := &jsonWriter{in: in, ascii: flag(p[0]), sortKeys: flag(p[3]), item: ", ", key: ": "}
	if given(p[1]) && p[1] != nil {
		w.pretty, w.item = true, ","
		if s, ok := asText(p[1]); ok {
			w.indent = s
		} else {
			n := in.width(in.integer("tojson: indent", p[1]))
			in.charge(n)
			w.indent = strings.Repeat(" ", n)
		}
	}
	if given(p[2]) && p[2] != nil {
		seps := in.unpack(p[2], 2)
		w.item, w.key = in.text("tojson: separators", seps[0]), in.text("tojson: separators", seps[1])
	}
	w.value(v, 0)
	return string(w.b)
}

// add counts the bytes that it appends.
func (w *jsonWriter) add(s string) {
	w.in.charge(2 * len(s))
	w.b = append(w.b, s...)
}

func (w *jsonWriter) value(v value, level int) {
	w.in.enter()
	defer w.in.leave()
	switch v := v.(type) {
	case nil:
		w.add("null")
	case bool:
		w.add(strings.ToLower(pyBool(v)))
	case int64:
		w.add(strconv.FormatInt(v, 10))
	case *big.Int:
		w.add(w.in.bigText(v))
	case float64:
		w.add(jsonFloat(v))
	case string:
		w.text(v)
	case markup:
		w.text(string(v))
	case *list:
		w.items(v.items, level)
	case *tuple:
		w.items(v.items, level)
	case *dict:
		w.dict(v, level)
	case *undefined:
		w.in.fail(ErrUndefined, "tojson of an undefined value: %s", v.why)
	default:
		w.in.fail(ErrValue, "a value of type %s cannot be written as JSON", typeName(v))
	}
}

func jsonFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return floatText(f)
}

// line starts a new line when items have lines of their own.
func (w *jsonWriter) line(level int) {
	if !w.pretty {
		return
	}
	w.in.chargeItems(level, 2*len(w.indent))
	w.add("\n")
	for range level {
		w.b = append(w.b, w.indent...)
	}
}

func (w *jsonWriter) items(items []value, level int) {
	if len(items) == 0 {
		w.add("[]")
		return
	}
	w.add("[")
	for i, it := range items {
		if i > 0 {
			w.add(w.item)
		}
		w.line(level + 1)
		w.value(it, level+1)
	}
	w.line(level)
	w.add("]")
}

func (w *jsonWriter) dict(d *dict, level int) {
	if len(d.entries) == 0 {
		w.add("{}")
		return
	}
	entries := d.entries
	if w.sortKeys {
		w.in.chargeItems(len(entries), entrySize)
		entries = slices.Clone(entries)
		w.in.sort(len(entries), func(i, j int) bool { return w.in.compared("<", entries[i].key, entries[j].key) },
			func(order []int) {
				sorted := make([]entry, len(entries))
				for i, j := range order {
					sorted[i] = entries[j]
				}
				entries = sorted
			})
	}
	w.add("{")
	for i := range entries {
		if i > 0 {
			w.add(w.item)
		}
		w.line(level + 1)
		w.keyText(entries[i].key)
		w.add(w.key)
		w.value(entries[i].val, level+1)
	}
	w.line(level)
	w.add("}")
}

// keyText writes a key; numbers, booleans and none become strings.
func (w *jsonWriter) keyText(k value) {
	switch k := k.(type) {
	case string:
		w.text(k)
	case markup:
		w.text(string(k))
	case nil:
		w.add(`"null"`)
	case bool:
		w.text(strings.ToLower(pyBool(k)))
	case float64:
		w.text(jsonFloat(k))
	case int64, *big.Int:
		w.text(w.in.str(k))
	default:
		w.in.fail(ErrValue, "a value of type %s cannot be a key in JSON", typeName(k))
	}
}

// text writes a string literal.
func (w *jsonWriter) text(s string) {
	w.in.charge(2 * len(s))
	w.b = append(w.b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			w.b = append(w.b, '\\', byte(r))
		case r == '\n':
			w.b = append(w.b, `\n`...)
		case r == '\r':
			w.b = append(w.b, `\r`...)
		case r == '\t':
			w.b = append(w.b, `\t`...)
		case r == '\b':
			w.b = append(w.b, `\b`...)
		case r == '\f':
			w.b = append(w.b, `\f`...)
		case r < ' ' || w.ascii && r >= 0x7f:
			w.in.charge(12)
			if r > 0xffff {
				r -= 0x10000
				w.unit(0xd800 + r>>10)
				r = 0xdc00 + r&0x3ff
			}
			w.unit(r)
		default:
			w.b = utf8.AppendRune(w.b, r)
		}
	}
	w.add(`"`)
}

// unit writes one \uXXXX.
func (w *jsonWriter) unit(r rune) {
	const digits = "0123456789abcdef"
	w.b = append(w.b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}
