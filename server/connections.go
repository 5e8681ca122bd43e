package server

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// Connections bounds how many connections a server has open. One too many takes the
// place of the one that has been without a request the longest, so that idle ones keep
// nobody out; while all have requests, it is closed.
type Connections struct {
	most int

	mu   sync.Mutex
	all  map[net.Conn]*list.Element // nil: it has a request
	idle list.List                  // of net.Conn, the longest first
	shed int64                      // connections that were closed for others
}

// NewConnections allows so many.
func NewConnections(most int) *Connections {
	c := &Connections{most: most, all: map[net.Conn]*list.Element{}}
	c.idle.Init()
	return c
}

// Bind makes a server tell of its connections.
func (c *Connections) Bind(h *http.Server) { h.ConnState = c.state }

// state is told by net/http what becomes of a connection.
func (c *Connections) state(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, known := c.all[conn]
	if at != nil {
		c.idle.Remove(at)
	}
	switch state {
	case http.StateNew:
		if len(c.all) >= c.most && !c.makeRoom() {
			c.shut(conn)
			return
		}
		c.all[conn] = c.idle.PushBack(conn)
	case http.StateActive:
		if known {
			c.all[conn] = nil
		}
	case http.StateIdle:
		if known {
			c.all[conn] = c.idle.PushBack(conn)
		}
	case http.StateClosed, http.StateHijacked:
		delete(c.all, conn)
	}
}

// makeRoom closes the connection that has been idle the longest, and reports whether
// there was one.
func (c *Connections) makeRoom() bool {
	first := c.idle.Front()
	if first == nil {
		return false
	}
	conn := c.idle.Remove(first).(net.Conn)
	delete(c.all, conn)
	c.shut(conn)
	return true
}

// shut closes a connection without a word, for which it might have to wait.
func (c *Connections) shut(conn net.Conn) {
	c.shed++
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	_ = conn.Close() // net/http finds out
}

// Open is how many connections there are.
func (c *Connections) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.all)
}

// Shed is how many connections were closed to make room.
func (c *Connections) Shed() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shed
}
