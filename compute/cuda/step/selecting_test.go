//go:build linux && amd64

package step

import (
	"encoding/binary"
	"flag"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/dtype"
)

var selectSeed = flag.Uint64("step.select.seed", 0, "seed of the inputs of selection; 0: a new one each time")

// selectScene is a cache of several seats, on the GPU and for the definitions: tables with
// columns that sequences share, tails, means and scores of two layers.
type selectScene struct {
	testing.TB
	*rand.Rand
	d *cuda.Device
	g *gpu
	s selecting

	l                            compute.Layout
	group                        int
	layer, layers, most, columns int
	table                        [][]int32 // by seat and block
	want                         compute.Cache
	tails                        []float32

	c cacheArgs
}

func newSelectScene(t testing.TB, l compute.Layout, group int, lengths []int) *selectScene {
	t.Helper()
	d, g := open(t)
	seed := *selectSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-step.select.seed %d", seed)
	s := &selectScene{TB: t, Rand: rand.New(rand.NewPCG(seed, 0)), d: d, g: g, l: l, group: group, layers: 2}
	if err := s.s.load(s.g); err != nil {
		t.Fatal(err)
	}
	if err := l.Validate(); err != nil {
		t.Fatal(err)
	}
	s.layer = s.IntN(s.layers)
	s.sequences(lengths)
	return s
}

// sequences draws seats of so many blocks each and fills the cache.
func (s *selectScene) sequences(blocks []int) {
	s.Helper()
	l := s.l
	s.most, s.columns = slices.Max(blocks)+s.IntN(3), 3
	for _, n := range blocks {
		s.columns += n
	}
	order := s.Perm(s.columns)
	s.table = nil
	flat := make([]int32, len(blocks)*s.most)
	for i := range flat {
		flat[i] = math.MaxInt32 / 2
	}
	for seat, n := range blocks {
		row := flat[seat*s.most:][:n]
		for b := range row {
			row[b] = int32(order[0])
			order = order[1:]
			if seat > 0 && b+1 < min(n, len(s.table[0])) && b < 5 { // a prefix that all have
				row[b] = s.table[0][b]
			}
		}
		s.table = append(s.table, row)
	}
	ids := s.layers * l.Heads * s.columns
	s.want = compute.Cache{Layout: l}
	means := make([]byte, ids*l.SummaryBytes())
	for id := range ids {
		for seg := range l.Segments() {
			for ch := range l.Dim {
				l.PutMean(means[id*l.SummaryBytes():][:l.SummaryBytes()], seg, ch, float32(s.NormFloat64()))
			}
		}
	}
	s.want.Segments = compute.NewTensor(dtype.U8, means, len(means))
	s.want.Score = compute.F32s(s.normal(ids*l.Block), ids, l.Block)
	s.want.SegScore = compute.F32s(s.normal(ids*l.Segments()), ids, l.Segments())
	s.tails = s.normal(s.layers * len(blocks) * l.Heads * 2 * l.Dim * l.Block)
	s.c = cacheArgs{l: cuda.LayoutOf(l), layer: int32(s.layer), seats: int32(len(blocks)), most: int32(s.most), columns: int32(s.columns),
		table: s.ints(flat), means: s.bytes(means), tokenScore: s.floats(s.want.Score.F32()), segmentScore: s.floats(s.want.SegScore.F32()),
		tails: s.floats(s.tails)}
	if s.IntN(2) == 0 { // ids count down
		s.c.first, s.c.columns = int32((s.layers*l.Heads-1)*s.columns), -s.c.columns
	}
}

func (s *selectScene) normal(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(s.NormFloat64())
	}
	return v
}

func (s *selectScene) bytes(b []byte) uintptr {
	s.Helper()
	x, err := s.d.Alloc(dtype.U8, max(1, len(b)))
	if err != nil {
		s.Fatal(err)
	}
	s.d.Upload(x, b)
	return x.Addr
}

func (s *selectScene) floats(v []float32) uintptr {
	return s.bytes(compute.F32s(v, max(1, len(v))).Data)
}
func (s *selectScene) ints(v []int32) uintptr { return s.bytes(compute.I32s(v, max(1, len(v))).Data) }

