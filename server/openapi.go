package server

import (
	"maps"
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

// operation is what the document says of a path and a method.
type operation struct {
	method, path string
	summary      string
	open         bool         // needs no key
	body         reflect.Type // nil: none
	needed       []string     // fields of it
	answer       reflect.Type // nil: not JSON
	stream       reflect.Type // of one event, if the answer may come in pieces
	statuses     []int        // besides 200 and those of every such path
	query        []string     // names of parameters, which all may be left out
	kind         string       // of what is no JSON; empty: text/plain
}

// Statuses that come from what all requests pass, and those of the ones with a body.
var (
	everyStatus = []int{http.StatusMisdirectedRequest, http.StatusInternalServerError}
	keyStatus   = []int{http.StatusUnauthorized}
	bodyStatus  = []int{http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusServiceUnavailable}
	// askStatus is of what the engine is asked: another model, too many requests, a
	// server that is busy or shutting down.
	askStatus = []int{http.StatusNotFound, http.StatusTooManyRequests}
	// fileStatus is of files, parts of which may be asked for, or whether they have changed.
	fileStatus = []int{http.StatusPartialContent, http.StatusNotModified, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable}
)

var operations = []operation{
	{method: "POST", path: "/v1/chat/completions", summary: "An answer in a conversation, whole or in pieces.",
		body: reflect.TypeFor[chatRequest](), needed: []string{"messages", "model"},
		answer: reflect.TypeFor[chatResponse](), stream: reflect.TypeFor[chatResponse](), statuses: askStatus},
	{method: "POST", path: "/v1/completions", summary: "A text goes on, whole or in pieces.",
		body: reflect.TypeFor[completionRequest](), needed: []string{"model", "prompt"},
		answer: reflect.TypeFor[completionResponse](), stream: reflect.TypeFor[completionResponse](), statuses: askStatus},
	{method: "POST", path: "/v1/embeddings", summary: "Vectors of texts: hidden states after the last norm, pooled, of length 1.",
		body: reflect.TypeFor[embeddingRequest](), needed: []string{"input", "model"},
		answer: reflect.TypeFor[embeddingResponse](), statuses: askStatus},
	{method: "GET", path: "/v1/models", summary: "The one model there is.", answer: reflect.TypeFor[modelList]()},
	{method: "GET", path: "/v1/models/{name}", summary: "A model by its name.",
		answer: reflect.TypeFor[modelObject](), statuses: []int{http.StatusNotFound}},
	{method: "POST", path: "/tokenize", summary: "The ids of a text, or of a conversation as the model reads it.",
		body: reflect.TypeFor[tokenizeRequest](), answer: reflect.TypeFor[tokenizeResponse](), statuses: []int{http.StatusNotFound}},
	{method: "POST", path: "/detokenize", summary: "The text of ids.",
		body: reflect.TypeFor[detokenizeRequest](), needed: []string{"tokens"}, answer: reflect.TypeFor[detokenizeResponse](), statuses: []int{http.StatusNotFound}},
	{method: "GET", path: "/tokenizer_info", summary: "What clients that count tokens must know, under the names of tokenizer_config.json.",
		answer: reflect.TypeFor[tokenizerResponse](), statuses: []int{http.StatusBadRequest}},
	{method: "GET", path: "/nosa/state", summary: "How requests stand, and what the tiers have done.",
		answer: reflect.TypeFor[stateResponse](), statuses: []int{http.StatusServiceUnavailable}},
	{method: "GET", path: "/nosa/cache", summary: "Where the blocks of a request are, or those that no request holds.", query: []string{"request", "choice", "layers", "blocks"},
		answer: reflect.TypeFor[cacheResponse](), statuses: []int{http.StatusBadRequest, http.StatusForbidden, http.StatusServiceUnavailable}},
	{method: "POST", path: "/nosa/requests/{id}/cancel", summary: "Ends a request.",
		body: reflect.TypeFor[cancelRequest](), answer: reflect.TypeFor[cancelResponse](), statuses: []int{http.StatusNotFound}},
	{method: "GET", path: "/", summary: "The page.", open: true, kind: "text/html", statuses: fileStatus},
	{method: "GET", path: "/page/{file}", summary: "A file of the page.", open: true, kind: "*/*", statuses: append([]int{http.StatusNotFound}, fileStatus...)},
	{method: "GET", path: "/metrics", summary: "Counters and gauges in Prometheus's text format.",
		statuses: []int{http.StatusServiceUnavailable}},
	{method: "GET", path: "/openapi.json", summary: "This document.", answer: reflect.TypeFor[anything]()},
	{method: "GET", path: "/healthz", summary: "The process answers.", open: true, answer: reflect.TypeFor[status]()},
	{method: "GET", path: "/health", summary: "As /readyz.", open: true,
		answer: reflect.TypeFor[status](), statuses: []int{http.StatusServiceUnavailable}},
	{method: "GET", path: "/readyz", summary: "Whether requests are taken; status 503 while the server shuts down.", open: true,
		answer: reflect.TypeFor[status](), statuses: []int{http.StatusServiceUnavailable}},
}

// all are the statuses of an operation but 200.
func (o *operation) all(keys bool) []int {
	all := append([]int{}, everyStatus...)
	if keys && !o.open {
		all = append(all, keyStatus...)
	}
	if o.body != nil {
		all = append(all, bodyStatus...)
	}
	return append(all, o.statuses...)
}

// anything is an object of which nothing is said.
type anything struct{}

// openAPI answers GET /openapi.json.
func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.document())
}

