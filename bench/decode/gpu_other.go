//go:build !(linux && amd64)

package decode

import "nosa/compute"

// NewRunner says that there are no steps on this platform.
func NewRunner(compute.Device) (Runner, error) { return nil, compute.ErrStep }
