//go:build !unix

package tokenizer

// processorSeconds is not measured here.
func processorSeconds() float64 { return 0 }
