// Package train trains decoders with the attention that they will run with: forward and backward over the ops of
// [compute.Trainer], AdamW on float32 masters, and checkpoints from which a run goes on with the same bits.
//
//	config.go ─ a TOML file ──────────────┐
//	shape.go ── config.json of the model ─┤
//	                                      ▼
//	Source ── rows ──▶ Decoder.Pass: forward.go ▶ head.go ▶ backward.go ──▶ gradients add up
//	                                      │                                      │
//	            Parameters: masters, working copies, gradients, moments ◀── Run.step: clip, rate, AdamW
//	                                      │
//	           checkpoint.go ◀── step-00001000: a Hugging Face folder, the optimiser's state, the place in the data
//
// The gradient is written out by hand, layer by layer, beside the forward pass: what is kept for it is a struct, what is
// computed again is a choice (recompute), and there is no tape.
//
// The package names no device and reads no text: a device is handed in, and so is a Source of token ids, of which
// drawer corpus has one.
package train
