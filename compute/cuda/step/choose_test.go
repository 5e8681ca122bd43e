//go:build linux && amd64

package step

import (
	"encoding/binary"
	"flag"
	"fmt"
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

// TestAngles: those of the definition, but for a last digit.
func TestAngles(t *testing.T) {
	s := newSelectScene(t, selectShapes[0].l, 1, []int{1})
	rope := &compute.Rope{Inv: make([]float32, 37), Factor: 1.25}
	for i := range rope.Inv {
		rope.Inv[i] = float32(math.Pow(10000, -float64(i)/37))
	}
	pos := []int32{0, 17, -1, 131071, 1 << 20}
	n := 2 * len(rope.Inv)
	out := s.floats(slices.Repeat([]float32{-7}, len(pos)*n))
	s.s.angles(s.g, &anglesArgs{rows: s.rows(pos, make([]int32, len(pos))), out: out, inv: s.floats(rope.Inv), pairs: int32(len(rope.Inv)), factor: rope.Factor})
	got, want := s.backFloats(out, len(pos)*n), make([]float32, len(pos)*n)
	compute.Angles(want, pos, rope)
	copy(want[2*n:], slices.Repeat([]float32{-7}, n))
	s.near("angles", got, want, 1e-7, 1e-9)
}

// TestAppend: sequences grow token by token, each from a place of its own, and now and then
// a row is nobody's. What comes is what the definitions make of the same product; all else
// stays as it was.
func TestAppend(t *testing.T) {
	for i, tc := range selectShapes {
		for _, norm := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d/norm=%v", i, norm), func(t *testing.T) {
				s := newSelectScene(t, tc.l, tc.group, []int{3, 5, 4, 4})
				s.growth(norm, i%3 != 1, i%2 == 0)
			})
		}
	}
}

