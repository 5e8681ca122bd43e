package server

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math/big"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"nosa/engine"
)

// documented holds the status of an answer against the document. Every answer of this
// package's tests is.
func (w *world) documented(r *http.Request, code int) {
	w.Helper()
	for _, o := range operations {
		path := regexp.MustCompile("^" + strings.NewReplacer("{name}", ".*", "{id}", "[^/]+", "{file}", "[^/]+").Replace(o.path) + "$")
		if o.method == r.Method && path.MatchString(r.URL.Path) && code != http.StatusOK && !slices.Contains(o.all(w.s.Keys != nil), code) {
			w.Errorf("%s %s answered %d, which the document does not tell", r.Method, o.path, code)
		}
	}
}

// source is the syntax of this package without its tests.
func source(t *testing.T) []*ast.File {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".go") && !strings.HasSuffix(e.Name(), "_test.go") {
			f, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
	}
	return files
}

// TestOpenAPIPaths: the document has the paths that the mux has and no others.
func TestOpenAPIPaths(t *testing.T) {
	var routes, documented []string
	for _, f := range source(t) {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 2 {
				return true
			}
			if fn, ok := call.Fun.(*ast.SelectorExpr); !ok || fn.Sel.Name != "HandleFunc" && fn.Sel.Name != "Handle" {
				return true
			}
			pattern, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				t.Errorf("a pattern that is no literal: %v", call.Args[0])
				return true
			}
			text, _ := strconv.Unquote(pattern.Value)
			if strings.Contains(text, " ") { // else all the rest, which is handed on
				routes = append(routes, strings.NewReplacer("...}", "}", "{$}", "").Replace(text))
			}
			return true
		})
	}
	for _, o := range operations {
		documented = append(documented, o.method+" "+o.path)
	}
	slices.Sort(routes)
	slices.Sort(documented)
	if !slices.Equal(routes, documented) {
		t.Errorf("the mux has\n%s\nthe document has\n%s", strings.Join(routes, "\n"), strings.Join(documented, "\n"))
	}
}

// TestOpenAPIStatuses: every status that the package's code names is in the document.
func TestOpenAPIStatuses(t *testing.T) {
	told := map[string]bool{"StatusOK": true, "StatusMethodNotAllowed": true} // which is what no operation answers
	name := func(code int) string {
		return "Status" + strings.ReplaceAll(http.StatusText(code), " ", "")
	}
	for _, o := range operations {
		for _, code := range o.all(true) {
			told[name(code)] = true
			if errorResponses()[strconv.Itoa(code)] == nil {
				t.Errorf("%s %s: status %d is described nowhere", o.method, o.path, code)
			}
		}
	}
	for _, f := range source(t) {
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "http" && strings.HasPrefix(s.Sel.Name, "Status") && s.Sel.Name != "StatusText" && !told[s.Sel.Name] {
					t.Errorf("http.%s is answered by no operation of the document", s.Sel.Name)
				}
			}
			return true
		})
	}
}

// read reads the served document.
func (w *world) document() map[string]any {
	w.Helper()
	var doc map[string]any
	w.good("GET", "/openapi.json", "", &doc)
	return doc
}

// at follows names down a document, and references on the way.
func at(doc map[string]any, names ...string) map[string]any {
	var v any = doc
	for _, n := range names {
		m, _ := v.(map[string]any)
		v = m[n]
		if m, ok := v.(map[string]any); ok {
			if ref, ok := m["$ref"].(string); ok {
				v = at(doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
			}
		}
	}
	m, _ := v.(map[string]any)
	return m
}

// TestOpenAPIFields: bodies have the fields that the decoder takes and no others, and of
// those that take anything the document says what.
func TestOpenAPIFields(t *testing.T) {
	w := start(t, nil)
	doc := w.document()
	for _, o := range operations {
		if o.body == nil {
			continue
		}
		properties := at(doc, "paths", o.path, lower[o.method], "requestBody", "content", "application/json", "schema", "properties")
		names := slices.Collect(maps.Keys(properties))
		for _, f := range reflect.VisibleFields(o.body) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" {
				if !f.Anonymous {
					t.Errorf("%s.%s has no name in JSON", o.body.Name(), f.Name)
				}
				continue
			}
			i := slices.Index(names, name)
			if i < 0 {
				t.Errorf("%s: the document lacks %s", o.path, name)
				continue
			}
			names = slices.Delete(names, i, i+1)
			if p := properties[name].(map[string]any); f.Type == reflect.TypeFor[json.RawMessage]() && len(p) == 0 {
				t.Errorf("%s: the document says nothing of %s", o.path, name)
			}
		}
		if len(names) > 0 {
			t.Errorf("%s: the document has %v, which bodies have not", o.path, names)
		}
	}
	make := &schemas{facts: w.s.facts(), told: map[string]bool{}, parts: schema{}}
	for i := range operations {
		w.s.describe(&operations[i], make)
	}
	for name := range make.facts {
		if !make.told[name] {
			t.Errorf("fact %q is of no field", name)
		}
	}
	var refs func(v any)
	refs = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok && len(at(doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)) == 0 {
				t.Errorf("%s is not there", ref)
			}
			for _, in := range v {
				refs(in)
			}
		case []any:
			for _, in := range v {
				refs(in)
			}
		}
	}
	refs(doc)
}

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

// TestOpenAPIKeys: the document needs a key as all else does, and says so.
func TestOpenAPIKeys(t *testing.T) {
	keys := &Keys{}
	file := t.TempDir() + "/keys"
	if err := os.WriteFile(file, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := keys.Load(file); err != nil {
		t.Fatal(err)
	}
	w := start(t, func(c *Config, _ *engine.Options) { c.Keys, c.Limits.Choices = keys, 3 })
	if code, _, _ := w.ask("GET", "/openapi.json", ""); code != http.StatusUnauthorized {
		t.Errorf("without a key: %d", code)
	}
	code, data, _ := w.ask("GET", "/openapi.json", "", "Authorization", "Bearer 0123456789abcdef")
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); code != http.StatusOK || err != nil {
		t.Fatalf("%d %s", code, data)
	}
	if len(at(doc, "paths", "/v1/models", "get", "responses", "401")) == 0 || at(doc, "paths", "/healthz", "get")["security"] == nil || doc["security"] == nil {
		t.Error("the document does not tell who needs a key")
	}
	if n := at(doc, "components", "schemas", "chatRequest", "properties", "n"); n["maximum"] != 3.0 {
		t.Errorf("n: %v", n)
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
