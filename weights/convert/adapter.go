package convert

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"nosa/weights"
)

// AdapterFile has the tensors that were trained where others were frozen: in a checkpoint of nosa train, or alone with its
// config.json.
const AdapterFile = "adapter.safetensors"

const maxAdapterConfig = 16 << 20

// overlay lays an adapter over the model that it was trained on.
func overlay(c *weights.Checkpoint, dir string) (err error) {
	if c.Format() != weights.FormatFolder {
		return fmt.Errorf("%s is no folder, and the rows of its matrices may be in another order: %w", c.Path(), ErrUnsupported)
	}
	f, err := os.Open(filepath.Join(dir, "config.json"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	config, err := io.ReadAll(io.LimitReader(f, maxAdapterConfig))
	if err != nil {
		return err
	}
	over, err := weights.OpenTensors(filepath.Join(dir, AdapterFile))
	if err != nil {
		return err
	}
	return errors.Join(c.Overlay(over, config), over.Close())
}
