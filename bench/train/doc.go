// Package train measures training steps: forward, loss, backward and the optimiser, by the real
// code of package train, over random weights of a shape and random tokens.
//
//	Sweep ─→ Setting … ─→ Runner.Run ─→ Result    ms, tokens/s, FLOP/s, memory, and how far that is
//	                                              from what the device does at most
//	timed ─→ Part …                               where the time of one more step goes, by kinds of ops
//
// FLOP are those of the model, whatever is computed again: six for each weight that products read
// and each token, and twelve for each channel of a query and each token that it sees.
//
// The room prints nothing and knows no flag: cmd/nosa does.
package train
