package server

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
)

// bodies bounds what all bodies together take while they are read, so that many clients
// that each stop before the end of a large one can not fill the memory.
type bodies struct {
	most int64
	held atomic.Int64
}

// heldBody is a body whose bytes count until it has been released.
type heldBody struct {
	io.ReadCloser
	of   *bodies
	held atomic.Int64
}

func (b *heldBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.held.Add(int64(n))
	if b.of.held.Add(int64(n)) > b.of.most {
		return n, &apiError{Code: http.StatusServiceUnavailable, Kind: kindServer, Name: "overloaded", Message: "the bodies of other requests take all the room that there is for them", Retry: 1}
	}
	return n, err
}

// release says that the body has been read, or that nobody will.
func (b *heldBody) release() { b.of.held.Add(-b.held.Swap(0)) }

// hold bounds a request's body, alone and with those of others.
func (s *Server) hold(w http.ResponseWriter, r *http.Request) (*heldBody, error) {
	if r.ContentLength > s.Limits.Body {
		return nil, tooLong(s.Limits.Body)
	}
	if a, ok := w.(*account); ok {
		w = a.ResponseWriter // which MaxBytesReader tells to close the connection
	}
	return &heldBody{ReadCloser: http.MaxBytesReader(w, r.Body, s.Limits.Body), of: &s.bodies}, nil
}

// tooLong refuses a body.
func tooLong(most int64) *apiError {
	return &apiError{Code: http.StatusRequestEntityTooLarge, Kind: kindInvalid, Message: fmt.Sprintf("the body is too long: want %d bytes at most", most)}
}
