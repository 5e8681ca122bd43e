//go:build noasm || (!amd64 && !arm64)

package cpu

// available lists the levels of this machine: without assembly there is one.
func available() []kernels { return []kernels{portable} }
