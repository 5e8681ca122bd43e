package main

import (
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestNotify: a service manager hears that requests are taken, and that no more are.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	hear := func() string {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1000)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	s := serveIn(t, []string{"NOTIFY_SOCKET=" + path}, textModel(t))
	if got := hear(); got != "READY=1" {
		t.Errorf("%q", got)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := hear(); got != "STOPPING=1" {
		t.Errorf("%q", got)
	}
	for range s.log {
	}
	if err := s.cmd.Wait(); err != nil {
		t.Error(err)
	}
}
