package chat

import (
	"fmt"
	"math"
	"math/big"
)

// dict is a dictionary that keeps the order of its keys.
type dict struct {
	entries []entry
	index   map[any]int // by hashed key; nil while there are few entries
}

type entry struct {
	hash any // what the key counts as: equal keys have equal hashes
	key  value
	val  value
}

// few is the size up to which looking through the entries beats an index.
const few = 8

func (d *dict) find(hash any) (int, bool) {
	if d.index != nil {
		i, ok := d.index[hash]
		return i, ok
	}
	for i := range d.entries {
		if d.entries[i].hash == hash {
			return i, true
		}
	}
	return 0, false
}

// set stores val under key, whose hash is given. A key that is there keeps its
// place.
func (d *dict) set(hash any, key, val value) {
	if i, ok := d.find(hash); ok {
		d.entries[i].val = val
		return
	}
	d.entries = append(d.entries, entry{hash, key, val})
	switch {
	case d.index != nil:
		d.index[hash] = len(d.entries) - 1
	case len(d.entries) > few:
		d.index = make(map[any]int, 2*len(d.entries))
		for i := range d.entries {
			d.index[d.entries[i].hash] = i
		}
	}
}

// setString stores val under a string.
func (d *dict) setString(key string, val value) { d.set(key, key, val) }

func (d *dict) getString(key string) (value, bool) {
	if i, ok := d.find(key); ok {
		return d.entries[i].val, true
	}
	return nil, false
}

// Hashes of what is not a string or a number, each of a type of its own.
type (
	noneHash  struct{}
	undefHash struct{}
	bigHash   string
	tupleHash string
)

// hash gives what v counts as when it is a key, and false when it cannot be
// one. 1, 1.0 and True are the same key.
func (in *interp) hash(v value) (any, bool) {
	in.step(1)
	switch v := v.(type) {
	case nil:
		return noneHash{}, true
	case bool:
		if v {
			return int64(1), true
		}
		return int64(0), true
	case int64, string:
		return v, true
	case markup:
		return string(v), true
	case float64:
		if v == math.Trunc(v) && !math.IsInf(v, 0) {
			b, _ := big.NewFloat(v).Int(nil)
			return in.hash(normInt(b))
		}
		return v, true
	case *big.Int:
		return bigHash(v.String()), true
	case *tuple:
		// Built of the parts' hashes: text of a known length, so that no two
		// tuples share one.
		in.enter()
		defer in.leave()
		var b []byte
		for _, it := range v.items {
			h, ok := in.hash(it)
			if !ok {
				return nil, false
			}
			part := fmt.Sprintf("%T %p", h, h)
			switch h.(type) {
			case string, int64, float64, noneHash, undefHash, bigHash, tupleHash:
				part = fmt.Sprintf("%T %v", h, h)
			}
			in.charge(len(part))
			b = fmt.Appendf(b, "%d:%s", len(part), part)
		}
		return tupleHash(b), true
	case *undefined:
		return undefHash{}, true
	case *list, *dict, *namespace:
		return nil, false
	case *dictView:
		return v, v.what == "values"
	}
	return v, true // by identity
}

// lookup finds v[key]; hashable is false when key cannot be a key.
func (in *interp) lookup(d *dict, key value) (val value, found, hashable bool) {
	h, ok := in.hash(key)
	if !ok {
		return nil, false, false
	}
	if i, ok := d.find(h); ok {
		return d.entries[i].val, true, true
	}
	return nil, false, true
}

// put stores val under key in a dict that is being made.
func (in *interp) put(d *dict, key, val value) {
	h, ok := in.hash(key)
	if !ok {
		in.fail(ErrValue, "a value of type %s cannot be a key", typeName(key))
	}
	in.charge(entrySize)
	d.set(h, key, val)
}
