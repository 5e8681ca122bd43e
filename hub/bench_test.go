package hub

import (
	"crypto/sha256"
	"testing"

	"nosa/hub/hubtest"
)

// BenchmarkPull is a large file over the loopback interface: network, SHA-256, disk and fsync. What can not be avoided
// is to hash the bytes, BenchmarkSHA256.
func BenchmarkPull(b *testing.B) {
	const size = 256 << 20
	h := hubtest.New(b)
	h.Put("org/x", hubtest.File{Path: "x.gguf", Data: noise(1, size), Large: true})
	b.SetBytes(size)
	for b.Loop() {
		if _, err := client(b, h, nil).Pull(b.Context(), "org/x", Options{}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSHA256(b *testing.B) {
	data := noise(1, 64<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		sha256.Sum256(data)
	}
}
