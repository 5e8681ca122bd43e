package weights

import (
	"fmt"
	"slices"
)

// Overlay lays the tensors of another checkpoint over those of this one, in place of those that have the same name, which
// must have the same shape, and takes config in place of config.json. The other's mappings are this one's to close from then
// on, and nothing is to be asked of it any more.
func (c *Checkpoint) Overlay(over *Checkpoint, config []byte) error {
	arch, err := modelType(config)
	if err != nil {
		return fmt.Errorf("weights: %s: %w", configFile, err)
	}
	for name, e := range over.tensors {
		if was, ok := c.tensors[name]; ok && !slices.Equal(was.Shape, e.Shape) {
			return fmt.Errorf("weights: %s: tensor %q is %v, in %s %v: %w", over.path, name, e.Shape, c.path, was.Shape, ErrFormat)
		}
	}
	for name, e := range over.tensors {
		if was, ok := c.tensors[name]; ok {
			c.bytes -= int64(len(was.Data))
		} else {
			c.names = append(c.names, name)
		}
		c.bytes += int64(len(e.Data))
		c.tensors[name] = e
	}
	slices.Sort(c.names)
	c.maps = append(c.maps, over.maps...)
	c.config, c.arch = config, arch
	over.maps, over.tensors, over.names = nil, nil, nil
	return nil
}
