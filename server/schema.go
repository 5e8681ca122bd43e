package server

import (
	"encoding/json"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
)

// schema is a JSON Schema in the dialect of OpenAPI 3.1.
type schema map[string]any

// schemas makes schemas of the Go types that bodies are decoded into and answers are
// encoded from, so that neither has a field that the other lacks. What a type does not
// say, such as bounds, is a fact: by the name of the type, or by the field's JSON name
// after the type's, as in "params.n".
type schemas struct {
	facts map[string]schema
	told  map[string]bool // facts that were used
	parts schema          // the structs, by name
}

// ref names the schema of a struct, which of makes if it is not there yet.
func (s *schemas) ref(t reflect.Type, of func(reflect.Type, ...string) schema, needed ...string) schema {
	name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
	if s.parts[name] == nil {
		s.parts[name] = schema{} // which may have itself inside
		s.parts[name] = of(t, needed...)
	}
	return schema{"$ref": "#/components/schemas/" + name}
}

// request is the schema of a body: unknown fields are refused, and null is as good as
// nothing, but for the fields that are needed.
func (s *schemas) request(t reflect.Type, needed ...string) schema {
	properties := schema{}
	for f := range fieldsOf(t) {
		v := s.field(f, s.request)
		if !slices.Contains(needed, f.name) {
			v = orNull(v)
		}
		properties[f.name] = v
	}
	out := schema{"type": "object", "properties": properties, "additionalProperties": false}
	if len(needed) > 0 {
		out["required"] = needed
	}
	if more, ok := s.fact(t.Name() + ".*"); ok { // of all fields together
		maps.Copy(out, more)
	}
	return out
}

// answer is the schema of what the server writes.
func (s *schemas) answer(t reflect.Type, _ ...string) schema {
	properties, always := schema{}, []string{}
	for f := range fieldsOf(t) {
		v := s.field(f, s.answer)
		if f.typ.Kind() == reflect.Pointer && !f.optional {
			v = orNull(v)
		}
		if !f.optional {
			always = append(always, f.name)
		}
		properties[f.name] = v
	}
	return schema{"type": "object", "properties": properties, "required": always}
}

type field struct {
	owner, name string
	typ         reflect.Type
	optional    bool
}

// fieldsOf yields the fields that encoding/json sees, those of embedded structs among
// them.
func fieldsOf(t reflect.Type) func(yield func(field) bool) {
	return func(yield func(field) bool) {
		for f := range t.Fields() {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous:
				for inner := range fieldsOf(f.Type) {
					if !yield(inner) {
						return
					}
				}
			case name != "" && name != "-":
				if !yield(field{t.Name(), name, f.Type, options == "omitempty"}) {
					return
				}
			}
		}
	}
}

func (s *schemas) field(f field, object func(reflect.Type, ...string) schema) schema {
	v := s.of(f.typ, object)
	if fact, ok := s.fact(f.owner + "." + f.name); ok {
		maps.Copy(v, fact)
	}
	return v
}

func (s *schemas) fact(name string) (schema, bool) {
	fact, ok := s.facts[name]
	s.told[name] = s.told[name] || ok
	return fact, ok
}

// of is the schema of a type.
func (s *schemas) of(t reflect.Type, object func(reflect.Type, ...string) schema) schema {
	if fact, ok := s.fact(t.Name()); ok {
		return maps.Clone(fact)
	}
	if t == reflect.TypeFor[json.RawMessage]() {
		return schema{} // anything
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem(), object)
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return schema{"type": "integer", "format": "int64", "minimum": math.MinInt64, "maximum": math.MaxInt64}
	case reflect.Int32:
		return schema{"type": "integer", "format": "int32", "minimum": math.MinInt32, "maximum": math.MaxInt32}
	case reflect.Float32, reflect.Float64:
		return schema{"type": "number"}
	case reflect.Array:
		return schema{"type": "array", "items": s.of(t.Elem(), object), "minItems": t.Len(), "maxItems": t.Len()}
	case reflect.Slice:
		return schema{"type": "array", "items": s.of(t.Elem(), object)}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": s.of(t.Elem(), object)}
	case reflect.Struct:
		if t.Name() == "" {
			return object(t)
		}
		return s.ref(t, object)
	}
	panic("server: no schema for " + t.String())
}

// orNull allows null as well.
func orNull(v schema) schema {
	switch kind := v["type"].(type) {
	case string:
		if kind != "null" {
			v["type"] = []string{kind, "null"}
		}
	case nil:
		if one, ok := v["anyOf"].([]schema); ok {
			v["anyOf"] = append(one[:len(one):len(one)], schema{"type": "null"})
		} else if ref, ok := v["$ref"]; ok {
			delete(v, "$ref")
			v["anyOf"] = []schema{{"$ref": ref}, {"type": "null"}}
		}
	}
	if values, ok := v["enum"].([]any); ok {
		v["enum"] = append(values[:len(values):len(values)], nil)
	}
	return v
}
