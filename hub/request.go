package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxHops   = 10       // redirects of one request; the hub itself needs one or two
	maxBody   = 8 << 10  // bytes of an error's body that are read for its message
	paceBytes = 32 << 10 // what must arrive within Config.Idle; less is a server that holds us, not one that serves
)

// answer is a response after its redirects. Its body is watched: a server that stalls ends it with ErrStalled.
type answer struct {
	*http.Response
	hub  http.Header // headers of the last response from the hub itself: it knows digests and sizes, a CDN does not
	home bool        // the response itself came from the hub
	stop func()
}

// Close ends the transfer, however far it is.
func (a *answer) Close() {
	a.stop()
	_ = a.Body.Close() // nothing was written through it
}

// send makes one request and follows its redirects: to any host, never from https to http, and with the token for the
// hub's own host alone. With toHub it stays at the hub: a redirect elsewhere is then the answer. An answer that is no
// success comes back as an error.
func (c *Client) send(ctx context.Context, method, address string, header http.Header, toHub bool) (*answer, error) {
	if c.cfg.Offline {
		return nil, fmt.Errorf("%s: HF_HUB_OFFLINE is set: %w", address, ErrOffline)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(c.cfg.Idle, func() { cancel(ErrStalled) })
	stop := func() { timer.Stop(); cancel(nil) }

	at, err := url.Parse(address)
	if err != nil {
		stop()
		return nil, fmt.Errorf("address %q: %w", clip(address), ErrName)
	}
	var hub http.Header
	for range maxHops {
		resp, err := c.hop(ctx, method, at, header)
		if err != nil {
			if cause := context.Cause(ctx); errors.Is(cause, ErrStalled) {
				err = passing("%s: no answer within %v: %w", at.Host, c.cfg.Idle, ErrStalled)
			}
			stop()
			return nil, err
		}
		if c.home(at) {
			hub = resp.Header
		}
		next, err := redirect(resp, at)
		if err != nil {
			_ = resp.Body.Close()
			stop()
			return nil, err
		}
		if next == nil || toHub && !c.home(next) {
			timer.Stop()
			a := &answer{Response: resp, hub: hub, home: c.home(at), stop: stop}
			resp.Body = &watched{body: resp.Body, ctx: ctx, timer: timer, idle: c.cfg.Idle, left: c.cfg.Idle}
			if err := c.check(a, next != nil); err != nil {
				a.Close()
				return nil, err
			}
			return a, nil
		}
		_ = resp.Body.Close()
		at = next
	}
	stop()
	return nil, wrong("%s: more than %d redirects: %w", clip(address), maxHops, ErrProtocol)
}

// hop is one request and its response, redirect or not.
func (c *Client) hop(ctx context.Context, method string, at *url.URL, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", clip(at.String()), ErrName)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", c.cfg.Agent)
	req.Header.Set("Accept-Encoding", "identity") // lengths and ranges are of the file, not of its compression
	if c.cfg.Token != "" && c.home(at) {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Token)
	}
	resp, err := c.http.Do(req)
	if err == nil {
		return resp, nil
	}
	// url.Error repeats the whole address, which may be a signed one: our own line names the host.
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) { // asking again would meet the same one
		return nil, fmt.Errorf("%s: %w: check HF_ENDPOINT, the clock, and SSL_CERT_FILE for a proxy's own authority: %w", at.Host, err, ErrAccess)
	}
	return nil, passing("%s: %w: %w", at.Host, err, ErrUnavailable)
}

// redirect gives the address that resp points to, nil if it is no redirect.
func redirect(resp *http.Response, from *url.URL) (*url.URL, error) {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil
	}
	to, err := resp.Location()
	if err != nil {
		return nil, wrong("%s: status %d without an address to go to: %w", from.Host, resp.StatusCode, ErrProtocol)
	}
	if to.Scheme != "https" && (to.Scheme != "http" || from.Scheme == "https") || to.Host == "" || to.User != nil {
		return nil, wrong("%s: redirect to %q, want https and a host: %w", from.Host, clip(to.Redacted()), ErrProtocol)
	}
	return to, nil
}

// watched is a body that ends with ErrStalled unless paceBytes arrive in every idle's worth of waiting. Only waiting
// for the server counts: a slow disk on our side is not its fault.
type watched struct {
	body       io.ReadCloser
	ctx        context.Context // of the request; the timer cancels it
	timer      *time.Timer
	idle, left time.Duration
	got        int
}

func (w *watched) Read(p []byte) (int, error) {
	start := time.Now()
	w.timer.Reset(w.left)
	n, err := w.body.Read(p)
	w.timer.Stop()
	w.left = max(w.left-time.Since(start), 0)
	if w.got += n; w.got >= paceBytes {
		w.got, w.left = 0, w.idle
	}
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(w.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}

func (w *watched) Close() error { return w.body.Close() }

// shown is a server's own words on an error, "" if it gave none.
func shown(a *answer) string {
	if m := a.Header.Get("X-Error-Message"); m != "" {
		return clip(m)
	}
	b, err := io.ReadAll(io.LimitReader(a.Body, maxBody))
	if err != nil || !strings.Contains(a.Header.Get("Content-Type"), "json") {
		return ""
	}
	return clip(errorField(b))
}
