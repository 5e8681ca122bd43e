package trace

import (
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"strconv"
)

// The names are those of OTLP's messages in JSON: ids are in hexadecimal, 64-bit numbers
// are strings.
type (
	request struct {
		Resources []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource resource     `json:"resource"`
		Scopes   []scopeSpans `json:"scopeSpans"`
	}
	resource struct {
		Attributes []attribute `json:"attributes"`
	}
	scopeSpans struct {
		Scope scope      `json:"scope"`
		Spans []jsonSpan `json:"spans"`
	}
	scope struct {
		Name string `json:"name"`
	}
	jsonSpan struct {
		Trace      string      `json:"traceId"`
		ID         string      `json:"spanId"`
		State      string      `json:"traceState,omitempty"`
		Parent     string      `json:"parentSpanId,omitempty"`
		Name       string      `json:"name"`
		Kind       int         `json:"kind"`
		Start      string      `json:"startTimeUnixNano"`
		End        string      `json:"endTimeUnixNano"`
		Attributes []attribute `json:"attributes,omitempty"`
		Status     *status     `json:"status,omitempty"`
	}
	status struct {
		Code    int    `json:"code"`
		Message string `json:"message,omitempty"`
	}
	attribute struct {
		Key   string `json:"key"`
		Value value  `json:"value"`
	}
	// value has one of its fields.
	value struct {
		String *string  `json:"stringValue,omitempty"`
		Bool   *bool    `json:"boolValue,omitempty"`
		Int    *string  `json:"intValue,omitempty"`
		Double *float64 `json:"doubleValue,omitempty"`
		List   *list    `json:"arrayValue,omitempty"`
	}
	list struct {
		Values []value `json:"values"`
	}
)

// Kinds and codes of OTLP.
const (
	kindInternal = 1
	kindServer   = 2
	statusError  = 2
)

// encode writes a request with spans of one resource.
func encode(about []slog.Attr, spans []Span) ([]byte, error) {
	out := make([]jsonSpan, len(spans))
	for i, s := range spans {
		j := jsonSpan{
			Trace: hex.EncodeToString(s.Trace[:]), ID: hex.EncodeToString(s.Span[:]), State: s.State, Name: s.Name, Kind: kindInternal,
			Start: strconv.FormatInt(s.Start.UnixNano(), 10), End: strconv.FormatInt(s.End.UnixNano(), 10), Attributes: attributes(s.Attributes),
		}
		if s.Parent != [8]byte{} {
			j.Parent = hex.EncodeToString(s.Parent[:])
		}
		if s.Server {
			j.Kind = kindServer
		}
		if s.Error != "" {
			j.Status = &status{statusError, s.Error}
		}
		out[i] = j
	}
	return json.Marshal(request{[]resourceSpans{{resource{attributes(about)}, []scopeSpans{{scope{"nosa"}, out}}}}})
}

func attributes(in []slog.Attr) []attribute {
	out := make([]attribute, len(in))
	for i, a := range in {
		out[i] = attribute{a.Key, valueOf(a.Value.Resolve())}
	}
	return out
}

func valueOf(v slog.Value) value {
	switch v.Kind() {
	case slog.KindBool:
		b := v.Bool()
		return value{Bool: &b}
	case slog.KindInt64, slog.KindUint64:
		s := v.String()
		return value{Int: &s}
	case slog.KindFloat64:
		f := v.Float64()
		return value{Double: &f}
	}
	if texts, ok := v.Any().([]string); ok {
		l := list{Values: make([]value, len(texts))}
		for i := range texts {
			l.Values[i].String = &texts[i]
		}
		return value{List: &l}
	}
	s := v.String()
	return value{String: &s}
}
