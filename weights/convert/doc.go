// Package convert turns Hugging Face folders into GGUF files and back, in other number formats if asked.
//
//	          tensors: decode, reorder rows of q and k, encode, a few rows at a time
//	folder ⇄  config.json ⇄ metadata                                            ⇄ GGUF
//	          tokenizer.json, tokenizer_config.json ⇄ tokenizer.ggml.*
//
// What it writes is meant for others: llama.cpp runs the GGUF files, transformers loads the folders. So it refuses what
// the other side has no words for, instead of writing something that means another model there.
//
// llama.cpp rotates adjacent pairs in its families llama and minicpm, and has the rows of q_proj and k_proj in an order
// that makes up for it. The rows are moved on the way out and moved back on the way in; other families keep theirs.
//
// A model with NOSA's importance scores becomes architecture nosa, which llama.cpp does not know: Options.Plain leaves
// the scores out and writes the model below them, to be run with full attention.
//
// It belongs to package weights, and imports that and dtype alone.
package convert
