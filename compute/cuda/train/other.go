//go:build !(linux && amd64)

package train

import (
	"nosa/compute"
	"nosa/compute/cuda"
)

// Open says that there is no CUDA on this platform.
func Open(n int) (compute.Trainer, error) {
	_, err := cuda.Open(n)
	return nil, err
}
