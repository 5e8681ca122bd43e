package driver

import (
	"errors"
	"fmt"
)

// ErrNoDriver is returned where no CUDA driver can be used: there is none, or this is no
// machine on which one could be.
var ErrNoDriver = errors.New("no CUDA driver")

// ErrMemory is what an Error of a device or a host without memory left wraps.
var ErrMemory = errors.New("out of memory")

// Error is a call of the driver that failed.
type Error struct {
	Call string // cuMemAlloc_v2
	Code uint32
	Name string // CUDA_ERROR_OUT_OF_MEMORY
	Text string // what the driver says of it
}

const codeMemory = 2

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s (%d): %s", e.Call, e.Name, e.Code, e.Text)
}

// Is makes errors.Is find ErrMemory.
func (e *Error) Is(target error) bool { return target == ErrMemory && e.Code == codeMemory }
