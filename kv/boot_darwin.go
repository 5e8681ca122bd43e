package kv

import "golang.org/x/sys/unix"

// bootID names the time since the machine was started, or is empty where nothing does.
// For as long as it is the same, what a process has written to a file is there in the
// order in which it wrote, however it ended.
func bootID() string {
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return id
}
