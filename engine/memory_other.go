//go:build !linux && !darwin

package engine

// machineMemory is not known on this system; plans are not held against it.
func machineMemory() int64 { return 0 }
