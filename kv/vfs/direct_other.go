//go:build !linux && !darwin

package vfs

import "os"

// setDirect leaves the file buffered: this system's way is not known here.
func setDirect(*os.File) (bool, error) { return false, nil }

func dropRead(*os.File, int64, int64) {}

func dropWritten(*os.File, int64, int64) error { return nil }
