package builtin

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"nosa/weights"
)

// Name is the word for the model where the path of another would stand, and the default there.
const Name = "builtin"

// ErrNone is returned by Open where the binary was built without the model.
var ErrNone = errors.New("this binary was built without the model that others have inside: name one, or bring one with `nosa pull`")

// modelFile is where scripts/train/builtin puts it.
const modelFile = "model/builtin.gguf"

//go:embed model
var files embed.FS

// Open opens the model. It lies in memory and on no disk.
func Open() (*weights.Checkpoint, error) { return open(files) }

func open(files fs.FS) (*weights.Checkpoint, error) {
	// A copy: what is embedded may begin at any byte, and tensors want to be aligned.
	data, err := fs.ReadFile(files, modelFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w", Name, ErrNone)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", Name, err)
	}
	return weights.OpenBytes(Name, data)
}