// document describes every path in the words of OpenAPI 3.1, with this server's bounds.
func (s *Server) document() schema {
	types := &schemas{facts: s.facts(), told: map[string]bool{}, parts: schema{"Error": errorSchema()}}
	paths := schema{}
	for i := range operations {
		o := &operations[i]
		if paths[o.path] == nil {
			paths[o.path] = schema{}
		}
		paths[o.path].(schema)[lower[o.method]] = s.describe(o, types)
	}
	components := schema{"schemas": types.parts, "responses": errorResponses()}
	doc := schema{
		"openapi": "3.1.0",
		"info": schema{"title": "nosa", "version": "1", "license": schema{"name": "Apache-2.0", "identifier": "Apache-2.0"},
			"description": "The OpenAI API for one model. What this server does not do is refused with an error that names the parameter. " +
				"Requests that HTTP itself forbids, such as headers that are too large, are answered before any path is looked up, in plain text."},
		"paths": paths, "components": components,
	}
	if s.Keys != nil {
		components["securitySchemes"] = schema{"key": schema{"type": "http", "scheme": "bearer"}}
		doc["security"] = []schema{{"key": []string{}}}
	}
	return doc
}

var lower = map[string]string{http.MethodGet: "get", http.MethodPost: "post"}

// describe is an operation in the document.
func (s *Server) describe(o *operation, types *schemas) schema {
	kind := o.kind
	if kind == "" {
		kind = "text/plain"
	}
	good := schema{kind: schema{"schema": schema{"type": "string"}}}
	if o.answer != nil {
		good = schema{"application/json": schema{"schema": types.ref(o.answer, types.answer)}}
	}
	description := "The answer."
	if o.stream != nil {
		description = "The answer; with \"stream\": true in server-sent events, whose data are JSON and at last [DONE]. The choices of a conversation " +
			"have a delta there instead of a message. What goes wrong after the first event is an event of the schema Error. " +
			"Lines that begin with a colon say that the stream lives."
		event := schema{"anyOf": []schema{types.ref(o.stream, types.answer), {"$ref": "#/components/schemas/Error"}}}
		data := schema{"type": "string", "anyOf": []schema{{"const": "[DONE]"}, {"contentMediaType": "application/json", "contentSchema": event}}}
		good["text/event-stream"] = schema{"schema": schema{"type": "object", "description": "One event.", "required": []string{"data"}, "properties": schema{"data": data}}}
	}
	header := schema{"X-Request-Id": schema{"description": "The request's name in the server's log.", "schema": schema{"type": "string"}}}
	responses := schema{"200": schema{"description": description, "headers": header, "content": good}}
	for _, code := range o.all(s.Keys != nil) {
		responses[strconv.Itoa(code)] = schema{"$ref": "#/components/responses/" + strconv.Itoa(code)}
	}
	if o.answer == reflect.TypeFor[status]() && len(o.statuses) > 0 { // says how it is, and no error
		responses["503"] = schema{"description": "No more requests are taken.", "headers": header, "content": good}
	}
	out := schema{"summary": o.summary, "operationId": operationID(o), "responses": responses}
	if o.open && s.Keys != nil {
		out["security"] = []schema{}
	}
	var parameters []schema
	for part := range strings.SplitSeq(o.path, "/") {
		if name := strings.Trim(part, "{}"); name != part {
			p := schema{"name": name, "in": "path", "required": true, "schema": schema{"type": "string"}}
			if example := map[string]string{"/v1/models/{name}": s.Model, "/page/{file}": "app.js"}[o.path]; example != "" {
				p["example"] = example
			}
			parameters = append(parameters, p)
		}
	}
	for _, name := range o.query {
		parameters = append(parameters, schema{"name": name, "in": "query", "schema": queries[name]})
	}
	if parameters != nil {
		out["parameters"] = parameters
	}
	if o.body != nil {
		out["requestBody"] = schema{"required": true, "description": "At most " + strconv.FormatInt(s.Limits.Body, 10) + " bytes.",
			"content": schema{"application/json": schema{"schema": types.ref(o.body, types.request, o.needed...)}}}
	}
	return out
}

