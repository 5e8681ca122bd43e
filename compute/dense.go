package compute

import "errors"

// ErrPack is returned by NewPacked for weights that the device does not pack; its Linear
// multiplies by them as they are.
var ErrPack = errors.New("the device does not pack these weights")

// Packer is a Device that multiplies by the weights of a decoder in an order of its own,
// several of them at a time. What lies between products has not to be an op then, nor
// float32: the device does the dense part of a layer in one piece.
type Packer interface {
	Device
	// NewPacked prepares the dense part of a decoder, of which it sees shapes and formats
	// alone. The error wraps ErrPack where the weights are none to pack.
	NewPacked(m Decoder) (Packed, error)
	// PackedBytes is the device memory that it takes with all weights and room for so many
	// rows. Where NewPacked would return ErrPack, so does it.
	PackedBytes(m Decoder, rows int) (int64, error)
}

// Dense is a decoder without its attention. A row's bits depend neither on the rows beside
// it nor on their number. It belongs to the goroutine of its device, and serves up to as
// many rows as Reserve has made room for.
type Dense interface {
	Reserve(rows int) error
	// Project sets q, k and v [rows, heads | kvHeads, dim] of a layer from the hidden states
	// x [rows, hidden]: norm, products, and, for q and k, the norms of heads and the rotation
	// by angles [rows, 2, pairs]. q may have fewer rows than x: those of x's last ones.
	Project(layer int, q, k, v, x, angles Tensor)
	// Join adds the product of what attention gave, o [rows, heads, dim], to x.
	Join(layer int, x, o Tensor)
	// MLP adds the layer's second branch to x.
	MLP(layer int, x Tensor)
	// Logits sets out [rows, vocab] from the hidden states after the last layer.
	Logits(out, x Tensor)
	Close() error
}

// Packed is a Dense with copies of the weights, which it is given layer by layer, so that
// those of a file are twice on the device for one layer at a time. Norms are read where
// they lie.
type Packed interface {
	Dense
	// PackLayer copies the matrices and biases of a layer, whose memory is the caller's again
	// for whatever it posts next.
	PackLayer(layer int, y DecoderLayer) error
	// PackHead copies the output table; norm is the one before it.
	PackHead(head, norm Tensor) error
	// PackTable copies the embedding to where it is read from then on, by Embed and by steps,
	// a few rows at a time: memory of the host that the device reaches.
	PackTable(embed Tensor) (Tensor, error)
}