func (s *selectScene) growth(norm, scores, interleaved bool) {
	l, heads := s.l, s.l.Heads*s.group
	s.want.Scores = scores
	rope := &compute.Rope{Inv: make([]float32, l.Dim/2-l.Dim/2/4), Factor: 1.1, Interleaved: interleaved}
	for i := range rope.Inv {
		rope.Inv[i] = float32(math.Pow(100, -float64(i)/float64(len(rope.Inv))))
	}
	width := (heads + 2*l.Heads) * l.Dim
	const n = 5
	seat := []int32{2, 0, 1, 3, 1}
	pos := []int32{int32(l.Block*3 - 1), int32(l.Block + 3%l.Block), int32(l.Block * 4), 0, -1}
	delta, bias, scale := s.normal(l.Heads*l.Heads*l.Dim), s.normal(l.Heads), s.normal(l.Heads)
	qNorm, kNorm := s.normal(l.Dim), s.normal(l.Dim)
	a := appendArgs{c: s.c, q: s.floats(slices.Repeat([]float32{-7}, n*heads*l.Dim)), group: int32(s.group), eps: 1e-5}
	a.rope(rope)
	if norm {
		a.qNorm, a.kNorm = s.floats(qNorm), s.floats(kNorm)
	}
	if scores {
		a.delta, a.bias, a.scale = s.floats(delta), s.floats(bias), s.floats(scale)
	} else {
		bias = nil
	}
	angles := s.floats(make([]float32, n*2*len(rope.Inv)))
	a.angles = angles
	for step := range l.Block/2 + 2 {
		qkv := s.normal(n * width)
		for r := range n { // a channel of keys whose means are beyond float16
			qkv[r*width+heads*l.Dim] *= 1e6
		}
		a.qkv, a.rows = s.floats(qkv), s.rows(pos, seat)
		s.s.angles(s.g, &anglesArgs{rows: a.rows, out: angles, inv: s.floats(rope.Inv), pairs: a.pairs, factor: rope.Factor})
		s.s.append(s.g, &a)
		turned := s.backFloats(angles, n*2*len(rope.Inv))
		q := s.backFloats(a.q, n*heads*l.Dim)
		for r, p := range pos {
			if p < 0 {
				continue
			}
			row := qkv[r*width : (r+1)*width]
			wq, k, v := row[:heads*l.Dim], row[heads*l.Dim:][:l.Heads*l.Dim], row[(heads+l.Heads)*l.Dim:]
			if norm {
				compute.RMSNorm(wq, wq, qNorm, a.eps)
				compute.RMSNorm(k, k, kNorm, a.eps)
			}
			angle := turned[r*2*len(rope.Inv):][:2*len(rope.Inv)]
			compute.Rotate(wq, angle, heads, l.Dim, rope)
			compute.Rotate(k, angle, l.Heads, l.Dim, rope)
			var score compute.Tensor
			if scores {
				score = compute.F32s(make([]float32, l.Heads), l.Heads)
				compute.Importance(score.F32(), v, delta, bias, scale)
			}
			compute.Append(&s.want, compute.Tile{N: 1, Pos: int(p), Tables: s.tables(seat[r]), Tail: s.tail(seat[r])},
				compute.F32s(k, len(k)), compute.F32s(v, len(v)), score)
			got := q[r*heads*l.Dim:][:heads*l.Dim]
			if norm {
				s.near(fmt.Sprintf("step %d, queries of row %d", step, r), got, wq, 1e-5, 1e-5)
			} else {
				s.sameBits(fmt.Sprintf("step %d, queries of row %d", step, r), got, wq)
			}
			pos[r]++
		}
		if step%3 == 0 { // the last row takes the second's turn, and its seat
			pos[1], pos[4] = pos[4], pos[1]
			seat[1], seat[4] = seat[4], seat[1]
		}
	}
	ids := s.layers * l.Heads * s.columns
	tails, means := s.backFloats(s.c.tails, len(s.tails)), s.back(s.c.means, ids*l.SummaryBytes())
	if norm {
		s.near("tails", tails, s.tails, 1e-5, 1e-5)
		got, want := make([]float32, l.Dim), make([]float32, l.Dim)
		for id := range ids {
			for seg := range l.Segments() {
				l.Mean(got, means[id*l.SummaryBytes():][:l.SummaryBytes()], seg)
				l.Mean(want, s.want.Summary(int32(id)), seg)
				s.near(fmt.Sprintf("mean %d of block %d", seg, id), got, want, 1e-3, 1e-4)
			}
		}
	} else {
		s.sameBits("tails", tails, s.tails)
		if string(means) != string(s.want.Segments.Data) {
			s.Fatal("means are others than the definition's")
		}
	}
	s.near("scores of tokens", s.backFloats(s.c.tokenScore, ids*l.Block), s.want.Score.F32(), 1e-5, 1e-5)
	s.near("scores of segments", s.backFloats(s.c.segmentScore, ids*l.Segments()), s.want.SegScore.F32(), 1e-5, 1e-5)
}

// chosen is what rows get from the GPU.
type chosen struct {
	byQuery, byScore []float32 // [n, heads, most]
	blocks, count    []int32   // [n, heads, places], [n, heads]
}

const untouched = -12345

// ask runs score and choose for rows, in launches for up to the given number of blocks.
func (s *selectScene) ask(q []float32, pos, seat []int32, blocks int, p compute.SelectParams) chosen {
	s.Helper()
	if err := s.s.check(s.g, s.l, s.group, blocks); err != nil {
		s.Fatal(err)
	}
	n, places := len(pos), p.Most()
	scratch := s.bytes(slices.Repeat([]byte{0xff}, s.s.scratchBytes(s.l, s.group, n, blocks)))
	common := scoring(s.c, s.rows(pos, seat), s.l, s.group, blocks, p, scratch)
	to := selectionArgs{places: int32(places), blocks: s.ints(slices.Repeat([]int32{untouched}, n*s.l.Heads*places)),
		count: s.ints(slices.Repeat([]int32{untouched}, n*s.l.Heads))}
	a := choosing(common, to, p)
	blank := slices.Repeat([]float32{untouched}, n*s.l.Heads*s.most)
	a.byQuery, a.byScore = s.floats(blank), s.floats(blank)
	if p.ByQuery {
		a := scores(common, s.floats(q))
		s.s.score(s.g, &a)
	}
	s.s.choose(s.g, &a, blocks)
	return chosen{s.backFloats(a.byQuery, len(blank)), s.backFloats(a.byScore, len(blank)),
		s.backInts(to.blocks, n*s.l.Heads*places), s.backInts(to.count, n*s.l.Heads)}
}

