//go:build !(linux && amd64)

package prefill

import "nosa/compute/cuda"

// Open says that there is no CUDA on this platform.
func Open(n int) (Runner, error) {
	_, err := cuda.Open(n)
	return nil, err
}