func (s *selectScene) back(addr uintptr, n int) []byte {
	s.Helper()
	b := make([]byte, n)
	s.d.Download(b, compute.Tensor{Type: dtype.U8, Dims: [4]int{n, 1, 1, 1}, Rank: 1, Addr: addr})
	if err := s.d.Sync(); err != nil {
		s.Fatal(err)
	}
	return b
}

func (s *selectScene) backFloats(addr uintptr, n int) []float32 {
	s.Helper()
	b := s.back(addr, 4*n)
	v := make([]float32, n)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

func (s *selectScene) backInts(addr uintptr, n int) []int32 {
	s.Helper()
	b := s.back(addr, 4*n)
	v := make([]int32, n)
	for i := range v {
		v[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

// rows are rows of a step on the GPU.
func (s *selectScene) rows(pos, seat []int32) rowsArgs {
	return rowsArgs{n: int32(len(pos)), pos: s.ints(pos), seat: s.ints(seat)}
}

// tables are those of a seat's sequence.
func (s *selectScene) tables(seat int32) [][]int32 {
	t := make([][]int32, s.l.Heads)
	for h := range t {
		for _, column := range s.table[seat] {
			t[h] = append(t[h], s.c.first+int32(s.layer*s.l.Heads+h)*s.c.columns+column)
		}
	}
	return t
}

// tail is a seat's.
func (s *selectScene) tail(seat int32) compute.Tensor {
	n := s.l.Heads * 2 * s.l.Dim * s.l.Block
	return compute.F32s(s.tails[(s.layer*len(s.table)+int(seat))*n:][:n], n)
}

// sameBits holds what the GPU has against what it must have; where want is not a number
// anything is right that is none.
func (s *selectScene) sameBits(what string, got, want []float32) {
	s.Helper()
	for i, w := range want {
		if math.Float32bits(got[i]) != math.Float32bits(w) && !(got[i] != got[i] && w != w) {
			s.Fatalf("%s: element %d is %v, want the bits of %v", what, i, got[i], w)
		}
	}
}

func (s *selectScene) near(what string, got, want []float32, relative, absolute float64) {
	s.Helper()
	for i, w := range want {
		g := float64(got[i])
		if got[i] == w || (g != g && w != w) {
			continue
		}
		if d := math.Abs(g - float64(w)); !(d <= relative*math.Abs(float64(w))+absolute) {
			s.Fatalf("%s: element %d is %v, the definition says %v (off by %.3g)", what, i, got[i], w, d)
		}
	}
}

// selectShapes are those of published models, odd ones, and those that go without tensor
// cores.
var selectShapes = []struct {
	l     compute.Layout
	group int
}{
	{compute.Layout{Heads: 2, Dim: 128, Block: 64, Kernel: 32, Stride: 16, Type: compute.KVBF16}, 16},
	{compute.Layout{Heads: 3, Dim: 64, Block: 64, Kernel: 32, Stride: 16, Type: compute.KVQ8}, 3},
	{compute.Layout{Heads: 2, Dim: 80, Block: 16, Kernel: 16, Stride: 16, Type: compute.KVF16}, 1},
	{compute.Layout{Heads: 1, Dim: 128, Block: 64, Kernel: 64, Stride: 16, Type: compute.KVQ4}, 32},
	{compute.Layout{Heads: 1, Dim: 64, Block: 48, Kernel: 32, Stride: 16, Type: compute.KVBF16}, 20},
	{compute.Layout{Heads: 2, Dim: 96, Block: 128, Kernel: 16, Stride: 16, Type: compute.KVBF16}, 5},
	{compute.Layout{Heads: 1, Dim: 4, Block: 8, Kernel: 4, Stride: 2, Type: compute.KVBF16}, 2},
	{compute.Layout{Heads: 1, Dim: 20, Block: 128, Kernel: 64, Stride: 16, Type: compute.KVQ8}, 18},
	{compute.Layout{Heads: 2, Dim: 128, Block: 64, Kernel: 32, Stride: 16, Type: compute.KVF32}, 4},
	{compute.Layout{Heads: 1, Dim: 7, Block: 4, Kernel: 4, Stride: 4, Type: compute.KVF32}, 3},
}
