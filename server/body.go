package server

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"nosa/chat"
)

// writeTime is how long a client may take for an answer that is written at once.
const writeTime = 30 * time.Second

// decode reads a request's body. A field that v does not have is an error.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	if b, ok := r.Body.(*heldBody); ok {
		defer b.release()
	}
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(&v)
	if err == nil && v == nil {
		return invalid("", "the body is null: want an object")
	}
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			if err = more; err == nil {
				return invalid("", "the body goes on after its JSON object")
			}
		}
	}
	// The whole body is there; what is read from here on is whether the client is.
	if err == nil {
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}
	return badBody(err)
}

// badBody says what is wrong with a body.
func badBody(err error) error {
	var (
		long   *http.MaxBytesError
		syntax *json.SyntaxError
		kind   *json.UnmarshalTypeError
		known  *apiError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.As(err, &long):
		return tooLong(long.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &apiError{Code: http.StatusRequestTimeout, Kind: kindInvalid, Message: "the body took too long to come"}
	case errors.Is(err, chat.ErrInput), errors.Is(err, chat.ErrLimit):
		return invalid("messages", "messages: %v", err)
	case errors.As(err, &syntax):
		return invalid("", "the body is not JSON: %v, at byte %d", err, syntax.Offset)
	case errors.As(err, &kind):
		field := strings.TrimPrefix(kind.Field, "params.") // which is embedded
		return invalid(field, "%s: want %s, not %s", field, kindOf(kind.Type.String()), kind.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return invalid("", "the body is not whole JSON")
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name = strings.Trim(name, `"`)
		e := invalid(name, "%.100q is not known to this server", name)
		e.Name = unknownParameter
		return e
	}
	return invalid("", "the body could not be read: %v", err)
}

// kindOf is a type of Go in words of JSON.
func kindOf(t string) string {
	switch t = strings.TrimLeft(t, "*"); {
	case strings.HasPrefix(t, "int"), strings.HasPrefix(t, "uint"):
		return "an integer"
	case strings.HasPrefix(t, "float"):
		return "a number"
	case t == "bool":
		return "true or false"
	case t == "string":
		return "a string"
	case strings.HasPrefix(t, "[]"):
		return "a list"
	}
	return "an object"
}
