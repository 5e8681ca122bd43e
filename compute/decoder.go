package compute

// Decoder is a model as it is told to a device that runs whole decode steps by
// itself: its shape and where its weights lie.
type Decoder struct {
	Hidden, Intermediate, Vocab int
	Heads, KVHeads, Dim         int     // query heads, KV heads, channels of a head
	Eps                         float32 // of the norms
	EmbedScale                  float32 // on the embedding
	ResidualScale               float32 // on what each branch adds
	LogitScale                  float32 // on the last hidden state
	Rope                        *Rope

	Embed, Head Tensor // [vocab, hidden], any format
	Norm        Tensor // F32 [hidden]
	Layers      []DecoderLayer

	// Packed, where there is one, has the matrices of the layers and the output table, whose
	// tensors are without memory then.
	Packed Packed
}

// DecoderLayer is the weights of one layer; what a model lacks is absent.
type DecoderLayer struct {
	AttnNorm, MLPNorm Tensor     // F32 [hidden]
	Q, K, V, O        Projection // [heads·dim | kvHeads·dim, hidden], [hidden, heads·dim]
	QNorm, KNorm      Tensor     // F32 [dim]
	Gate, Up, Down    Projection
	Delta             Projection // F32 [kvHeads, kvHeads·dim], bias [kvHeads]
	A                 Tensor     // F32 [kvHeads]
}

// Projection is a linear map: weight [out, in] in any format and bias F32 [out] or absent.
type Projection struct{ Weight, Bias Tensor }
