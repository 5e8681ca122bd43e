package engine

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Available is the memory that this process may still take, in bytes: what the
// machine can give, and what its control groups allow, whichever is less. 0: not
// known here.
func Available() int64 {
	free := machineMemory()
	if limit, ok := cgroupMemory(rootFS{}); ok && (free == 0 || limit < free) {
		free = max(limit, 1) // 0 would mean that nothing is known
	}
	return free
}

// readFS is the part of a file system that the memory look-ups use.
type readFS interface {
	ReadFile(name string) ([]byte, error)
}

// cgroupMemory is the least that any control group above this process leaves:
// version 2 (memory.max, memory.current) or version 1 (limit_in_bytes). Page
// cache that the kernel would give back does not count as used.
func cgroupMemory(root readFS) (int64, bool) {
	data, err := root.ReadFile("proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	best, found := int64(0), false
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		parts := strings.SplitN(line, ":", 3)
		if len(parts) != 3 {
			continue
		}
		base, limit, used, cache := "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
		if parts[1] != "" {
			if !hasController(parts[1], "memory") {
				continue
			}
			base, limit, used, cache = "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
		}
		for dir := filepath.Clean("/" + parts[2]); ; dir = filepath.Dir(dir) {
			at := filepath.Join(base, dir)
			most, err1 := number(root, filepath.Join(at, limit))
			have, err2 := number(root, filepath.Join(at, used))
			if err1 == nil && err2 == nil && most < 1<<60 {
				left := max(0, most-have+field(root, filepath.Join(at, "memory.stat"), cache))
				if !found || left < best {
					best, found = left, true
				}
			}
			if dir == "/" {
				break
			}
		}
	}
	return best, found
}

func hasController(list, name string) bool {
	for _, c := range strings.Split(list, ",") {
		if c == name {
			return true
		}
	}
	return false
}

var errUnlimited = errors.New("no limit")

func number(root readFS, name string) (int64, error) {
	data, err := root.ReadFile(name)
	if err != nil {
		return 0, err
	}
	s := strings.TrimSpace(string(data))
	if s == "max" {
		return 0, errUnlimited
	}
	return strconv.ParseInt(s, 10, 64)
}

// field reads a line "name value" of a statistics file; 0 if there is none.
func field(root readFS, file, name string) int64 {
	data, err := root.ReadFile(file)
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(data), "\n") {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return n
		}
	}
	return 0
}

// rootFS reads the machine's own files.
type rootFS struct{}

func (rootFS) ReadFile(name string) ([]byte, error) { return os.ReadFile("/" + name) }
