package engine

import "golang.org/x/sys/unix"

// machineMemory is three quarters of the memory that is built in: the system
// does not say how much of it can be had.
func machineMemory() int64 {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0
	}
	return int64(n / 4 * 3)
}
