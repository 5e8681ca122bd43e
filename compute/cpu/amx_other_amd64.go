//go:build !noasm && !linux

package cpu

// hasAMX is false where we do not know how to ask for tiles.
func hasAMX() bool { return false }