// against holds what rows got against the definitions: scores by the query nearly, by
// importance and the choice by both exactly.
func (s *selectScene) against(got chosen, q []float32, pos, seat []int32, p compute.SelectParams) {
	s.Helper()
	heads, places := s.l.Heads, p.Most()
	for r, at := range pos {
		what := fmt.Sprintf("row %d at %d, %+v", r, at, p)
		blocks, count := got.blocks[r*heads*places:][:heads*places], got.count[r*heads:][:heads]
		if at < 0 {
			for _, v := range slices.Concat(blocks, count) {
				if v != untouched {
					s.Fatalf("%s: something is written", what)
				}
			}
			continue
		}
		own := int(at) / s.l.Block
		tile := compute.Tile{Row: r, N: 1, Pos: int(at), Tables: s.tables(seat[r])}
		var byQuery, byScore compute.Tensor
		part := func(v []float32) compute.Tensor {
			var x []float32
			for h := range heads {
				x = append(x, v[(r*heads+h)*s.most:][:own+1]...)
			}
			return compute.F32s(x, 1, heads, own+1)
		}
		want := compute.F32s(make([]float32, heads*(own+1)), 1, heads, own+1)
		if every := int(at) < p.DenseLen || own+1 <= p.K; p.ByQuery {
			byQuery = part(got.byQuery)
			if !every {
				compute.ScoreBlocks(want, compute.F32s(q, len(pos), heads*s.group, s.l.Dim), &s.want, tile)
				s.near(what+": scores by the query", byQuery.F32(), want.F32(), 3e-5, 1e-12)
			}
		}
		if every := int(at) < p.DenseLen || own+1 <= p.K; p.ByScore {
			byScore = part(got.byScore)
			if !every {
				compute.ScoreImportance(want, &s.want, tile)
				s.near(what+": importance", byScore.F32(), want.F32(), 0, 0) // the same but for the sign of zero
			}
		}
		sel := compute.Selection{Blocks: compute.I32s(make([]int32, heads*places), 1, heads, places), Count: compute.I32s(make([]int32, heads), 1, heads)}
		compute.Select(sel, byQuery, byScore, tile, s.l.Block, p)
		if !slices.Equal(count, sel.Count.I32()) {
			s.Fatalf("%s: %d blocks, the definition says %d", what, count, sel.Count.I32())
		}
		for h := range heads {
			if w := sel.Blocks.I32()[h*places:][:places]; count[h] >= 0 && !slices.Equal(blocks[h*places:][:places], w) {
				s.Fatalf("%s: head %d has %d, the definition says %d", what, h, blocks[h*places:][:places], w)
			}
		}
	}
}

// params draws what selection may be asked for, for a row among the given number of blocks.
func (s *selectScene) params(blocks int) compute.SelectParams {
	p := compute.SelectParams{Init: s.IntN(3), Local: s.IntN(6), Query: s.IntN(20), K: 1 + s.IntN(max(1, blocks)), ByQuery: true, ByScore: true}
	switch s.IntN(4) {
	case 0:
		p.ByQuery = false
	case 1:
		p.ByScore = false
	}
	if s.IntN(4) == 0 {
		p.DenseLen = s.IntN(blocks * s.l.Block)
	}
	return p
}

