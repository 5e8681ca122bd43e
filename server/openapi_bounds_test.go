package server

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// bound is a value of a parameter and whether the document allows it.
type bound struct {
	value any
	good  bool
}

// boundsOf lists the values at the edges of a schema, and beyond.
func boundsOf(s map[string]any) (all []bound) {
	value := func(key string) (v *big.Float, ok bool) {
		n, ok := s[key].(json.Number)
		if ok {
			v, _, _ = big.ParseFloat(n.String(), 10, 100, big.ToNearestEven)
		}
		return v, ok
	}
	step := big.NewFloat(0.005)
	if kinds := fmt.Sprint(s["type"]); strings.Contains(kinds, "integer") {
		step = big.NewFloat(1)
	}
	number := func(v *big.Float) json.Number { return json.Number(v.Text('f', -1)) }
	if v, ok := value("minimum"); ok {
		all = append(all, bound{number(v), true}, bound{number(new(big.Float).Sub(v, step)), false})
	}
	if v, ok := value("exclusiveMinimum"); ok {
		all = append(all, bound{number(v), false})
	}
	if v, ok := value("maximum"); ok {
		all = append(all, bound{number(v), true}, bound{number(new(big.Float).Add(v, step)), false})
	}
	count := func(key string) int {
		v, ok := value(key)
		if !ok {
			return -1
		}
		n, _ := v.Int64()
		return int(n)
	}
	if n := count("minLength"); n > 0 {
		all = append(all, bound{strings.Repeat("x", n-1), false})
	}
	if n := count("maxLength"); n > 0 {
		all = append(all, bound{strings.Repeat("x", n), true}, bound{strings.Repeat("x", n+1), false})
	}
	items, _ := s["items"].(map[string]any)
	if n := count("minItems"); n > 0 {
		all = append(all, bound{many(items, n), true}, bound{many(items, n-1), false})
	}
	if n := count("maxItems"); n >= 0 {
		all = append(all, bound{many(items, n), true}, bound{many(items, n+1), false})
	}
	for _, b := range boundsOfNot(items) {
		all = append(all, bound{[]any{b.value}, b.good})
	}
	if n := count("maxProperties"); n >= 0 {
		few, lot := map[string]any{}, map[string]any{}
		for i := range n + 1 {
			lot[strconv.Itoa(i)] = 0
			if i < n {
				few[strconv.Itoa(i)] = 0
			}
		}
		all = append(all, bound{few, true}, bound{lot, false})
	}
	if in, ok := s["additionalProperties"].(map[string]any); ok {
		for _, b := range boundsOf(in) {
			all = append(all, bound{map[string]any{"5": b.value}, b.good})
		}
	}
	if s["propertyNames"] != nil {
		for _, name := range []string{"", "x", "+1", "01", "-1", "1.0"} {
			all = append(all, bound{map[string]any{name: 0}, false})
		}
	}
	if values, ok := s["enum"].([]any); ok {
		for _, v := range values {
			all = append(all, bound{v, true})
		}
		all = append(all, bound{"no value of it", false})
	}
	if v, ok := s["const"]; ok {
		all = append(all, bound{v, true}, bound{"another one", false})
	}
	if s["type"] == "null" {
		all = append(all, bound{nil, true}, bound{map[string]any{}, false})
	}
	if one, ok := s["anyOf"].([]any); ok {
		for _, s := range one {
			all = append(all, boundsOfNot(s.(map[string]any))...)
		}
	}
	return all
}

// boundsOfNot is boundsOf where null is another alternative.
func boundsOfNot(s map[string]any) []bound {
	if s == nil || s["type"] == "null" {
		return nil
	}
	return boundsOf(s)
}

// many is a list of n values that a schema allows.
func many(s map[string]any, n int) []any {
	var one any = map[string]any{"role": "user", "content": "x"}
	switch {
	case s["const"] != nil:
		one = s["const"]
	case s["type"] == "string":
		one = "x"
	case s["type"] == "integer":
		one = 5
	case s["type"] == "array":
		one = []any{5}
	}
	list := make([]any, n)
	for i := range list {
		list[i] = one
	}
	return list
}

// TestOpenAPIBounds: what the document allows at the edge of a bound is taken, and what
// is beyond is refused by the parameter's name.
func TestOpenAPIBounds(t *testing.T) {
	if testing.Short() {
		t.Skip("asks some hundred questions one after the other: run without -short")
	}
	w := start(t, nil)
	_, data, _ := w.ask("GET", "/openapi.json", "")
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	var doc map[string]any
	if err := d.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	bases := map[string]string{
		"/v1/chat/completions": `{"model":"tiny","max_tokens":0,"logprobs":true,` + hello + `}`,
		"/v1/completions":      `{"model":"tiny","max_tokens":0,"prompt":"x"}`,
		"/v1/embeddings":       `{"model":"tiny","input":"x"}`,
		"/tokenize":            `{` + hello + `}`,
		"/detokenize":          `{"tokens":[5]}`,
	}
	tried := 0
	for _, o := range operations {
		if o.body == nil {
			continue
		}
		for name := range at(doc, "paths", o.path, lower[o.method], "requestBody", "content", "application/json", "schema", "properties") {
			for _, b := range boundsOf(at(doc, "paths", o.path, lower[o.method], "requestBody", "content", "application/json", "schema", "properties", name)) {
				var body map[string]any
				if err := json.Unmarshal([]byte(bases[o.path]), &body); err != nil {
					t.Fatalf("%s: %v", o.path, err)
				}
				body[name] = b.value
				if name == "best_of" { // which is n
					body["n"] = b.value
				}
				text, err := json.Marshal(body)
				if err != nil {
					t.Fatal(err)
				}
				code, data, _ := w.ask(o.method, o.path, string(text))
				var e errorBody
				if code != http.StatusOK && json.Unmarshal(data, &e) != nil {
					t.Fatalf("%s", data)
				}
				long := e.Error.Code != nil && *e.Error.Code == "context_length_exceeded"
				named := e.Error.Param != nil && (*e.Error.Param == name || name == "best_of" && *e.Error.Param == "n")
				if name == "model" && !b.good && code == http.StatusNotFound && named {
					continue // which has a status of its own
				}
				if tried++; b.good && code != http.StatusOK && !long || !b.good && (code != http.StatusBadRequest || !named && !long) {
					t.Errorf("%s: %s: the document allows it: %v; the server says %d %s, to %.200s", o.path, name, b.good, code, data, text)
				}
			}
		}
	}
	if tried < 100 {
		t.Errorf("%d values were tried", tried)
	}
}

// TestBelow: the pattern of token ids takes those that there are.
func TestBelow(t *testing.T) {
	for _, n := range []int{1, 2, 9, 10, 11, 40, 100, 101, 999, 1000, 1010, 4096} {
		pattern := regexp.MustCompile(below(n))
		for i := -10; i < 10*n+20; i++ {
			if got := pattern.MatchString(strconv.Itoa(i)); got != (i >= 0 && i < n) {
				t.Errorf("%d of %d: %v, by %s", i, n, got, pattern)
			}
		}
		for _, bad := range []string{"", "00", "01", "+1", "1 ", "x", "1.0"} {
			if pattern.MatchString(bad) {
				t.Errorf("%q of %d, by %s", bad, n, pattern)
			}
		}
	}
}
