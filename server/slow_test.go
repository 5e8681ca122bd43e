package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"nosa/engine"
)

// raw opens a connection to the server and sends a text.
func (w *world) raw(text string) net.Conn {
	w.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		w.Fatal(err)
	}
	return c
}

// TestSlowBodies: bodies that come byte by byte are given up with status 408, and others
// are answered meanwhile.
func TestSlowBodies(t *testing.T) {
	w := start(t, func(c *Config, _ *engine.Options) { c.Limits.BodyTime = 300 * time.Millisecond })
	const body = `{"model":"tiny","prompt":"x","max_tokens":1}`
	var slow sync.WaitGroup
	for i := range 20 {
		framing := "Content-Length: " + fmt.Sprint(len(body))
		if i%2 == 1 {
			framing = "Transfer-Encoding: chunked"
		}
		c := w.raw("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + framing + "\r\n\r\n")
		slow.Go(func() {
			ended := make(chan struct{})
			go func() { // until the server has had enough
				defer close(ended)
				for at := 0; at < len(body)-1; at++ {
					piece := body[at : at+1]
					if i%2 == 1 {
						piece = "1\r\n" + piece + "\r\n"
					}
					if _, err := io.WriteString(c, piece); err != nil {
						return
					}
					time.Sleep(50 * time.Millisecond)
				}
			}()
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			defer res.Body.Close()
			var e errorBody
			if json.NewDecoder(res.Body).Decode(&e) != nil || res.StatusCode != http.StatusRequestTimeout || !res.Close {
				t.Errorf("client %d: %s, %+v, the connection ends: %v", i, res.Status, e, res.Close)
			}
			c.Close()
			<-ended
		})
	}
	for range 5 {
		var c completionResponse
		w.good("POST", "/v1/completions", body, &c)
	}
	slow.Wait()
	if held := w.s.bodies.held.Load(); held != 0 {
		t.Errorf("%d bytes of bodies are still counted", held)
	}
}

// TestUnreadBodies: a connection whose request has a body that never comes is ended, also
// where nobody reads it and no key is needed.
func TestUnreadBodies(t *testing.T) {
	w := start(t, func(c *Config, _ *engine.Options) { c.Limits.BodyTime = 300 * time.Millisecond })
	for _, request := range []string{"GET /healthz", "GET /v1/models", "POST /nothing", "POST /v1/models"} {
		c := w.raw(request + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasPrefix(string(data), "HTTP/1.1 ") {
			t.Errorf("%s: %v after %.40q", request, err, data)
		}
	}
}

// TestManyBodies: bodies that stop before their end take no more than there is for all
// of them, and when their clients go there is room again.
func TestManyBodies(t *testing.T) {
	const body, all = 1 << 16, 1 << 18
	w := start(t, func(c *Config, _ *engine.Options) { c.Limits.Body, c.Limits.Bodies = body, all })
	var open []net.Conn
	for range all / body { // each short of the last byte
		c := w.raw(fmt.Sprintf("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{\"user\":\"%s", body, strings.Repeat("x", body-10)))
		open = append(open, c)
	}
	wait := func(what string, until func(code int, data []byte) bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			code, data, _ := w.ask("POST", "/tokenize", `{"prompt":"`+strings.Repeat("x", 1000)+`"}`)
			if until(code, data) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: still %d %s", what, code, data)
			}
		}
	}
	wait("full", func(code int, data []byte) bool {
		return code == http.StatusServiceUnavailable && strings.Contains(string(data), "overloaded")
	})
	if held := w.s.bodies.held.Load(); held > all+body {
		t.Errorf("%d bytes are held", held)
	}
	for _, c := range open {
		c.Close()
	}
	wait("empty again", func(code int, _ []byte) bool { return code == http.StatusOK })
}

// TestNeverRead: a client that reads nothing of its stream is given up, and its request
// ends.
func TestNeverRead(t *testing.T) {
	w := start(t, func(c *Config, _ *engine.Options) { c.Limits.Write = 300 * time.Millisecond })
	h := httptest.NewUnstartedServer(w.s.Handler())
	h.Config.ConnState = func(c net.Conn, state http.ConnState) { // so that little is under way
		if state == http.StateNew {
			_ = c.(*net.TCPConn).SetWriteBuffer(1)
		}
	}
	h.Start()
	defer h.Close()
	const clients = 3
	for i := range clients {
		d := net.Dialer{}
		c, err := d.DialContext(t.Context(), "tcp", h.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.(*net.TCPConn).SetReadBuffer(1)
		body := fmt.Sprintf(`{"model":"tiny","max_tokens":400,"ignore_eos":true,"stream":true,"logprobs":true,"top_logprobs":20,"seed":%d,%s}`, i, hello)
		fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	for deadline := time.Now().Add(60 * time.Second); w.s.counts.cancelled.Load()+w.s.counts.failed.Load() < clients; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d requests have ended, %d were answered", w.s.counts.cancelled.Load()+w.s.counts.failed.Load(), clients, w.s.counts.answered.Load())
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := w.s.Service.Drain(ctx); err != nil {
		t.Error(err)
	}
}
