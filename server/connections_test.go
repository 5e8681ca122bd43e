package server

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// TestConnections: one too many takes the place of the one that has been idle the
// longest, and is closed itself while all others have requests.
func TestConnections(t *testing.T) {
	const most = 8
	conns := NewConnections(most)
	hold, inside := make(chan struct{}), make(chan struct{}, 2*most)
	h := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			inside <- struct{}{}
			<-hold
		}
	}))
	conns.Bind(h.Config)
	h.Start()
	defer h.Close()
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", h.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	ask := func(c net.Conn, path string) {
		t.Helper()
		if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	answered := func(c net.Conn) bool {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(c).ReadString('\n')
		return err == nil && strings.Contains(line, "200")
	}
	closed := func(c net.Conn) bool {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err := io.Copy(io.Discard, c)
		return !errors.Is(err, os.ErrDeadlineExceeded)
	}
	settled := func(idle int) { // until net/http has told
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			conns.mu.Lock()
			n := conns.idle.Len()
			conns.mu.Unlock()
			if n == idle {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d are idle, want %d", n, idle)
			}
		}
	}
	// Idle ones, of which the first has had a request since, so that the second goes.
	var idle []net.Conn
	for range most {
		c := dial()
		ask(c, "/")
		if !answered(c) {
			t.Fatal("a request was not answered")
		}
		idle = append(idle, c)
		settled(len(idle))
	}
	ask(idle[0], "/")
	if !answered(idle[0]) {
		t.Fatal("a connection served one request only")
	}
	settled(most)
	c := dial()
	ask(c, "/hold")
	<-inside
	if !closed(idle[1]) || conns.Open() != most || conns.Shed() != 1 {
		t.Errorf("%d are open, %d were closed", conns.Open(), conns.Shed())
	}
	// All have requests.
	for range most - 1 {
		c := dial()
		ask(c, "/hold")
		<-inside
	}
	if conns.Open() != most || conns.Shed() != most {
		t.Errorf("%d are open, %d were closed", conns.Open(), conns.Shed())
	}
	if late := dial(); !closed(late) {
		t.Error("one too many was let in")
	}
	close(hold)
	if !answered(c) {
		t.Error("the first that was held got no answer")
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) { // until net/http has told
		late := dial()
		ask(late, "/")
		if answered(late) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("none is let in although all are idle")
		}
	}
}
