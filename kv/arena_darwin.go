//go:build !race

package kv

// preferHuge does nothing: the system chooses its pages by itself.
func preferHuge([]byte) {}
