//go:build !(linux && amd64)

package cuda

import (
	"errors"
	"fmt"
	"runtime"

	"nosa/compute"
	"nosa/compute/cuda/driver"
)

// ErrNoDriver is returned by Open where no CUDA driver can be used.
var ErrNoDriver = driver.ErrNoDriver

// Options say which GPU, and in which numbers it computes.
type Options struct {
	GPU      int
	Numerics compute.Numerics
}

// ErrNumerics is returned by New for numbers in which a GPU does not compute.
var ErrNumerics = errors.New("not the numerics of a GPU: use auto or f32")

// New says that there is no CUDA on this platform.
func New(o Options) (compute.Device, error) { return Open(o.GPU) }

// Open says that there is no CUDA on this platform.
func Open(int) (compute.Device, error) {
	return nil, fmt.Errorf("cuda: %w: this build for %s/%s has none", ErrNoDriver, runtime.GOOS, runtime.GOARCH)
}
