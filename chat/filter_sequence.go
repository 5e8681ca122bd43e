package chat

import "sort"

func init() {
	length := func(in *interp, v value, a args) value {
		a.bind(in, "length")
		return int64(in.mustLen(v))
	}
	filters["length"], filters["count"] = length, length
	filters["list"] = func(in *interp, v value, a args) value {
		a.bind(in, "list")
		return &list{in.collectItems(v)}
	}
	filters["join"] = filterJoin
	filters["first"] = func(in *interp, v value, a args) value {
		a.bind(in, "first")
		if x, ok := in.iterate(v)(); ok {
			return x
		}
		return undef("the first item of an empty sequence is undefined")
	}
	filters["last"] = func(in *interp, v value, a args) value {
		a.bind(in, "last")
		if x, ok := in.reversed(v)(); ok {
			return x
		}
		return undef("the last item of an empty sequence is undefined")
	}
	filters["reverse"] = func(in *interp, v value, a args) value {
		a.bind(in, "reverse")
		if s, ok := asText(v); ok {
			back := int64(-1)
			return like(v, in.sliceText(s, nil, nil, &back))
		}
		if _, ok := v.(*generator); ok {
			v = &list{in.collectItems(v)}
		}
		return &generator{in.reversed(v), v}
	}
	filters["items"] = func(in *interp, v value, a args) value {
		a.bind(in, "items")
		switch d := v.(type) {
		case *undefined:
			return &generator{overSlice(nil), nil}
		case *dict:
			return &generator{in.iterate(&dictView{d, "items"}), d}
		}
		in.fail(ErrValue, "items needs a mapping, found %s", typeName(v))
		return nil
	}
	filters["dictsort"] = filterDictsort
	filters["sort"] = func(in *interp, v value, a args) value {
		p := a.bind(in, "sort", "reverse?", "case_sensitive?", "attribute?")
		items := in.collectItems(v)
		return &list{in.sortBy(items, in.getters(p[2], in.flag(p[1])), in.flag(p[0]))}
	}
	filters["unique"] = filterUnique
	filters["groupby"] = filterGroupby
	filters["batch"] = filterBatch
	filters["slice"] = filterSlice
}

// flag reads an optional condition.
func (in *interp) flag(v value) bool { return given(v) && in.truth(v) }

func filterJoin(in *interp, v value, a args) value {
	p := a.bind(in, "join", "d?", "attribute?")
	next := in.iterate(v)
	sep := ""
	if given(p[0]) {
		sep = in.str(p[0])
	}
	get := in.getter(p[1], nil)
	return in.joined(sep, next, func(it value) string { return in.str(get(it)) })
}

// reversed walks over a sequence from its end.
func (in *interp) reversed(v value) func() (value, bool) {
	n, ok := in.length(v)
	at := func(i int) value { x, _ := in.itemOnly(v, int64(i)); return x }
	switch x := v.(type) {
	case string, markup:
		return in.reversed(&list{in.collectItems(v)})
	case *list, *tuple, *rangeVal:
	case *dict:
		at = func(i int) value { return x.entries[i].key }
	case *dictView:
		at = x.at
	case *undefined:
	default:
		ok = false
	}
	if !ok {
		in.fail(ErrValue, "a value of type %s cannot be reversed", typeName(v))
	}
	return in.counted(func() (value, bool) {
		if n == 0 {
			return nil, false
		}
		n--
		return at(n), true
	})
}

// sort orders n items: before compares two of them, apply gets the order.
// Comparing counts steps and may fail.
func (in *interp) sort(n int, before func(i, j int) bool, apply func(order []int)) {
	in.chargeItems(n, valueSize)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return before(order[a], order[b]) })
	apply(order)
}

// sortBy sorts by the keys that get makes; equal items keep their order, also
// when it is reversed.
func (in *interp) sortBy(items []value, get func(value) value, reverse bool) []value {
	in.chargeItems(len(items), 2*valueSize)
	keys := make([]value, len(items))
	for i, it := range items {
		keys[i] = get(it)
	}
	out := make([]value, 0, len(items))
	before := func(i, j int) bool { return in.compared("<", keys[i], keys[j]) }
	if reverse {
		before = func(i, j int) bool { return in.compared("<", keys[j], keys[i]) }
	}
	in.sort(len(items), before, func(order []int) {
		for _, i := range order {
			out = append(out, items[i])
		}
	})
	return out
}

