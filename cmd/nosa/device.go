package main

import (
	"fmt"
	"strings"

	"nosa/compute"
	"nosa/compute/cpu"
)

// openDevice is deviceWith in the numerics that suit the device.
func openDevice(name string, threads int) (compute.Device, error) {
	return deviceWith(name, threads, compute.NumericsAuto)
}

// deviceWith turns --device, --threads and --numerics into a device: the one place
// that knows which there are.
func deviceWith(name string, threads int, numerics compute.Numerics) (compute.Device, error) {
	if threads < 0 || threads > 4096 {
		return nil, usage("--threads %d: want 0 (all processors) to 4096", threads)
	}
	switch kind, _, _ := strings.Cut(name, ":"); kind {
	case "cpu":
		if name != "cpu" {
			return nil, usage("--device %s: cpu takes no number", name)
		}
		return cpu.New(cpu.Options{Threads: threads, Numerics: numerics})
	case "cuda":
		return nil, fmt.Errorf("--device %s: this build of nosa has no CUDA kernels yet: use --device cpu", name)
	}
	return nil, usage("--device %q is unknown: use cpu or cuda[:n]", name)
}
