// Package prefill measures how long a GPU takes for the prompt of one sequence, from nothing
// to its last token, by the real code of a model: random weights of a shape, all blocks on
// the device, the logits of the last token alone.
//
//	Sweep ─→ Setting … ─→ Runner.Run ─→ Result    seconds, tokens/s, TFLOP/s, and how far
//	                                              that is from what tensor cores do
//
// A method computes what it must: FLOP of the weights' products, of attention to what is
// selected, of scores.
//
// The room prints nothing and knows no flag: cmd/nosa does.
package prefill
