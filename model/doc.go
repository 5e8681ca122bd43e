// Package model is one forward pass of a decoder over the op set of compute: a
// batch of token ids in, logits out, keys and values left in the block store.
//
// What the families share is in decoder.go, and it reads as the papers do; a
// family's own file says how it differs (llama.go, qwen2.go, qwen3.go,
// minicpm.go, nosa.go). config.go reads config.json, rope.go reduces every
// variant of the rotation to frequencies, load.go finds the tensors.
//
// The package names no device, and knows no text, request or tier: token ids
// come from engine, blocks are attention's and kv's.
package model
