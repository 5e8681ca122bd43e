package chat

import "math"

// maxRange is the longest range that the sandbox makes.
const maxRange = 100_000

// functions are what a template can call without being handed it.
var functions = []*function{
	{name: "range", call: makeRange},
	{name: "dict", call: makeDict},
	{name: "namespace", call: func(in *interp, a args) value {
		d := makeDict(in, a).(*dict)
		for i := range d.entries {
			if id, ok := asText(d.entries[i].key); ok {
				in.checkAttr(id)
			}
		}
		return &namespace{*d}
	}},
	{name: "cycler", call: func(in *interp, a args) value {
		a.noNames(in, "cycler")
		if len(a.pos) == 0 {
			in.fail(ErrValue, "cycler needs items")
		}
		return &cycler{items: a.pos}
	}},
	{name: "joiner", call: func(in *interp, a args) value {
		p := a.bind(in, "joiner", "sep?")
		if !given(p[0]) {
			p[0] = ", "
		}
		return &joiner{sep: p[0]}
	}},
	{name: "raise_exception", call: func(in *interp, a args) value {
		in.fail(ErrRaised, "%s", in.clipped(in.str(a.bind(in, "raise_exception", "message")[0])))
		return nil
	}},
	{name: "strftime_now", call: func(in *interp, a args) value {
		format := in.text("strftime_now", a.bind(in, "strftime_now", "format")[0])
		return in.strftime(in.now(), format)
	}},
}

// clipped shortens what a template says to the length of an error message.
func (in *interp) clipped(s string) string {
	const most = 1000
	if len(s) <= most {
		return s
	}
	return in.sliceText(s[:min(len(s), 4*most)], nil, ptr(most), nil) + "…"
}

func ptr(n int64) *int64 { return &n }

func makeRange(in *interp, a args) value {
	a.noNames(in, "range")
	if len(a.pos) < 1 || len(a.pos) > 3 {
		in.fail(ErrValue, "range takes one to three arguments, found %d", len(a.pos))
	}
	var n [3]int64
	for i, v := range a.pos {
		n[i] = in.integer("range: an argument", v)
		if n[i] == math.MinInt64 || n[i] == math.MaxInt64 {
			in.fail(ErrLimit, "range: an argument does not fit 63 bits")
		}
	}
	r := &rangeVal{start: n[0], stop: n[1], step: 1}
	switch len(a.pos) {
	case 1:
		r.start, r.stop = 0, n[0]
	case 3:
		if r.step = n[2]; r.step == 0 {
			in.fail(ErrValue, "range: the step must not be zero")
		}
	}
	if r.size() > maxRange {
		in.fail(ErrLimit, "a range of more than %d items", maxRange)
	}
	return r
}

// makeDict is dict(mapping or pairs, name=value, …).
func makeDict(in *interp, a args) value {
	d := &dict{}
	if len(a.pos) > 1 {
		in.fail(ErrValue, "dict takes at most one argument without a name, found %d", len(a.pos))
	}
	if len(a.pos) == 1 {
		if from, ok := a.pos[0].(*dict); ok {
			for i := range from.entries {
				in.charge(entrySize)
				d.set(from.entries[i].hash, from.entries[i].key, from.entries[i].val)
			}
		} else {
			next := in.iterate(a.pos[0])
			for {
				pair, ok := next()
				if !ok {
					break
				}
				kv := in.unpack(pair, 2)
				in.put(d, kv[0], kv[1])
			}
		}
	}
	for i, id := range a.names {
		in.put(d, id, a.vals[i])
	}
	return d
}
