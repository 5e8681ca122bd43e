package cpu

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// BenchmarkPacked multiplies rows by packed weights of the shapes of models of 135 M
// and 1.1 B parameters. Bytes are those of the weights as they are packed.
func BenchmarkPacked(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, shape := range [][2]int{{2048, 2048}, {5632, 2048}, {2048, 5632}, {576, 1536}, {49152, 576}, {32000, 2048}} {
		n, k := shape[0], shape[1]
		for _, format := range []dtype.Type{dtype.Q8_0, dtype.Q4_0, dtype.Q4_1, dtype.Q4_K, dtype.Q6_K} {
			if k%format.Block() != 0 {
				continue
			}
			var data []byte // made when a benchmark wants it
			for _, rows := range []int{1, 8, 64, 512} {
				if n > 10000 && rows > 64 {
					continue
				}
				x := make([]float32, rows*k)
				fill(x, rng)
				for _, mode := range intModes {
					b.Run(fmt.Sprintf("%dx%d/%v/rows=%d/%v", n, k, format, rows, mode), func(b *testing.B) {
						if data == nil {
							data = randomBlocks(rng, format, n, k)
						}
						for _, threads := range []int{1, 2} {
							b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
								d, err := New(Options{Threads: threads, Numerics: mode})
								if err != nil {
									b.Fatal(err)
								}
								defer d.Close()
								w, err := d.Load(format, data, n, k)
								if err != nil {
									b.Fatal(err)
								}
								in, out := compute.F32s(x, rows, k), compute.F32s(make([]float32, rows*n), rows, n)
								b.SetBytes(d.PackedBytes(format, n, k))
								for b.Loop() {
									d.Linear(out, in, w, compute.Tensor{})
								}
								b.ReportMetric(2*float64(n)*float64(k)*float64(rows)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
							})
						}
					})
				}
			}
		}
	}
}

// BenchmarkPackedMemory multiplies one row and a few by weights that a cache shared by
// many processors still holds, and by weights that come from memory.
func BenchmarkPackedMemory(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	const k = 2048
	for _, size := range []int{90 << 20, 1 << 30} {
		for _, format := range []dtype.Type{dtype.Q8_0, dtype.Q4_0, dtype.Q4_1, dtype.Q4_K} {
			n := size / packings[format].panel(k/groupLen) * panelOutputs
			var data []byte // made when a benchmark wants it
			for _, rows := range []int{1, 2, 8} {
				for _, mode := range intModes {
					for _, threads := range []int{1, 2} {
						b.Run(fmt.Sprintf("%dMiB/%v/rows=%d/%v/threads=%d", size>>20, format, rows, mode, threads), func(b *testing.B) {
							if data == nil {
								some := randomBlocks(rng, format, 256, k)
								data = bytes.Repeat(some, n/256)
								n = n / 256 * 256
							}
							x := make([]float32, rows*k)
							fill(x, rng)
							benchmarkLinear(b, Options{Threads: threads, Numerics: mode}, format, data, x, n, k)
						})
					}
				}
			}
		}
	}
}
