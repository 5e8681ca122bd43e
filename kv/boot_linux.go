package kv

import (
	"os"
	"strings"
)

// bootID names the time since the machine was started, or is empty where nothing does.
// For as long as it is the same, what a process has written to a file is there in the
// order in which it wrote, however it ended.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