func filterDictsort(in *interp, v value, a args) value {
	p := a.bind(in, "dictsort", "case_sensitive?", "by?", "reverse?")
	at := 0
	if given(p[1]) {
		switch by, _ := asText(p[1]); by {
		case "key":
		case "value":
			at = 1
		default:
			in.fail(ErrValue, `dictsort sorts by "key" or "value"`)
		}
	}
	d, ok := v.(*dict)
	if !ok {
		in.fail(ErrValue, "dictsort needs a mapping, found %s", typeName(v))
	}
	items := in.collectItems(&dictView{d, "items"})
	exact := in.flag(p[0])
	return &list{in.sortBy(items, func(it value) value {
		x := it.(*tuple).items[at]
		if !exact {
			x = in.folded(x)
		}
		return x
	}, in.flag(p[2]))}
}

func filterUnique(in *interp, v value, a args) value {
	p := a.bind(in, "unique", "case_sensitive?", "attribute?")
	var post func(value) value
	if !in.flag(p[0]) {
		post = in.folded
	}
	get := in.getter(p[1], post)
	var next func() (value, bool)
	seen := &dict{}
	return &generator{func() (value, bool) {
		if next == nil {
			next = in.iterate(v)
		}
		for {
			x, ok := next()
			if !ok {
				return nil, false
			}
			key := get(x)
			if !in.hasKey(seen, key) {
				in.put(seen, key, nil)
				return x, true
			}
		}
	}, &tuple{items: []value{v, seen}}}
}

func filterGroupby(in *interp, v value, a args) value {
	p := a.bind(in, "groupby", "attribute", "default?", "case_sensitive?")
	var fallback value
	if given(p[1]) {
		fallback = p[1]
	}
	plain := in.getterOr(p[0], nil, fallback)
	get := plain
	if !in.flag(p[2]) {
		get = in.getterOr(p[0], in.folded, fallback)
	}
	items := in.sortBy(in.collectItems(v), get, false)
	var groups []value
	var last value
	for i, it := range items {
		key := get(it)
		if i == 0 || !in.equal(key, last) {
			in.charge(4 * entrySize)
			groups = append(groups, &tuple{[]value{plain(it), &list{}}, []string{"grouper", "list"}})
			last = key
		}
		l := groups[len(groups)-1].(*tuple).items[1].(*list)
		l.items = append(l.items, it)
	}
	return &list{groups}
}

func filterBatch(in *interp, v value, a args) value {
	p := a.bind(in, "batch", "linecount", "fill_with?")
	n := in.integer("batch: linecount", p[0])
	if n < 1 {
		in.fail(ErrValue, "batch: the line count must be at least 1, found %d", n)
	}
	next := in.iterate(v)
	done := false
	return &generator{func() (value, bool) {
		if done {
			return nil, false
		}
		l := &list{}
		for int64(len(l.items)) < n {
			x, ok := next()
			if !ok {
				done = true
				break
			}
			in.charge(2 * valueSize)
			l.items = append(l.items, x)
		}
		if len(l.items) == 0 {
			return nil, false
		}
		if given(p[1]) && p[1] != nil && done {
			in.chargeItems(in.width(n), valueSize)
			for int64(len(l.items)) < n {
				l.items = append(l.items, p[1])
			}
		}
		return l, true
	}, v}
}

func filterSlice(in *interp, v value, a args) value {
	p := a.bind(in, "slice", "slices", "fill_with?")
	items := in.collectItems(v)
	n := in.width(p[0])
	if n == 0 {
		if in.integer("slice: slices", p[0]) < 0 {
			return &generator{overSlice(nil), nil}
		}
		in.fail(ErrValue, "slice: division by zero")
	}
	per, extra := len(items)/n, len(items)%n
	at, i := 0, 0
	return &generator{func() (value, bool) {
		if i >= n {
			return nil, false
		}
		size := per
		if i < extra {
			size++
		}
		in.chargeItems(size+1, valueSize)
		l := &list{append(make([]value, 0, size+1), items[at:at+size]...)}
		if given(p[1]) && p[1] != nil && i >= extra {
			l.items = append(l.items, p[1])
		}
		at += size
		i++
		return l, true
	}, &list{items}}
}
