// Package step runs decode steps on a GPU without a word from the host: every length,
// map and list of what is missing lies on the device, and a step is one CUDA graph.
//
// A step takes one token for each of up to some hundreds of sequences through all
// layers. In each layer
//
//	norm      x → h                                    bf16
//	product   h → q, k, v                              weights are read once for all rows
//	append    rotated k and v into the tails, means of segments, importance scores
//	score     q against the means of each row's blocks
//	choose    exact top-k, as compute.Select
//	resolve   selection → slots, order of use, list of what is missing
//	gather    host pages → slots, by few thread blocks
//	attend    selected blocks, in splits, then their sum
//	product   o → x
//	norm, product, SwiGLU, product                     x → x
//	seal      tails that are full → slots and host pages
//
// Behind the last layer draws are told of the logits what they asked for (sample.cu).
//
// Weights are packed in the order in which products read them (dense.go). Prompts go through
// the same weights and products as steps do: norm, product, rotation and split; attention by
// the ordinary ops of package cuda; product onto x; norm, product with SwiGLU, product onto x.
//
// The definitions are those of package compute; numbers are bf16 where a product reads
// them, with sums in float32.
package step