// TestChoose: rows of different lengths, at the borders of windows, blocks and chunks, with
// rows that are nobody's, against the definitions; and each row alone, in launches for other
// lengths, to the bit.
func TestChoose(t *testing.T) {
	for i, tc := range selectShapes {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			l := tc.l
			chunk := scoreChunk * l.Stride // tokens of as many windows
			most := (2*chunk+l.Kernel)/l.Block + 40
			lengths := []int{most, 1 + chunk/l.Block, 2*chunk/l.Block + 2}
			s := newSelectScene(t, l, tc.group, lengths)
			var pos, seat []int32
			row := func(at, in int) { pos, seat = append(pos, int32(at)), append(seat, int32(in)) }
			row(most*l.Block-1, 0)
			row(-1, 1)
			row(0, 1)
			row(l.Kernel-1, 1)
			row(l.Kernel-2, 1)
			for _, m := range []int{scoreChunk - 1, scoreChunk, scoreChunk + 1, 2 * scoreChunk} { // so many windows
				row(min(most*l.Block-1, (m-1)*l.Stride+l.Kernel-1), 0)
			}
			row(-1, 0)
			row(s.IntN(lengths[1]*l.Block), 1)
			row(s.IntN(lengths[2]*l.Block), 2)
			row((lengths[2]-1)*l.Block, 2)
			q := s.normal(len(pos) * l.Heads * tc.group * l.Dim)
			for r := range pos { // of very different sizes
				scale := float32(math.Exp2(float64(s.IntN(5) - 3)))
				for j := range l.Heads * tc.group * l.Dim {
					q[r*l.Heads*tc.group*l.Dim+j] *= scale
				}
			}
			for range 3 {
				p := s.params(most)
				all := s.ask(q, pos, seat, most, p)
				s.against(all, q, pos, seat, p)
				for _, r := range s.Perm(len(pos))[:3] {
					if pos[r] >= 0 {
						s.alone(all, q, pos, seat, r, p)
					}
				}
			}
		})
	}
}

// alone holds a row by itself against what it got beside others.
func (s *selectScene) alone(all chosen, q []float32, pos, seat []int32, r int, p compute.SelectParams) {
	s.Helper()
	heads, width, places := s.l.Heads, s.l.Heads*s.group*s.l.Dim, p.Most()
	one := s.ask(q[r*width:][:width], pos[r:r+1], seat[r:r+1], int(pos[r])/s.l.Block+1, p)
	s.sameBits("by the query, alone", one.byQuery, all.byQuery[r*heads*s.most:][:heads*s.most])
	s.sameBits("by importance, alone", one.byScore, all.byScore[r*heads*s.most:][:heads*s.most])
	if !slices.Equal(one.count, all.count[r*heads:][:heads]) || !slices.Equal(one.blocks, all.blocks[r*heads*places:][:heads*places]) {
		s.Fatalf("row %d alone selects %d %d", r, one.count, one.blocks)
	}
}

// TestChooseTies: blocks of the same means, importance of few values, of infinite ones, of
// what is not a number, and of a mean that rounds to the zero below zero.
func TestChooseTies(t *testing.T) {
	for _, stride := range []int{16, 8} {
		t.Run(fmt.Sprint(stride), func(t *testing.T) { chooseTies(t, stride) })
	}
}

func chooseTies(t *testing.T, stride int) {
	l := compute.Layout{Heads: 1, Dim: 64, Block: 16, Kernel: 16, Stride: stride, Type: compute.KVBF16}
	s := newSelectScene(t, l, 2, []int{90, 700, 40})
	infinite := float32(math.Inf(1))
	values := []float32{0.5, 0.5, 0, -infinite, infinite, 2, 2, -1, float32(math.NaN())}
	if stride == 8 {
		values = []float32{0, 0, -1e-45, -1e-45, -1e-45, -1, 1}
	}
	for i := range s.want.SegScore.F32() {
		s.want.SegScore.F32()[i] = values[s.IntN(len(values))]
	}
	s.c.segmentScore = s.floats(s.want.SegScore.F32())
	for _, row := range s.table {
		for b := range row {
			if s.IntN(3) > 0 {
				row[b] = row[s.IntN(b+1)]
			}
		}
	}
	var flat []int32
	for _, row := range s.table {
		flat = append(append(flat, row...), make([]int32, s.most-len(row))...)
	}
	s.c.table = s.ints(flat)
	pos, seat := []int32{90*16 - 1, 700*16 - 7, 40*16 - 16, 600 * 16, 521*16 + 3, 512*16 - 1}, []int32{0, 1, 2, 1, 1, 1}
	q := s.normal(len(pos) * 2 * 64)
	for range 25 {
		p := s.params(90)
		s.against(s.ask(q, pos, seat, 700, p), q, pos, seat, p)
	}
}

