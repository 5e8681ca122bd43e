package chat

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// stringList makes a list of copies of parts, with the type that v has.
func (in *interp) stringList(v value, parts []string) value {
	in.chargeItems(len(parts), 2*valueSize)
	l := &list{make([]value, len(parts))}
	for i, p := range parts {
		l.items[i] = like(v, in.clone(p))
	}
	return l
}

func splitMethod(id string, fromRight bool) func(*interp, value, string, args) value {
	return func(in *interp, v value, s string, a args) value {
		p := a.bind(in, id, "sep?", "maxsplit?")
		limit := in.count(id, p[1])
		sep, ok := in.optionalText(id, p[0])
		in.bytes(len(s))
		switch {
		case !ok:
			return in.stringList(v, in.fields(s, limit, fromRight))
		case sep == "":
			in.fail(ErrValue, "%s: the separator is empty", id)
		}
		n := strings.Count(s, sep)
		if limit >= 0 {
			n = min(n, limit)
		}
		in.chargeItems(n+1, 2*valueSize)
		if !fromRight {
			return in.stringList(v, strings.SplitN(s, sep, n+1))
		}
		parts := make([]string, 0, n+1)
		for ; n > 0; n-- {
			i := strings.LastIndex(s, sep)
			if i < 0 { // separators may overlap and be fewer from the right
				break
			}
			parts = append(parts, s[i+len(sep):])
			s = s[:i]
		}
		parts = append(parts, s)
		slices.Reverse(parts)
		return in.stringList(v, parts)
	}
}

// fields splits at runs of white space, at most limit times when limit >= 0.
func (in *interp) fields(s string, limit int, fromRight bool) []string {
	in.step(len(s) / 4)
	var parts []string
	add := func(p string) {
		in.charge(2 * valueSize)
		parts = append(parts, p)
	}
	if fromRight {
		for s = strings.TrimRightFunc(s, isSpace); s != ""; s = strings.TrimRightFunc(s, isSpace) {
			i := strings.LastIndexFunc(s, isSpace)
			if i < 0 || len(parts) == limit {
				add(s)
				break
			}
			_, n := utf8.DecodeRuneInString(s[i:])
			add(s[i+n:])
			s = s[:i]
		}
		slices.Reverse(parts)
		return parts
	}
	for s = strings.TrimLeftFunc(s, isSpace); s != ""; s = strings.TrimLeftFunc(s, isSpace) {
		i := strings.IndexFunc(s, isSpace)
		if i < 0 || len(parts) == limit {
			add(s)
			break
		}
		add(s[:i])
		s = s[i:]
	}
	return parts
}

func splitlines(in *interp, v value, s string, a args) value {
	p := a.bind(in, "splitlines", "keepends?")
	keep := given(p[0]) && in.truth(p[0])
	return in.stringList(v, in.lines(s, keep))
}

// lines cuts a text into its lines.
func (in *interp) lines(s string, keep bool) []string {
	in.step(len(s) / 4)
	var parts []string
	for s != "" {
		i := strings.IndexFunc(s, isLineEnd)
		end, next := len(s), len(s)
		if i >= 0 {
			_, n := utf8.DecodeRuneInString(s[i:])
			if strings.HasPrefix(s[i:], "\r\n") {
				n = 2
			}
			end, next = i, i+n
		}
		if keep {
			end = next
		}
		in.charge(2 * valueSize)
		parts = append(parts, s[:end])
		s = s[next:]
	}
	return parts
}

func partitionMethod(id string, find func(s, sep string) int) func(*interp, value, string, args) value {
	return func(in *interp, v value, s string, a args) value {
		sep := in.text(id, a.bind(in, id, "/sep")[0])
		if sep == "" {
			in.fail(ErrValue, "%s: the separator is empty", id)
		}
		in.bytes(len(s))
		parts := []string{s, "", ""}
		if i := find(s, sep); i >= 0 {
			parts = []string{s[:i], sep, s[i+len(sep):]}
		} else if id == "rpartition" {
			parts = []string{"", "", s}
		}
		t := &tuple{}
		for _, p := range parts {
			t.items = append(t.items, like(v, in.clone(p)))
		}
		return t
	}
}

