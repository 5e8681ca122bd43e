package cpu

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// TestPackedExtremes: sums in few bits do not overflow. All codes of the weights are
// the largest or the smallest, and those of the activations are such that they, their
// high or their low bytes are as far from zero as they can be.
func TestPackedExtremes(t *testing.T) {
	const groups, panels, rows = 8, 1, 8
	eachKernels(t, func(t *testing.T, k kernels) {
		for _, format := range quantisedFormats {
			p := packings[format]
			for _, mode := range intModes {
				q := &quantiser{numerics: mode, format: format, form: k.form(mode, format), kind: p.kind, zero: p.zero}
				top := int32(mode.Top())
				extremes := []int32{top, -top}
				if mode == compute.NumericsInt16 {
					extremes = append(extremes, 127<<8-128, -127<<8-128, 127, -128) // low bytes −128, −128, 127, −128
				}
				for _, weights := range []byte{0xff, 0} {
					src := make([]byte, p.panel(groups))
					for g := range groups {
						group := src[p.at(g):][:p.group]
						for i := range p.codes {
							group[i] = weights
						}
						for i := p.codes; i < p.group; i++ {
							group[i] = 0x3c // 1.06 as a half, 60 as a byte
						}
						header := src[p.at(g&^(superGroups-1))-p.header:][:p.header]
						for i := range header {
							header[i] = 0x3c
						}
					}
					opened := make([]byte, groups*p.kind.opened())
					k.open(p, opened, src, groups)
					for _, extreme := range extremes {
						for _, n := range []int{rows, 4, 2, 1} {
							tile := make([]byte, n*q.form.row(groups))
							fillTile(tile, q, extreme, n, groups)
							got, want := make([]float32, n*panelOutputs), make([]float32, n*panelOutputs)
							what := fmt.Sprintf("%v %v, weights of %#x, activations of %d, %d rows", format, mode, weights, extreme, n)
							k.tile(q, n, got, panelOutputs, opened, tile, groups)
							tileGo(q, n, want, panelOutputs, opened, tile, groups)
							sameBits(t, what, got, want)
							if n > 1 && k.unopened != nil {
								k.unopened(p, q, n, got, panelOutputs, src, tile, make([]byte, fewScratch), groups)
								sameBits(t, what+", packed", got, want)
							}
							if n == 1 {
								k.row(p, q, got, src, tile, groups)
								rowGo(p, q, want, src, tile, groups)
								sameBits(t, what+", packed", got, want)
							}
						}
					}
				}
			}
		}
	})
}

// fillTile sets all codes of a tile to one number, with scale 1 and what makes up for the
// zero of weights beside them.
func fillTile(tile []byte, q *quantiser, code int32, rows, groups int) {
	var codes [groupLen]int32
	for i := range codes {
		codes[i] = code
	}
	scale, sum := math.Float32bits(1), groupLen*code
	first, second := uint32(-q.zero*sum), uint32(0)
	switch q.kind {
	case kindMinimum:
		first = math.Float32bits(float32(sum))
	case kindHalves:
		first, second = uint32(-q.zero*sum/2), uint32(-q.zero*sum/2)
	}
	size := q.form.bytes()
	for g := range groups {
		part := tile[g*rows*(size+sideBytes):]
		for r := range rows {
			q.form.put(part[r*size:][:size], &codes)
			beside := part[rows*size+r*sideBytes:]
			for i, v := range []uint32{scale, first, second} {
				binary.LittleEndian.PutUint32(beside[4*i:], v)
			}
		}
	}
}

// BenchmarkPackedLevels sets the products of packed weights beside those in float32 on
// every level that has assembly, for the shapes of a model of 1.1 B parameters.
func BenchmarkPackedLevels(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, k := range available() {
		if k.name == portable.name {
			continue
		}
		for _, shape := range [][2]int{{5632, 2048}, {32000, 2048}} {
			n, width := shape[0], shape[1]
			for _, format := range quantisedFormats {
				var data []byte // made when a benchmark wants it
				for _, rows := range []int{1, 2, 4, 8, 16, 32, 48, 64, 128, 512} {
					if n > 10000 && rows > 1 {
						continue
					}
					x := make([]float32, rows*width)
					fill(x, rng)
					for _, mode := range append([]compute.Numerics{compute.NumericsF32}, intModes...) {
						for _, threads := range []int{1, 2} {
							b.Run(fmt.Sprintf("%s/%dx%d/%v/rows=%d/%v/threads=%d", k.name, n, width, format, rows, mode, threads), func(b *testing.B) {
								if data == nil {
									data = randomBlocks(rng, format, n, width)
								}
								benchmarkLinear(b, Options{Level: k.name, Threads: threads, Numerics: mode}, format, data, x, n, width)
							})
						}
					}
				}
			}
		}
	}
}

func benchmarkLinear(b *testing.B, opts Options, format dtype.Type, data []byte, x []float32, n, k int) {
	d, err := New(opts)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	w, err := d.Load(format, data, n, k)
	if err != nil {
		b.Fatal(err)
	}
	rows := len(x) / k
	in, out := compute.F32s(x, rows, k), compute.F32s(make([]float32, rows*n), rows, n)
	b.SetBytes(max(d.PackedBytes(format, n, k), int64(len(data))))
	for b.Loop() {
		d.Linear(out, in, w, compute.Tensor{})
	}
	b.ReportMetric(2*float64(n)*float64(k)*float64(rows)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
}
