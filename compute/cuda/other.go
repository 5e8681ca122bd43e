//go:build !(linux && amd64)

package cuda

import (
	"fmt"
	"runtime"

	"nosa/compute"
	"nosa/compute/cuda/driver"
)

// ErrNoDriver is returned by Open where no CUDA driver can be used.
var ErrNoDriver = driver.ErrNoDriver

// Open says that there is no CUDA on this platform.
func Open(int) (compute.Device, error) {
	return nil, fmt.Errorf("cuda: %w: this build for %s/%s has none", ErrNoDriver, runtime.GOOS, runtime.GOARCH)
}
