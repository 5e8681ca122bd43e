//go:build !linux && !darwin

package vfs

import (
	"errors"
	"os"
)

const noFollow = 0

// lock refuses: this system's way to keep others from a file is not known here, and
// two processes in one file would spoil it for each other.
func lock(*os.File) error { return errors.ErrUnsupported }
