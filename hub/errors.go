package hub

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrName is returned for a model name, revision, file name or setting that can not be one.
	ErrName = errors.New("not a valid name")
	// ErrNotFound is returned when the hub has no such model, revision or file, or hides it from this token.
	ErrNotFound = errors.New("not found at the hub")
	// ErrAccess is returned when the hub knows the model but refuses it: a gated model, or a token without the right.
	ErrAccess = errors.New("access refused")
	// ErrDigest is returned when what arrived is not what its digest promised.
	ErrDigest = errors.New("digest does not match")
	// ErrProtocol is returned when a server's answer breaks the protocol: wrong lengths, ranges, headers or JSON.
	ErrProtocol = errors.New("the server's answer is wrong")
	// ErrUnavailable is returned when a server could not be reached or kept failing, after all retries.
	ErrUnavailable = errors.New("the server is unavailable")
	// ErrStalled is returned when a server stopped sending, or sent too slowly to ever end.
	ErrStalled = errors.New("the transfer stalled")
	// ErrSpace is returned when the files do not fit on the disk of the store.
	ErrSpace = errors.New("not enough disk space")
	// ErrNotPulled is returned by Lookup for a model that is not in the store.
	ErrNotPulled = errors.New("not pulled yet")
	// ErrOffline is returned by Pull when the network is needed but switched off.
	ErrOffline = errors.New("the network is switched off")
	// ErrStore is returned when a file of the store itself is damaged.
	ErrStore = errors.New("the store is damaged")
)

// transient marks an error that may pass: the request is worth repeating, wait long from now if the server said so.
type transient struct {
	err  error
	wait time.Duration // what the server asked for; 0: it did not say
}

func (t *transient) Error() string { return t.err.Error() }
func (t *transient) Unwrap() error { return t.err }

// suspect marks an answer that was wrong rather than missing. It is asked for once more, from the beginning: a broken
// proxy may have been in the way. A second one is the server's last word.
type suspect struct{ err error }

func (s *suspect) Error() string { return s.err.Error() }
func (s *suspect) Unwrap() error { return s.err }

func passing(format string, args ...any) error {
	return &transient{err: fmt.Errorf(format, args...)}
}

func wrong(format string, args ...any) error {
	return &suspect{err: fmt.Errorf(format, args...)}
}
