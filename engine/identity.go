package engine

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"nosa/model"
)

// identity tells apart caches that must never share a block: another model, method,
// constant or format. Where blocks outlast the process it says all that their bits
// depend on: every weight, the device's numbers, and the program itself.
func (e *Engine) identity(c *model.Config) ([]byte, error) {
	shape := *c
	shape.Sparse = nil // a pointer; the constants say it
	settings := fmt.Appendf(nil, "%+v|%s|%+v|%+v|%d", shape, e.set.method.Name(), e.set.constants, e.set.layout, e.set.Context)
	if p := e.set.policy; p != nil {
		settings = fmt.Appendf(settings, "|%v", p.spec)
	}
	if !e.set.DiskLast {
		return fmt.Appendf(settings, "|%s", e.Checkpoint.Path()), nil
	}
	var weights [sha256.Size]byte
	if err := e.guard(func() error { weights = e.Checkpoint.Digest(); return nil }); err != nil {
		return nil, err
	}
	program, err := programDigest()
	if err != nil {
		return nil, fmt.Errorf("a lasting disk tier must know which program wrote it: %w", err)
	}
	return fmt.Appendf(settings, "|%x|%s|%x", weights, e.dev.Numbers(), program), nil
}

// programDigest is the SHA-256 of the running program: another version may round
// otherwise.
func programDigest() ([]byte, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing can be lost
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}
