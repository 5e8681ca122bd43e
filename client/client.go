package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"
)

// The paths of questions, below a server's address.
const (
	Completions = "/completions"
	Chat        = "/chat/completions"
)

// Client asks one server. It is safe for several goroutines.
type Client struct {
	base string // up to and with /v1
	key  string
	http *http.Client
}

// Options are what a Client needs besides an address.
type Options struct {
	Key         string            // sent as a bearer; empty: none
	Connections int               // that are kept open between questions; 0: 2
	Transport   http.RoundTripper // nil: HTTP/1.1, with the proxy that the environment names
}

// New takes a server's address: http://HOST:PORT, alone or with the path of its API, or
// HOST:PORT. A path that is not given is /v1.
func New(address string, o Options) (*Client, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the address of a server: %w", errors.Unwrap(err))
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.User != nil, u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("%.200q is no address of a server: want http://HOST:PORT or https://HOST:PORT, and a path if its API is not at /v1", address)
	}
	if u.Path = strings.TrimRight(u.Path, "/"); u.Path == "" {
		u.Path = "/v1"
	}
	if strings.ContainsFunc(o.Key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the key has characters that no header can carry: want visible ASCII")
	}
	transport := o.Transport
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost, t.MaxIdleConns = max(o.Connections, 2), 0
		t.DisableCompression = true // the pieces of an answer are to come as they are made
		t.Protocols = new(http.Protocols)
		t.Protocols.SetHTTP1(true) // an answer has a connection of its own
		transport = t
	}
	// A key and a prompt go where they were sent and nowhere else.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{u.String(), o.Key, &http.Client{Transport: transport, CheckRedirect: stay}}, nil
}

// Address is the server's, with the path of its API.
func (c *Client) Address() string { return c.base }

// Close gives up the connections that are kept open.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// mostModels bounds the answer to Models.
const mostModels = 4 << 20

// Models are the names of the models that the server has.
func (c *Client) Models(ctx context.Context) ([]string, error) {
	res, err := c.do(ctx, http.MethodGet, "/models", nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	if res.StatusCode != http.StatusOK {
		return nil, refusal(res)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, mostModels+1))
	if err != nil {
		return nil, err
	}
	var list struct{ Data []struct{ ID string } }
	if len(data) > mostModels {
		return nil, fmt.Errorf("%s/models: the list %w", c.base, ErrTooLong)
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%s/models: want a list of models: %w", c.base, err)
	}
	var names []string
	for _, m := range list.Data {
		if m.ID != "" {
			names = append(names, m.ID)
		}
	}
	return names, nil
}

// Stream asks for an answer in pieces: body is the request as JSON, which must say
// "stream": true. The context bounds the answer, not only the question. Close ends it.
// A question is sent again, once and over a new connection, where one that was kept ended
// before anything was answered: a server may close it at the same moment.
func (c *Client) Stream(ctx context.Context, path string, body []byte) (*Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	sent := 0
	res, err := c.do(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent++ }}), http.MethodPost, path, body)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &Stream{Resent: sent > 1, ctx: ctx, body: res.Body, cancel: cancel, in: newSSEReader(res.Body, mostEvent)}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	switch {
	case res.StatusCode != http.StatusOK:
		err = refusal(res)
	case kind != "text/event-stream":
		err = fmt.Errorf("the server answered with %q: %w", cut(kind), ErrNoStream)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (c *Client) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "text/event-stream")
		r.Header["Idempotency-Key"] = nil // goes nowhere, but says that a question may be sent again
	}
	if c.key != "" {
		r.Header.Set("Authorization", "Bearer "+c.key)
	}
	res, err := c.http.Do(r)
	if err != nil {
		return nil, plain(ctx, err)
	}
	return res, nil
}

// plain is an error of a connection without the method and the address, which the
// caller knows, and with the cause if the context has ended.
func plain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

// drainTime is how long the end of an answer is waited for after its last event, so that
// the connection can be used again.
const drainTime = time.Second
