package chat

import (
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

// stringMethods are the methods of strings. v is the string, s its text.
var stringMethods map[string]func(in *interp, v value, s string, a args) value

func init() {
	type method = func(in *interp, v value, s string, a args) value
	mapped := func(id string, f func(string) string) method {
		return func(in *interp, v value, s string, a args) value {
			a.bind(in, id)
			return like(v, in.mapText(s, f))
		}
	}
	is := func(id string, f func(string) bool) method {
		return func(in *interp, _ value, s string, a args) value {
			a.bind(in, id)
			in.step(len(s) / 4)
			return f(s)
		}
	}
	each := func(id string, f func(rune) bool) method {
		return is(id, func(s string) bool { return all(s, f) })
	}
	stringMethods = map[string]method{
		"upper":      mapped("upper", upper),
		"lower":      mapped("lower", lower),
		"title":      mapped("title", title),
		"capitalize": mapped("capitalize", capitalize),
		"swapcase":   mapped("swapcase", swapcase),

		"isupper": is("isupper", func(s string) bool { return cased(s, isUpper) }),
		"islower": is("islower", func(s string) bool { return cased(s, isLower) }),
		"istitle": is("istitle", istitle),
		"isspace": each("isspace", isSpace),
		"isalpha": each("isalpha", unicode.IsLetter),
		"isdigit": each("isdigit", func(r rune) bool { return unicode.IsDigit(r) || isSuperscriptDigit(r) }),
		"isalnum": each("isalnum", func(r rune) bool {
			return unicode.IsLetter(r) || unicode.IsNumber(r)
		}),
		"isdecimal":    each("isdecimal", unicode.IsDigit),
		"isnumeric":    each("isnumeric", unicode.IsNumber),
		"isascii":      is("isascii", func(s string) bool { return s == "" || all(s, func(r rune) bool { return r < 0x80 }) }),
		"isprintable":  is("isprintable", func(s string) bool { return s == "" || all(s, unicode.IsPrint) }),
		"isidentifier": is("isidentifier", func(s string) bool { return s != "" && nameLen(s) == len(s) }),

		"strip":        stripMethod("strip", true, true),
		"lstrip":       stripMethod("lstrip", true, false),
		"rstrip":       stripMethod("rstrip", false, true),
		"removeprefix": cutMethod("removeprefix", strings.TrimPrefix),
		"removesuffix": cutMethod("removesuffix", strings.TrimSuffix),
		"startswith":   affixMethod("startswith", strings.HasPrefix),
		"endswith":     affixMethod("endswith", strings.HasSuffix),

		"find":   findMethod("find", strings.Index, false),
		"rfind":  findMethod("rfind", strings.LastIndex, false),
		"index":  findMethod("index", strings.Index, true),
		"rindex": findMethod("rindex", strings.LastIndex, true),
		"count": func(in *interp, _ value, s string, a args) value {
			p := a.bind(in, "count", "/sub", "/start?", "/end?")
			sub := in.text("count", p[0])
			s, _, ok := in.part(s, p[1], p[2])
			if !ok {
				return int64(0)
			}
			return int64(strings.Count(s, sub))
		},

		"split":      splitMethod("split", false),
		"rsplit":     splitMethod("rsplit", true),
		"splitlines": splitlines,
		"partition":  partitionMethod("partition", strings.Index),
		"rpartition": partitionMethod("rpartition", strings.LastIndex),
		"join":       join,
		"replace":    replaceMethod,

		"center":     padMethod("center", func(n, width int) (int, int) { l := n/2 + n&width&1; return l, n - l }),
		"ljust":      padMethod("ljust", func(n, _ int) (int, int) { return 0, n }),
		"rjust":      padMethod("rjust", func(n, _ int) (int, int) { return n, 0 }),
		"zfill":      zfill,
		"expandtabs": expandtabs,

		"format": func(in *interp, v value, s string, a args) value { return in.formatted(v, s, a) },
		"format_map": func(in *interp, v value, s string, a args) value {
			d, ok := a.bind(in, "format_map", "/mapping")[0].(*dict)
			if !ok {
				in.fail(ErrValue, "format_map takes a mapping")
			}
			return in.formatted(v, s, in.named(d))
		},
	}
}

func isSuperscriptDigit(r rune) bool {
	return r == 0xb2 || r == 0xb3 || r == 0xb9 || r == 0x2070 || r >= 0x2074 && r <= 0x2079 || r >= 0x2080 && r <= 0x2089 ||
		r >= 0x2460 && r <= 0x2468 || r >= 0x2474 && r <= 0x247c || r >= 0x2488 && r <= 0x2490
}

// named gives the entries of d as named arguments.
func (in *interp) named(d *dict) args {
	var a args
	in.chargeItems(len(d.entries), entrySize)
	for i := range d.entries {
		if id, ok := asText(d.entries[i].key); ok {
			a.names = append(a.names, id)
			a.vals = append(a.vals, d.entries[i].val)
		}
	}
	return a
}

// mapText applies f, whose result may be up to three times as long.
func (in *interp) mapText(s string, f func(string) string) string {
	in.step(len(s) / 4)
	in.charge(2 * len(s))
	t := f(s)
	in.charge(max(0, len(t)-len(s)))
	return t
}

// text reads an argument that must be a string.
func (in *interp) text(fn string, v value) string {
	s, ok := asText(v)
	if !ok {
		if u, ok := v.(*undefined); ok {
			in.fail(ErrValue, "%s needs a string, found an undefined value: %s", fn, u.why)
		}
		in.fail(ErrValue, "%s needs a string, found %s", fn, typeName(v))
	}
	return s
}

// optionalText reads an argument that may be left out or none.
func (in *interp) optionalText(fn string, v value) (string, bool) {
	if v == nil || !given(v) {
		return "", false
	}
	return in.text(fn, v), true
}

// count reads an optional count, where -1 stands for no bound.
func (in *interp) count(fn string, v value) int {
	if !given(v) {
		return -1
	}
	n := in.integer(fn+": the count", v)
	if n < 0 || n > math.MaxInt32 {
		return -1
	}
	return int(n)
}

// part gives s[start:end] and the position of its first character, or false
// when start lies behind the end.
func (in *interp) part(s string, start, end value) (string, int, bool) {
	n := in.runes(s)
	from, to := in.bound(start), in.bound(end)
	if from == nil && to == nil {
		return s, 0, true
	}
	if from != nil && *from > int64(n) {
		return "", 0, false
	}
	first, _, count := in.window(n, from, to, nil)
	if from != nil && to != nil && first > clampPosition(*to, n) {
		return "", 0, false
	}
	a := byteOffset(s, first)
	return s[a : a+byteOffset(s[a:], count)], first, true
}

func clampPosition(i int64, n int) int {
	if i < 0 {
		i = max(0, i+int64(n))
	}
	return int(min(i, int64(n)))
}

// stripText removes white space, or any of chars, from the ends.
func (in *interp) stripText(s string, chars value, left, right bool) string {
	in.bytes(len(s))
	cut := isSpace
	if set, ok := in.optionalText("strip", chars); ok {
		in.charge(len(set) * 8)
		in.step(len(set))
		members := make(map[rune]bool, len(set))
		for _, r := range set {
			members[r] = true
		}
		cut = func(r rune) bool { return members[r] }
	}
	t := s
	if left {
		t = strings.TrimLeftFunc(t, cut)
	}
	if right {
		t = strings.TrimRightFunc(t, cut)
	}
	in.step((len(s) - len(t)) / 4)
	if len(t) == len(s) {
		return s
	}
	return in.clone(t)
}

func stripMethod(id string, left, right bool) func(*interp, value, string, args) value {
	return func(in *interp, v value, s string, a args) value {
		p := a.bind(in, id, "/chars?")
		return like(v, in.stripText(s, p[0], left, right))
	}
}

func cutMethod(id string, cut func(s, affix string) string) func(*interp, value, string, args) value {
	return func(in *interp, v value, s string, a args) value {
		p := a.bind(in, id, "/affix")
		return like(v, in.clone(cut(s, in.text(id, p[0]))))
	}
}

func affixMethod(id string, has func(s, affix string) bool) func(*interp, value, string, args) value {
	return func(in *interp, _ value, s string, a args) value {
		p := a.bind(in, id, "/affix", "/start?", "/end?")
		choices := []value{p[0]}
		if t, ok := p[0].(*tuple); ok {
			choices = t.items
		}
		part, _, ok := in.part(s, p[1], p[2])
		for _, c := range choices {
			affix := in.text(id, c)
			in.bytes(len(affix))
			if ok && has(part, affix) {
				return true
			}
		}
		return false
	}
}

func findMethod(id string, find func(s, sub string) int, must bool) func(*interp, value, string, args) value {
	return func(in *interp, _ value, s string, a args) value {
		p := a.bind(in, id, "/sub", "/start?", "/end?")
		sub := in.text(id, p[0])
		part, first, ok := in.part(s, p[1], p[2])
		i := -1
		if ok {
			i = find(part, sub)
		}
		if i < 0 {
			if must {
				in.fail(ErrValue, "%s: the text was not found", id)
			}
			return int64(-1)
		}
		return int64(first + utf8.RuneCountInString(part[:i]))
	}
}
