package chat

import (
	"strings"
	"unicode/utf8"
)

// iterate walks over v, or fails when v cannot be walked over.
func (in *interp) iterate(v value) func() (value, bool) {
	next, ok := in.iterator(v)
	if !ok {
		in.fail(ErrValue, "a value of type %s cannot be iterated over", typeName(v))
	}
	return next
}

// iterator gives a function that hands out the items of v one by one.
func (in *interp) iterator(v value) (next func() (value, bool), ok bool) {
	switch v := v.(type) {
	case *list:
		return in.counted(overSlice(v.items)), true
	case *tuple:
		return in.counted(overSlice(v.items)), true
	case *undefined:
		return overSlice(nil), true
	case *generator:
		return func() (value, bool) {
			in.enter() // a generator may read from another
			defer in.leave()
			return v.next()
		}, true
	case string, markup:
		s, _ := asText(v)
		return in.counted(func() (value, bool) {
			if s == "" {
				return nil, false
			}
			_, n := utf8.DecodeRuneInString(s)
			c := s[:n]
			s = s[n:]
			return strings.Clone(c), true // plain, also of a marked string
		}), true
	}
	var n int
	var at func(i int) value
	switch v := v.(type) {
	case *dict:
		n, at = len(v.entries), func(i int) value { return v.entries[i].key }
	case *dictView:
		n, at = len(v.of.entries), v.at
	case *rangeVal:
		n, at = v.len(), func(i int) value { return v.at(i) }
	default:
		return nil, false
	}
	i := 0
	return in.counted(func() (value, bool) {
		if i >= n {
			return nil, false
		}
		i++
		return at(i - 1), true
	}), true
}

func overSlice(items []value) func() (value, bool) {
	i := 0
	return func() (value, bool) {
		if i >= len(items) {
			return nil, false
		}
		i++
		return items[i-1], true
	}
}

// counted makes each item one step.
func (in *interp) counted(next func() (value, bool)) func() (value, bool) {
	return func() (value, bool) {
		in.step(1)
		return next()
	}
}

// collectItems gives all items of v.
func (in *interp) collectItems(v value) []value {
	if n, ok := in.length(v); ok {
		in.chargeItems(n, valueSize)
	}
	var items []value
	next := in.iterate(v)
	_, sized := in.length(v)
	for {
		x, ok := next()
		if !ok {
			return items
		}
		if !sized {
			in.charge(2 * valueSize)
		}
		items = append(items, x)
	}
}

// runes counts the characters of s.
func (in *interp) runes(s string) int {
	in.bytes(len(s))
	return utf8.RuneCountInString(s)
}

// window turns the bounds of a slice into a range of positions of a sequence
// of n items: the first, the step and the count.
func (in *interp) window(n int, from, to, step *int64) (first, by, count int) {
	st := int64(1)
	if step != nil {
		st = *step
	}
	if st == 0 {
		in.fail(ErrValue, "the step of a slice must not be zero")
	}
	size := int64(n)
	clip := func(p *int64, def, lo, hi int64) int64 {
		if p == nil {
			return def
		}
		i := *p
		if i < 0 {
			if i += size; i < lo {
				return lo
			}
			return min(i, hi)
		}
		return min(i, hi)
	}
	var a, b, c int64
	if st > 0 {
		a, b = clip(from, 0, 0, size), clip(to, size, 0, size)
		if a < b {
			c = (b-a-1)/st + 1
		}
	} else {
		a, b = clip(from, size-1, -1, size-1), clip(to, -1, -1, size-1)
		if a > b {
			c = int64(uint64(a-b-1)/abs(st)) + 1
		}
	}
	if c <= 1 {
		st = 1 // whatever it was, it is not walked
	}
	return int(a), int(st), int(c)
}

// slice gives v[from:to:step].
func (in *interp) slice(v value, from, to, step *int64) value {
	switch v := v.(type) {
	case string, markup:
		s, _ := asText(v)
		return like(v, in.sliceText(s, from, to, step))
	case *list:
		return &list{in.sliceItems(v.items, from, to, step)}
	case *tuple:
		return &tuple{items: in.sliceItems(v.items, from, to, step)}
	case *rangeVal:
		first, by, n := in.window(v.len(), from, to, step)
		r := &rangeVal{start: v.at(first), step: v.step * int64(by)}
		r.stop = r.at(n)
		return r
	case *undefined:
		in.failUndefined(v)
	}
	in.fail(ErrValue, "a value of type %s has no slices", typeName(v))
	return nil
}

func (in *interp) sliceItems(items []value, from, to, step *int64) []value {
	first, by, n := in.window(len(items), from, to, step)
	in.chargeItems(n, valueSize)
	out := make([]value, n)
	for i := range out {
		out[i] = items[first+i*by]
	}
	return out
}

// sliceText slices by characters. What it gives is a copy, so that a short
// piece does not keep a long string alive.
func (in *interp) sliceText(s string, from, to, step *int64) string {
	n := in.runes(s)
	first, by, count := in.window(n, from, to, step)
	if count == 0 {
		return ""
	}
	if n == len(s) && by == 1 {
		return in.clone(s[first : first+count])
	}
	if by == 1 {
		a := byteOffset(s, first)
		return in.clone(s[a : a+byteOffset(s[a:], count)])
	}
	in.chargeItems(n, 4)
	rs := []rune(s)
	var b strings.Builder
	in.chargeItems(count, 2)
	for i := range count {
		b.WriteRune(rs[first+i*by])
	}
	in.charge(b.Len())
	return b.String()
}

// byteOffset gives the offset of the character at position n.
func byteOffset(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

// clone copies a part of a string.
func (in *interp) clone(s string) string {
	in.charge(len(s))
	return strings.Clone(s)
}