// operationID names an operation for generated clients.
func operationID(o *operation) string {
	var id []byte
	for i, word := 0, true; i < len(o.path); i++ {
		c := o.path[i]
		switch letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'; {
		case !letter:
			word = true
		case word && len(id) > 0 && c >= 'a':
			id, word = append(id, c-'a'+'A'), false
		default:
			id, word = append(id, c), false
		}
	}
	return lower[o.method] + string(id)
}

// queries are the schemas of what may stand in a query.
var queries = map[string]schema{
	"request": {"type": "string", "description": "A request's id; without it, blocks that no request holds, for the keys of operators."},
	"choice":  {"type": "integer", "description": "Of its answers."},
	"layers":  {"type": "string", "pattern": "^[0-9]+-[0-9]+$", "description": "FROM-TO."},
	"blocks":  {"type": "string", "pattern": "^[0-9]+-[0-9]+$", "description": "FROM-TO."},
}

func errorSchema() schema {
	text := schema{"type": []string{"string", "null"}}
	return schema{"type": "object", "required": []string{"error"}, "properties": schema{"error": schema{
		"type": "object", "required": []string{"code", "message", "param", "type"}, "properties": schema{
			"message": schema{"type": "string"}, "param": text, "code": text,
			"type": schema{"type": "string", "enum": []any{kindInvalid, kindKey, kindRate, kindServer}},
		}}}}
}

// errorResponses are the answers that are not 200, by status.
func errorResponses() schema {
	out := schema{}
	for code, says := range map[int]string{
		http.StatusBadRequest:            "The request is wrong, or asks for what this server does not do; param names the parameter.",
		http.StatusUnauthorized:          "A key is needed.",
		http.StatusForbidden:             "The key is not an operator's.",
		http.StatusNotFound:              "There is no such model, request or file.",
		http.StatusRequestTimeout:        "The body took too long to come.",
		http.StatusRequestEntityTooLarge: "The body is too long.",
		http.StatusUnsupportedMediaType:  "The body is not application/json.",
		http.StatusMisdirectedRequest:    "The Host header names another server.",
		http.StatusTooManyRequests:       "As many requests are open as one key may have.",
		http.StatusInternalServerError:   "The model could not go on, or the server has a bug: its log says more.",
		http.StatusServiceUnavailable:    "The server is busy or shutting down.",
	} {
		headers := schema{"X-Request-Id": schema{"schema": schema{"type": "string"}}}
		if code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable {
			headers["Retry-After"] = schema{"description": "Seconds.", "schema": schema{"type": "integer", "minimum": 1}}
		}
		out[strconv.Itoa(code)] = schema{"description": says, "headers": headers,
			"content": schema{"application/json": schema{"schema": schema{"$ref": "#/components/schemas/Error"}}}}
	}
	for _, code := range fileStatus {
		out[strconv.Itoa(code)] = schema{"description": http.StatusText(code) + "."}
	}
	return out
}

// bounded is a schema with bounds.
func bounded(low, high any, more ...schema) schema {
	out := schema{"minimum": low, "maximum": high}
	for _, m := range more {
		maps.Copy(out, m)
	}
	return out
}
