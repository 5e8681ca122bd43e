package main

import (
	"net"
)

// notify tells the service manager how the process stands, in the words of systemd's
// sd_notify, if it has said where it wants to be told.
func notify(getenv func(string) string, state string) error {
	path := getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = c.Write([]byte(state))
	if end := c.Close(); err == nil {
		err = end
	}
	return err
}