func join(in *interp, v value, s string, a args) value {
	next := in.iterate(a.bind(in, "join", "/iterable")[0])
	_, marked := v.(markup)
	return like(v, in.joined(s, next, func(it value) string {
		t, ok := asText(it)
		if !ok && !marked {
			in.text("join", it)
		}
		if _, safe := it.(markup); marked && !safe {
			t = in.escape(in.str(it))
		}
		return t
	}))
}

// joined joins what next hands out, as text makes it, with sep between.
func (in *interp) joined(sep string, next func() (value, bool), text func(value) string) string {
	var b strings.Builder
	for i := 0; ; i++ {
		it, ok := next()
		if !ok {
			return b.String()
		}
		t := text(it)
		if i > 0 {
			t = sep + t
		}
		in.charge(2 * len(t))
		b.WriteString(t)
	}
}

func replaceMethod(in *interp, v value, s string, a args) value {
	p := a.bind(in, "replace", "/old", "/new", "/count?")
	old, fresh := in.text("replace", p[0]), in.text("replace", p[1])
	if _, marked := v.(markup); marked {
		if _, safe := p[1].(markup); !safe {
			fresh = in.escape(fresh)
		}
	}
	return like(v, in.replaced(s, old, fresh, in.count("replace", p[2])))
}

// replaced replaces old by fresh, at most n times when n >= 0.
func (in *interp) replaced(s, old, fresh string, n int) string {
	in.bytes(len(s))
	hits := strings.Count(s, old)
	if n >= 0 {
		hits = min(hits, n)
	}
	if hits == 0 {
		return s
	}
	in.step(hits)
	if grow := len(fresh) - len(old); grow > 0 {
		in.chargeItems(hits, grow)
	}
	in.charge(len(s))
	return strings.Replace(s, old, fresh, hits)
}

// padMethod fills a string up to a width; sides tells how n missing characters
// go to the left and to the right.
func padMethod(id string, sides func(n, width int) (left, right int)) func(*interp, value, string, args) value {
	return func(in *interp, v value, s string, a args) value {
		p := a.bind(in, id, "/width", "/fillchar?")
		width := in.width(p[0])
		fill := " "
		if given(p[1]) {
			if fill = in.text(id, p[1]); utf8.RuneCountInString(fill) != 1 {
				in.fail(ErrValue, "%s: the fill must be one character", id)
			}
			if _, safe := p[1].(markup); !safe {
				if _, marked := v.(markup); marked && in.escape(fill) != fill {
					in.fail(ErrValue, "%s: the fill must be one character", id)
				}
			}
		}
		n := width - in.runes(s)
		if n <= 0 {
			return v
		}
		in.chargeItems(n, len(fill))
		in.charge(len(s))
		left, right := sides(n, width)
		return like(v, strings.Repeat(fill, left)+s+strings.Repeat(fill, right))
	}
}

// width reads a width and checks it before anything of that size is made.
func (in *interp) width(v value) int {
	w := in.integer("a width", v)
	if w > int64(in.limits.Memory) {
		in.fail(ErrLimit, "a width of more than %d", in.limits.Memory)
	}
	return int(max(w, 0))
}

func zfill(in *interp, v value, s string, a args) value {
	width := in.width(a.bind(in, "zfill", "/width")[0])
	n := width - in.runes(s)
	if n <= 0 {
		return v
	}
	in.charge(n + len(s))
	sign := ""
	if s != "" && (s[0] == '+' || s[0] == '-') {
		sign, s = s[:1], s[1:]
	}
	return like(v, sign+strings.Repeat("0", n)+s)
}

func expandtabs(in *interp, v value, s string, a args) value {
	p := a.bind(in, "expandtabs", "tabsize?")
	size := 8
	if given(p[0]) {
		size = in.width(p[0])
	}
	in.step(len(s))
	in.chargeItems(strings.Count(s, "\t"), size)
	in.charge(len(s))
	var b strings.Builder
	column := 0
	for _, r := range s {
		switch {
		case r == '\t' && size > 0:
			n := size - column%size
			b.WriteString(strings.Repeat(" ", n))
			column += n
		case r == '\t':
		default:
			b.WriteRune(r)
			if column++; r == '\n' || r == '\r' {
				column = 0
			}
		}
	}
	return like(v, b.String())
}
