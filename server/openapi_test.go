package server

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
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
	types := &schemas{facts: w.s.facts(), told: map[string]bool{}, parts: schema{}}
	for i := range operations {
		w.s.describe(&operations[i], types)
	}
	for name := range types.facts {
		if !types.told[name] {
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
	if n := at(doc, "components", "schemas", "ChatRequest", "properties", "n"); n["maximum"] != 3.0 {
		t.Errorf("n: %v", n)
	}
}
