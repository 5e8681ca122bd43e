package weights

import (
	"crypto/sha256"
	"fmt"
)

// Digest is a SHA-256 over the names, types, shapes and bytes of all tensors and the configuration: two checkpoints with
// the same digest are the same model, wherever their files lie. It reads every byte.
func (c *Checkpoint) Digest() [sha256.Size]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d %v\n", len(c.config), c.interleaved)
	h.Write(c.config)
	for _, name := range c.names {
		t := c.tensors[name]
		fmt.Fprintf(h, "%q %v %q %v %d\n", name, t.Type, t.stored, t.Shape, len(t.Data))
		h.Write(t.Data)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
