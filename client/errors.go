package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"
)

// ErrCut is returned for an answer that ends before the server said that it does.
var ErrCut = errors.New("the stream ended before the answer did")

// ErrNoStream is returned where a server answers with something else than a stream.
var ErrNoStream = errors.New("want an answer in pieces (text/event-stream)")

// StatusError is an answer with a status other than 200.
type StatusError struct {
	Code    int
	Message string // in the server's words, may be empty
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("HTTP %d %s", e.Code, http.StatusText(e.Code))
	if e.Message != "" {
		s = strings.TrimSpace(s) + ": " + e.Message
	}
	return s
}

// StreamError is an error that came where a piece of the answer should have come.
type StreamError struct{ Message string }

func (e *StreamError) Error() string { return "the server broke off: " + e.Message }

const (
	mostMessage = 300      // bytes of a server's message that are kept
	mostRefusal = 64 << 10 // bytes of a refusal that are read
)

// refusal reads why a request was not answered.
func refusal(res *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(res.Body, mostRefusal)) // what came of it is what there is to say
	message := messageOf(body)
	if to := res.Header.Get("Location"); to != "" && message == "" {
		message = "it points to " + cut(to) + ": name that address"
	}
	return &StatusError{res.StatusCode, message}
}

// messageOf finds the message in the shapes that servers give to errors, or takes the
// text as it is.
func messageOf(body []byte) string {
	var shape struct {
		Error   json.RawMessage `json:"error"`
		Message json.RawMessage `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	var text string
	if json.Unmarshal(body, &shape) != nil {
		if json.Unmarshal(body, &text) != nil {
			text = string(body)
		}
		return cut(text)
	}
	for _, raw := range []json.RawMessage{shape.Error, shape.Message, shape.Detail} {
		if len(raw) == 0 || string(raw) == "null" {
			continue
		}
		var inner struct {
			Message string `json:"message"`
		}
		switch {
		case json.Unmarshal(raw, &text) == nil:
			return cut(text)
		case json.Unmarshal(raw, &inner) == nil && inner.Message != "":
			return cut(inner.Message)
		}
		return cut(string(raw))
	}
	return cut(string(body))
}

// cut shortens a message, between characters, and makes it one line.
func cut(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s[:min(len(s), 4*mostMessage)], "?")), " ")
	if len(s) <= mostMessage {
		return s
	}
	at := mostMessage
	for !utf8.RuneStart(s[at]) {
		at--
	}
	return s[:at] + "…"
}
