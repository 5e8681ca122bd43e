package weights

import "errors"

var (
	// ErrFormat is returned for files that break the rules of their format: wrong magic, lengths that point outside
	// of the file, overlapping or duplicate tensors, impossible shapes.
	ErrFormat = errors.New("file is damaged or not what it says")
	// ErrTruncated is returned for files that end before what their header announces. It is also an ErrFormat.
	ErrTruncated = errors.New("file is truncated")
	// ErrUnsupported is returned for what the format allows and nosa does not read: other versions, other number
	// formats, files in several parts.
	ErrUnsupported = errors.New("not supported")
	// ErrNoTensor is returned by Tensor for a name that the checkpoint does not have.
	ErrNoTensor = errors.New("no such tensor")
	// ErrNoModel is returned by Open for a path that holds no model: no config.json, no safetensors, no GGUF.
	ErrNoModel = errors.New("no model here")
	// ErrTooLarge is returned for files and headers beyond the limits of this package.
	ErrTooLarge = errors.New("larger than the limit")
	// ErrChanged is returned by Check when a mapped file no longer has the size it was opened with, and by Guard when
	// reading it failed because of that.
	ErrChanged = errors.New("file changed while it was in use")
)
