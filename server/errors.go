package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"nosa/chat"
	"nosa/engine"
)

// Kinds of errors in the words of OpenAI's API.
const (
	kindInvalid = "invalid_request_error"
	kindKey     = "authentication_error"
	kindRate    = "rate_limit_error"
	kindServer  = "server_error"
)

// apiError is an error as clients of OpenAI's API know it.
type apiError struct {
	Code    int    `json:"-"` // HTTP status
	Message string `json:"message"`
	Kind    string `json:"type"`
	Param   string `json:"-"`
	Name    string `json:"-"` // such as context_length_exceeded
	Retry   int    `json:"-"` // seconds
}

// unknownParameter is the code of an error whose parameter the client has made up.
const unknownParameter = "unknown_parameter"

func (e *apiError) Error() string { return e.Message }

// MarshalJSON writes null for what there is not, as OpenAI does.
func (e *apiError) MarshalJSON() ([]byte, error) {
	or := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	return json.Marshal(map[string]any{"error": map[string]any{"message": e.Message, "type": e.Kind, "param": or(e.Param), "code": or(e.Name)}})
}

// invalid is a request that can not be answered as it is.
func invalid(param, format string, args ...any) *apiError {
	return &apiError{Code: http.StatusBadRequest, Kind: kindInvalid, Param: param, Message: fmt.Sprintf(format, args...)}
}

// unsupported is a parameter that this server knows and does not do.
func unsupported(param, hint string) *apiError {
	e := invalid(param, "%s is not supported by this server%s", param, hint)
	e.Name = "unsupported_parameter"
	return e
}

// asAPI says what an error of the engine is to a client. What it says of files and
// memory is for the log.
func asAPI(err error) *apiError {
	var e *apiError
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, engine.ErrContext):
		return &apiError{Code: http.StatusBadRequest, Kind: kindInvalid, Name: "context_length_exceeded", Message: err.Error()}
	case errors.Is(err, engine.ErrOptions), errors.Is(err, chat.ErrInput), errors.Is(err, engine.ErrNoTokenizer):
		return invalid("", "%v", err)
	case errors.Is(err, engine.ErrBusy):
		return &apiError{Code: http.StatusServiceUnavailable, Kind: kindServer, Name: "overloaded", Message: err.Error(), Retry: 1}
	case errors.Is(err, engine.ErrDraining):
		return &apiError{Code: http.StatusServiceUnavailable, Kind: kindServer, Name: "shutting_down", Message: "the server is shutting down", Retry: 5}
	case errors.Is(err, engine.ErrCancelled), errors.Is(err, context.Canceled):
		return &apiError{Code: http.StatusServiceUnavailable, Kind: kindServer, Name: "cancelled", Message: "the request was cancelled"}
	}
	return &apiError{Code: http.StatusInternalServerError, Kind: kindServer, Message: "the model could not go on with this request: see the server's log"}
}

// refuse answers with an error.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e := asAPI(err)
	accountOf(r).err = err
	if e.Retry > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(e.Retry))
	}
	writeJSON(w, e.Code, e)
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // a value that JSON has not is a bug
	}
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(writeTime))
	w.WriteHeader(code)
	if _, err := w.Write(body.Bytes()); err == nil && control.Flush() == nil { // else the client has gone
		sent(w)
		_ = control.SetWriteDeadline(time.Time{})
	}
}