// TestChooseExtremes: queries of all sizes that float32 has, also none and what is not a
// number, keep to the definition.
func TestChooseExtremes(t *testing.T) {
	s := newSelectScene(t, compute.Layout{Heads: 1, Dim: 128, Block: 64, Kernel: 32, Stride: 16, Type: compute.KVBF16}, 3, []int{50})
	p := compute.SelectParams{Init: 1, Local: 2, K: 9, ByQuery: true}
	pos := []int32{50*64 - 1}
	for _, scale := range []float32{0, 1e-42, 1e-30, 1e-3, 30} {
		q := s.normal(3 * 128)
		for i := range q {
			q[i] *= scale
		}
		s.against(s.ask(q, pos, []int32{0}, 50, p), q, pos, []int32{0}, p)
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 3e38} {
		q := s.normal(3 * 128)
		q[130] = float32(v)
		got := s.ask(q, pos, []int32{0}, 50, p)
		if got.count[0] != 9 || got.blocks[8] != 49 {
			t.Errorf("a query with %v: %d %d", v, got.count, got.blocks)
		}
		if v != 3e38 {
			s.against(got, q, pos, []int32{0}, p)
		}
	}
}

// TestChooseLong: more blocks than threads and than a scan's first round.
func TestChooseLong(t *testing.T) {
	s := newSelectScene(t, compute.Layout{Heads: 1, Dim: 64, Block: 16, Kernel: 16, Stride: 8, Type: compute.KVBF16}, 4, []int{5000, 3})
	pos, seat := []int32{5000*16 - 1, 2222*16 + 5, 7}, []int32{0, 0, 1}
	q := s.normal(len(pos) * 4 * 64)
	for _, p := range []compute.SelectParams{
		{Init: 1, Local: 16, K: 64, ByQuery: true},
		{Init: 2, Local: 5, Query: 40, K: 1500, ByQuery: true, ByScore: true},
	} {
		s.against(s.ask(q, pos, seat, 5000, p), q, pos, seat, p)
	}
}

// TestChooseManyRows: more rows than lanes know at once, many of which nobody asks for, in
// parts of thread blocks that begin and end anywhere.
func TestChooseManyRows(t *testing.T) {
	for _, group := range []int{3, 19} {
		t.Run(fmt.Sprint(group), func(t *testing.T) {
			s := newSelectScene(t, compute.Layout{Heads: 2, Dim: 64, Block: 16, Kernel: 16, Stride: 8, Type: compute.KVBF16}, group, []int{150, 70, 9})
			p := compute.SelectParams{Init: 1, Local: 2, K: 12, DenseLen: 300, ByQuery: true}
			pos, seat := make([]int32, 140), make([]int32, 140)
			for r := range pos {
				seat[r] = int32(s.IntN(3))
				pos[r] = int32(s.IntN(len(s.table[seat[r]]) * 16))
				if r > 20 && r < 90 && r != 60 || s.IntN(3) == 0 {
					pos[r] = int32(s.IntN(300)) - 1
				}
			}
			q := s.normal(len(pos) * 2 * group * 64)
			all := s.ask(q, pos, seat, 150, p)
			s.against(all, q, pos, seat, p)
			for _, r := range []int{0, 60, 91, 139} {
				if pos[r] >= 0 {
					s.alone(all, q, pos, seat, r, p)
				}
			}
		})
	}
}
