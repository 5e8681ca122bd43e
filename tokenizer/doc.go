// Package tokenizer turns text into token ids and ids into text, as the published models expect it.
//
// It reads Hugging Face tokenizer.json (Parse) and the vocabulary of a GGUF file (FromGGUF). It is not a trainer, knows
// no models and no requests, and does not render chat templates. Its ids are those of PyPI tokenizers, which the golden
// files in testdata and the script that made them hold it to.
//
//	text ─ added tokens cut out ─ normalised ─ added tokens again ─ cut into words ─ each word merged ─ ids
//	       added.go               normalize.go                     pretokenize.go   bpe.go
//	                                                               pattern.go
//
//	ids ─ pieces by id ─ bytes made characters ─ text
//	      decode.go      stream.go
//
// Vocabularies are byte-level (GPT-2, Llama 3, Qwen, SmolLM: every byte string can be written) or by characters with
// fallback to bytes (Llama 2, Mistral: SentencePiece in spirit). Unigram and WordPiece models are refused.
//
// Text that is not UTF-8: a byte-level vocabulary keeps each stray byte, and DecodeBytes gives back exactly what was
// encoded; in pre-tokenising a stray byte counts as U+FFFD, a symbol. A vocabulary by characters writes a stray byte as
// its byte token. Decode and Stream return valid UTF-8 always, with U+FFFD for what is not a character.
//
// A Tokenizer is safe for use by several goroutines; a Stream belongs to one.
package tokenizer
