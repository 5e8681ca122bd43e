package weights

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// WriteTensors writes tensors as one safetensors file to w: what a caller puts into a folder by its own rules, where
// WriteFolder's will not do. Whether the bytes are on a disk is the caller's to see to.
func WriteTensors(ctx context.Context, w io.Writer, tensors []Source, progress Progress) error {
	shards, err := plan(tensors, math.MaxInt64)
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	to := bufio.NewWriterSize(w, 1<<20)
	err = shards[0].write(&sink{ctx: ctx, to: to, total: shards[0].bytes, progress: progress})
	if err == nil {
		err = to.Flush()
	}
	if err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	return nil
}

// OpenTensors opens a safetensors file that is no model, and so has no config.json beside it.
func OpenTensors(path string) (*Checkpoint, error) {
	c := &Checkpoint{path: path, format: FormatFolder, tensors: map[string]entry{}}
	if err := c.readTensors(); err != nil {
		return nil, fmt.Errorf("weights: %s: %w", path, errors.Join(err, c.Close()))
	}
	c.sortNames()
	return c, nil
}

func (c *Checkpoint) readTensors() error {
	f, err := os.OpenFile(c.path, openFlags, 0)
	if err != nil {
		return err
	}
	m, err := mapFile(f)
	if err != nil {
		return err
	}
	c.maps = append(c.maps, m)
	entries, err := parseSafetensors(m.data)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := c.add(e); err != nil {
			return err
		}
	}
	return nil
}
