// Package faults is a test of the emulator of the CUDA driver in the folder above: kernels
// that break a rule each, and what it says of them.
package faults
