package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// filters are the filters by name. Every one gets the value before the bar and
// its arguments.
var filters = map[string]func(in *interp, v value, a args) value{}

func init() {
	mapped := func(id string, f func(string) string) {
		filters[id] = func(in *interp, v value, a args) value {
			a.bind(in, id)
			s, model := in.softText(v)
			return like(model, in.mapText(s, f))
		}
	}
	mapped("upper", upper)
	mapped("lower", lower)
	mapped("capitalize", capitalize)
	mapped("title", filterTitle)

	filters["string"] = func(in *interp, v value, a args) value {
		a.bind(in, "string")
		s, model := in.softText(v)
		return like(model, s)
	}
	filters["safe"] = func(in *interp, v value, a args) value {
		a.bind(in, "safe")
		return markup(in.str(v))
	}
	escaped := func(in *interp, v value, a args) value {
		a.bind(in, "escape")
		if m, ok := v.(markup); ok {
			return m
		}
		return markup(in.escape(in.str(v)))
	}
	filters["escape"], filters["e"] = escaped, escaped
	filters["forceescape"] = func(in *interp, v value, a args) value {
		a.bind(in, "forceescape")
		return markup(in.escape(in.str(v)))
	}
	filters["trim"] = func(in *interp, v value, a args) value {
		p := a.bind(in, "trim", "chars?")
		s, model := in.softText(v)
		return like(model, in.stripText(s, p[0], true, true))
	}
	filters["replace"] = func(in *interp, v value, a args) value {
		p := a.bind(in, "replace", "old", "new", "count?")
		n := -1
		if p[2] != nil {
			n = in.count("replace", p[2])
		}
		return in.replaced(in.str(v), in.str(p[0]), in.str(p[1]), n)
	}
	filters["center"] = func(in *interp, v value, a args) value {
		p := a.bind(in, "center", "width?")
		if !given(p[0]) {
			p[0] = int64(80)
		}
		s, model := in.softText(v)
		return stringMethods["center"](in, like(model, s), s, args{pos: p})
	}
	filters["format"] = func(in *interp, v value, a args) value {
		s, model := in.softText(v)
		if len(a.names) == 0 {
			return in.percent(model, s, &tuple{items: a.pos})
		}
		if len(a.pos) > 0 {
			in.fail(ErrValue, "format takes arguments with names or without, not both")
		}
		d := &dict{}
		for i, id := range a.names {
			in.put(d, id, a.vals[i])
		}
		return in.percent(model, s, d)
	}
	filters["indent"] = filterIndent
	filters["truncate"] = filterTruncate
	filters["wordcount"] = func(in *interp, v value, a args) value {
		a.bind(in, "wordcount")
		s, _ := in.softText(v)
		in.step(len(s) / 4)
		n, inWord := int64(0), false
		for _, r := range s {
			w := r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r)
			if w && !inWord {
				n++
			}
			inWord = w
		}
		return n
	}
	filters["tojson"] = toJSON
}

// softText gives v as text; what is a string already keeps its type, which the
// second result shows.
func (in *interp) softText(v value) (string, value) {
	if s, ok := asText(v); ok {
		return s, v
	}
	return in.str(v), ""
}

// filterTitle makes the first letter after white space, a hyphen or an opening
// bracket upper case and the others lower case.
func filterTitle(s string) string {
	var b strings.Builder
	start := true
	for i, r := range s {
		switch {
		case r == '-' || r == '(' || r == '{' || r == '[' || r == '<' || isSpace(r):
			b.WriteRune(r)
			start = true
			continue
		case start:
			writeMapped(&b, r, longUpper, unicode.ToUpper)
		default:
			writeLower(&b, s, i, r)
		}
		start = false
	}
	return b.String()
}

func filterIndent(in *interp, v value, a args) value {
	p := a.bind(in, "indent", "width?", "first?", "blank?")
	s := in.text("indent", v)
	indent := "    "
	if given(p[0]) {
		if t, ok := asText(p[0]); ok {
			indent = t
		} else {
			n := in.width(p[0])
			in.charge(n)
			indent = strings.Repeat(" ", n)
		}
	}
	flag := func(v value) bool { return given(v) && in.truth(v) }
	lines := in.lines(s+"\n", false)
	in.chargeItems(len(lines), len(indent))
	in.charge(2 * len(s))
	var b strings.Builder
	if flag(p[1]) {
		b.WriteString(indent)
	}
	for i, line := range lines {
		if i > 0 {
			b.WriteByte('\n')
			if line != "" || flag(p[2]) {
				b.WriteString(indent)
			}
		}
		b.WriteString(line)
	}
	return like(v, b.String())
}

func filterTruncate(in *interp, v value, a args) value {
	p := a.bind(in, "truncate", "length?", "killwords?", "end?", "leeway?")
	length, end, leeway := 255, "...", 5
	if given(p[0]) {
		length = in.width(p[0])
	}
	if given(p[2]) {
		end = in.text("truncate", p[2])
	}
	if given(p[3]) && p[3] != nil {
		n := in.integer("truncate: leeway", p[3])
		if n < 0 {
			in.fail(ErrValue, "truncate: leeway must not be negative")
		}
		leeway = in.width(p[3])
	}
	room := length - utf8.RuneCountInString(end)
	if room < 0 {
		in.fail(ErrValue, "truncate: the length %d is less than that of the end", length)
	}
	if n, ok := in.length(v); ok && n <= length+leeway {
		return v
	}
	s := in.text("truncate", v)
	t := s[:byteOffset(s, room)]
	if !(given(p[1]) && in.truth(p[1])) {
		if i := strings.LastIndexByte(t, ' '); i >= 0 {
			t = t[:i]
		}
	}
	out, _ := in.add(like(v, t), end)
	if given(p[2]) {
		out, _ = in.add(like(v, t), p[2])
	}
	return out
}
