//go:build linux && amd64

package cuda

import "nosa/compute"

var _ compute.HostAllocator = (*Device)(nil)

// AllocHost is memory of the host that the GPU reads and writes itself, at page
// boundaries.
func (d *Device) AllocHost(n int) ([]byte, error) { return d.ctx.AllocHost(n) }

// FreeHost gives it back.
func (d *Device) FreeHost(b []byte) error { return d.ctx.FreeHost(b) }
