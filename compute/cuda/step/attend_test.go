//go:build linux && amd64

package step

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/dtype"
)

// put is memory of the GPU with the given content.
func put[T int32 | float32 | uint8](t testing.TB, d *cuda.Device, v []T) uintptr {
	t.Helper()
	var size = int(unsafe.Sizeof(*new(T)))
	x, err := d.Alloc(dtype.U8, max(size*len(v), 1))
	if err != nil {
		t.Fatal(err)
	}
	if len(v) > 0 {
		d.Upload(x, unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), size*len(v)))
	}
	t.Cleanup(func() { d.Free(x) })
	return x.Addr
}

// bf16 reads n numbers of the GPU.
func readBF16(d *cuda.Device, at uintptr, n int) []uint16 {
	x := compute.Describe(dtype.BF16, n)
	x.Addr = at
	out := make([]uint16, n)
	d.Download(unsafe.Slice((*byte)(unsafe.Pointer(&out[0])), 2*n), x)
	return out
}

func fromBF16(v uint16) float32 { return math.Float32frombits(uint32(v) << 16) }

// attendScene are rows of seats of different lengths, in a cache of one of two layers.
type attendScene struct {
	l                     compute.Layout
	group                 int
	layer, columns, slots int
	most                  int     // places of a table
	pos, seat             []int32 // by row
	table                 []int32 // [seats, most]
	slotOf                []int32
	data                  []byte // slots
	tails                 []float32
	score                 []float32
	q                     []float32
	places                int
	blocks, count         []int32
	need                  int // most blocks of a row
}

const sceneLayers = 2

// newAttendScene draws a cache and rows at the given positions, −1 for nobody's; every
// says which of them see all blocks. The first seats share their first columns.
func newAttendScene(rng *rand.Rand, l compute.Layout, group int, pos []int32, every func(row int) bool) *attendScene {
	sc := &attendScene{l: l, group: group, layer: 1, pos: pos}
	seats := len(pos) + 1
	for _, p := range pos {
		sc.most = max(sc.most, int(p)/l.Block+1)
	}
	sc.most += 2
	order := rng.Perm(seats)
	for r := range pos {
		sc.seat = append(sc.seat, int32(order[r]))
	}
	sc.columns = seats*sc.most + 3
	columns := rng.Perm(sc.columns)
	for i := range seats * sc.most {
		sc.table = append(sc.table, int32(columns[i]))
	}
	if len(pos) > 1 && pos[0] >= 0 && pos[1] >= 0 { // closed blocks of both
		for b := range min(int(pos[0]), int(pos[1])) / l.Block {
			sc.table[int(sc.seat[1])*sc.most+b] = sc.table[int(sc.seat[0])*sc.most+b]
		}
	}
	ids := sceneLayers * l.Heads * sc.columns
	sc.slots = ids/sceneLayers + 5
	sc.slotOf = make([]int32, ids)
	for i := range sc.slotOf {
		sc.slotOf[i] = -1
	}
	sc.data = make([]byte, sc.slots*l.BlockBytes())
	for i := range sc.data {
		sc.data[i] = 0xff // not a number
	}
	slots := rng.Perm(sc.slots)
	sc.tails = make([]float32, sceneLayers*seats*l.Heads*2*l.Dim*l.Block)
	for i := range sc.tails {
		sc.tails[i] = float32(math.NaN())
	}
	if l.Scores {
		sc.score = normals(rng, ids*l.Block)
	}
	put := func(id int) {
		if sc.slotOf[id] >= 0 {
			return
		}
		sc.slotOf[id] = int32(slots[id-sc.layer*l.Heads*sc.columns])
		n := l.BlockBytes()
		// A channel of its own middle and width, as keys of models have them.
		k, v := normals(rng, l.Block*l.Dim), normals(rng, l.Block*l.Dim)
		for d := range l.Dim {
			middle, width := float32(rng.NormFloat64()), float32(0.5+rng.Float64())
			for j := range l.Block {
				k[d*l.Block+j] = k[d*l.Block+j]*width + middle
			}
		}
		l.EncodeBlock(sc.data[int(sc.slotOf[id])*n:][:n], k, v)
	}
	sc.q = normals(rng, len(pos)*l.Heads*group*l.Dim)
	sc.places = sc.most
	for r, p := range pos {
		own := int(p) / l.Block
		for h := range l.Heads {
			list := make([]int32, 0, sc.places)
			count := int32(-1)
			if p >= 0 {
				for b := range own {
					put(sc.id(r, h, b))
				}
				tail := sc.tail(int(sc.seat[r]), h)
				for d := range l.Dim {
					for j := range int(p)%l.Block + 1 {
						tail[d*l.Block+j] = float32(rng.NormFloat64())
						tail[l.Dim*l.Block+j*l.Dim+d] = float32(rng.NormFloat64())
					}
				}
				if !every(r) {
					for b := range own + 1 {
						if b == own || rng.IntN(3) > 0 {
							list = append(list, int32(b))
						}
					}
					count = int32(len(list))
				}
				sc.need = max(sc.need, own+1)
			}
			for len(list) < sc.places {
				list = append(list, -1)
			}
			sc.blocks, sc.count = append(sc.blocks, list...), append(sc.count, count)
		}
	}
	return sc
}

func normals(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

func (sc *attendScene) seats() int { return len(sc.table) / sc.most }

// id is the block of a row's KV head and block number.
func (sc *attendScene) id(row, head, number int) int {
	return (sc.layer*sc.l.Heads+head)*sc.columns + int(sc.table[int(sc.seat[row])*sc.most+number])
}

func (sc *attendScene) tail(seat, head int) []float32 {
	n := 2 * sc.l.Dim * sc.l.Block
	return sc.tails[((sc.layer*sc.seats()+seat)*sc.l.Heads+head)*n:][:n]
}

// want is what the definition says of a row: [heads·group, dim].
func (sc *attendScene) want(row int) []float32 {
	l, heads, p := sc.l, sc.l.Heads*sc.group, int(sc.pos[row])
	own := p / l.Block
	c := &compute.Cache{Layout: l, Slots: compute.NewTensor(dtype.U8, sc.data, sc.slots, l.BlockBytes())}
	if l.Scores {
		c.Score = compute.F32s(sc.score, len(sc.slotOf), l.Block)
	}
	t := compute.Tile{N: 1, Pos: p}
	var tail []float32
	var parts []compute.Part
	for h := range l.Heads {
		ids := make([]int32, own+1)
		part := compute.Part{Head: h}
		for b := range ids {
			ids[b] = int32(sc.id(row, h, b))
			part.Blocks = append(part.Blocks, int32(b))
			slot := int32(-1)
			if b < own {
				slot = sc.slotOf[ids[b]]
			}
			part.Slots = append(part.Slots, slot)
		}
		t.Tables = append(t.Tables, ids)
		parts = append(parts, part)
		tail = append(tail, sc.tail(int(sc.seat[row]), h)...)
	}
	t.Tail = compute.F32s(tail, l.Heads, 2, l.Block*l.Dim)
	at := row * l.Heads
	sel := compute.Selection{Blocks: compute.I32s(sc.blocks[at*sc.places:][:l.Heads*sc.places], 1, l.Heads, sc.places),
		Count: compute.I32s(sc.count[at:][:l.Heads], 1, l.Heads)}
	state := compute.F32s(make([]float32, heads*compute.StateLen(l.Dim)), 1, heads, compute.StateLen(l.Dim))
	compute.AttendBegin(state.F32(), l.Dim)
	compute.Attend(state, compute.F32s(sc.q[row*heads*l.Dim:][:heads*l.Dim], 1, heads, l.Dim), c, t, sel, parts)
	out := make([]float32, heads*l.Dim)
	compute.AttendEnd(out, state.F32(), l.Dim)
	return out
}

// rows runs a launch of the given rows of the scene, with blocks for the longest and more.
func (sc *attendScene) run(t testing.TB, d *cuda.Device, g *gpu, a *attention, rows []int, more int) []uint16 {
	t.Helper()
	return sc.runInWaves(t, d, g, a, rows, more, coming{}, false)
}

// runInWaves is run while blocks are said to come, or leaves its output arranged.
func (sc *attendScene) runInWaves(t testing.TB, d *cuda.Device, g *gpu, a *attention, rows []int, more int, come coming, arranged bool) []uint16 {
	t.Helper()
	l, heads := sc.l, sc.l.Heads*sc.group
	n := len(rows)
	var pos, seat, blocks, count []int32
	var q []float32
	for _, r := range rows {
		pos, seat = append(pos, sc.pos[r]), append(seat, sc.seat[r])
		q = append(q, sc.q[r*heads*l.Dim:][:heads*l.Dim]...)
		blocks = append(blocks, sc.blocks[r*l.Heads*sc.places:][:l.Heads*sc.places]...)
		count = append(count, sc.count[r*l.Heads:][:l.Heads]...)
	}
	c := cacheArgs{l: cuda.LayoutOf(l), layer: int32(sc.layer), seats: int32(sc.seats()), most: int32(sc.most), columns: int32(sc.columns),
		table: put(t, d, sc.table), slotOf: put(t, d, sc.slotOf), slots: put(t, d, sc.data), tails: put(t, d, sc.tails)}
	if l.Scores {
		c.tokenScore = put(t, d, sc.score)
	}
	need := sc.need + more
	size := n * heads * l.Dim
	if arranged {
		size = 8 * ceil(n, 8) * heads * l.Dim
	}
	untouched := slices.Repeat([]int32{0x7fc17fc1}, size/2+1)
	out := put(t, d, untouched)
	scratch := put(t, d, slices.Repeat([]uint8{0xff}, a.scratchBytes(g, l, n, sc.group, need)))
	a.runInWaves(g, activations{out, arranged}, put(t, d, q), c, rowsArgs{n: int32(n), pos: put(t, d, pos), seat: put(t, d, seat)},
		selectionArgs{places: int32(sc.places), blocks: put(t, d, blocks), count: put(t, d, count)}, sc.group, need, scratch, come)
	got := readBF16(d, out, size)
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestAttend compares with the definition, and a row alone with the row among others.
func TestAttend(t *testing.T) {
	d, g := open(t)
	var a attention
	if err := a.load(g); err != nil {
		t.Fatal(err)
	}
	all := []compute.KVType{compute.KVF32, compute.KVBF16, compute.KVF16, compute.KVQ8, compute.KVQ4}
	for i, tc := range []struct {
		heads, group, dim, block int
		scores                   bool
		pos                      []int32
		kv                       []compute.KVType
	}{
		{2, 16, 128, 64, false, []int32{64*37 + 11, 64*21 + 63, -1, 0, 64*8 - 1, 64 * 9}, all[1:]},
		{1, 3, 64, 64, true, []int32{64*19 + 5, 64*19 + 40, 17}, all},
		{1, 16, 128, 64, true, []int32{64*10 + 33, 64*17 - 1}, all[1:]},
		{3, 3, 64, 64, false, []int32{64*5 + 1, 63, 64}, all[1:]},
		{1, 20, 80, 16, true, []int32{16*35 + 7, 16*3 + 15, -1, 15}, all},
		{2, 1, 96, 32, true, []int32{32*20 + 31, 32 * 2}, all},
		{1, 32, 32, 128, true, []int32{128*6 + 100, 128*9 + 5, 30}, all},
		{1, 8, 256, 64, false, []int32{64*11 + 20, 64 * 3}, all[1:]},
		{1, 2, 192, 128, false, []int32{128*3 + 20, 127}, all[1:]},
		{2, 5, 20, 4, true, []int32{4*70 + 1, 3, -1, 4 * 9}, all},
		{1, 6, 7, 8, true, []int32{8*37 + 1, 8 * 8}, all},
		{1, 1, 129, 24, false, []int32{24*9 + 3}, all},
		{1, 1, 64, 64, false, []int32{64*270 + 3, 64*530 + 7}, []compute.KVType{compute.KVBF16, compute.KVQ4}}, // longer cuts, and jobs that cannot take all
		{1, 1, 16, 16, false, []int32{16*523 + 3, 16*1030 + 7}, []compute.KVType{compute.KVF32, compute.KVF16, compute.KVQ8}},
	} {
		for _, kv := range tc.kv {
			l := compute.Layout{Heads: tc.heads, Dim: tc.dim, Block: tc.block, Scores: tc.scores, Type: kv}
			t.Run(fmt.Sprintf("%d/%v", i, kv), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(uint64(i), uint64(kv)))
				sc := newAttendScene(rng, l, tc.group, tc.pos, func(r int) bool { return r%2 == 1 })
				sc.check(t, d, g, &a)
			})
		}
	}
}

// bound is the error that is allowed relative to the largest output, beyond its rounding.
// bf16 weights have 8 bits, f16 ones 11.
func (sc *attendScene) bound() float64 {
	switch {
	case sc.l.Type == compute.KVF32:
		return 1e-6
	case sc.l.Type == compute.KVBF16:
		return 2e-3
	}
	return 5e-4
}

// check runs all rows, as the launch is usually cut and with the streams of a cut in
// blocks of their own, then each by itself.
func (sc *attendScene) check(t *testing.T, d *cuda.Device, g *gpu, a *attention) {
	t.Helper()
	stride := sc.l.Heads * sc.group * sc.l.Dim
	rows := make([]int, len(sc.pos))
	for r := range rows {
		rows[r] = r
	}
	got := sc.run(t, d, g, a, rows, 0)
	// What is left of an error when half a unit of the output's last place is taken away.
	var sum, most, scale float64
	n := 0
	for r, p := range sc.pos {
		row := got[r*stride : (r+1)*stride]
		if p < 0 {
			if i := slices.IndexFunc(row, func(v uint16) bool { return v != 0x7fc1 }); i >= 0 {
				t.Fatalf("row %d is nobody's and has been written", r)
			}
			continue
		}
		for i, w := range sc.want(r) {
			x, want := float64(fromBF16(row[i])), float64(w)
			_, e := math.Frexp(want)
			off := max(0, math.Abs(x-want)-math.Ldexp(1, e-9))
			if x != x {
				t.Fatalf("row %d: element %d is %v, the definition says %v", r, i, x, w)
			}
			sum, most, scale = sum+off, max(most, off), max(scale, math.Abs(want))
			n++
		}
	}
	t.Logf("beyond rounding off by %.2e in the mean, %.2e at most, relative to the largest output", sum/float64(n)/scale, most/scale)
	if most > sc.bound()*scale {
		t.Errorf("off by %.3g, where the largest output is %.3g", most, scale)
	}
	if stride%64 == 0 {
		groups := ceil(len(rows), 8)
		arranged := sc.runInWaves(t, d, g, a, rows, 0, coming{}, true)
		for r := range rows {
			for i, want := range got[r*stride:][:stride] {
				at := (i/64*groups+r/8)*512 + (i%64/32*4+i%8/2)*64 + r%8*8 + i%32/8*2 + i%2 // as arranged.cuh
				if arranged[at] != want {
					t.Fatalf("row %d: element %d is %#x, arranged %#x", r, i, want, arranged[at])
				}
			}
		}
	}
	for _, warps := range []int{1, 2, 4} {
		b := *a
		b.warps = warps
		slices.Reverse(rows)
		again := sc.run(t, d, g, &b, rows, warps*5)
		for i, r := range rows {
			if !slices.Equal(again[i*stride:(i+1)*stride], got[r*stride:(r+1)*stride]) {
				t.Fatalf("row %d has other bits in another order, with %d warps", r, warps)
			}
		}
	}
	for r := range sc.pos {
		if alone := sc.run(t, d, g, a, []int{r}, r); !slices.Equal(alone, got[r*stride:(r+1)*stride]) {
			t.Fatalf("row %d has other bits alone", r)
		}
	}
}

// TestAttendNotFinite: biases of −∞ weigh nothing, also where they are all that a row sees;
// what is not a number stays so, in the rows that see it.
func TestAttendNotFinite(t *testing.T) {
	d, g := open(t)
	var a attention
	if err := a.load(g); err != nil {
		t.Fatal(err)
	}
	for _, kv := range []compute.KVType{compute.KVF32, compute.KVBF16, compute.KVF16, compute.KVQ8, compute.KVQ4} {
		l := compute.Layout{Heads: 1, Dim: 64, Block: 64, Scores: true, Type: kv}
		draw := func() *attendScene {
			return newAttendScene(rand.New(rand.NewPCG(7, uint64(kv))), l, 4, []int32{64*18 + 5, 64*3 + 20, 9}, func(int) bool { return true })
		}
		mask := func(sc *attendScene, row, from, to int) {
			for j := from; j < to; j++ {
				sc.score[sc.id(row, 0, j/64)*64+j%64] = float32(math.Inf(-1))
			}
		}
		for name, spoil := range map[string]func(*attendScene){
			"first block":     func(sc *attendScene) { mask(sc, 0, 0, 64) },
			"more than a cut": func(sc *attendScene) { mask(sc, 0, 0, 64*11+30) },
			"all of a row":    func(sc *attendScene) { mask(sc, 1, 0, 64*4); mask(sc, 2, 0, 64) },
		} {
			t.Run(fmt.Sprintf("%v/%s", kv, name), func(t *testing.T) {
				sc := draw()
				spoil(sc)
				sc.check(t, d, g, &a)
			})
		}
		t.Run(fmt.Sprintf("%v/NaN", kv), func(t *testing.T) {
			sc := draw()
			sc.tail(int(sc.seat[1]), 0)[3*64+20] = float32(math.NaN())      // a key
			sc.tail(int(sc.seat[2]), 0)[64*64+5*64+7] = float32(math.NaN()) // channel 7 of a value
			sc.score[sc.id(0, 0, 17)*64+3] = float32(math.NaN())            // a bias
			got := sc.run(t, d, g, &a, []int{0, 1, 2}, 0)
			for i, v := range got {
				nan := fromBF16(v) != fromBF16(v)
				if want := i/(4*64) < 2 || i%64 == 7; nan != want {
					t.Fatalf("row %d, element %d is %v", i/(4*64), i%(4*64), fromBF16(v))
				}
			}
		})
	}
}

// TestAttendInWaves: which blocks come late changes no bit.
func TestAttendInWaves(t *testing.T) {
	d, g := open(t)
	var a attention
	if err := a.load(g); err != nil {
		t.Fatal(err)
	}
	for i, l := range []compute.Layout{
		{Heads: 2, Dim: 64, Block: 64, Type: compute.KVBF16},
		{Heads: 1, Dim: 128, Block: 64, Scores: true, Type: compute.KVQ8},
		{Heads: 2, Dim: 32, Block: 32, Type: compute.KVF16},
		{Heads: 1, Dim: 20, Block: 4, Type: compute.KVBF16},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(i), 9))
			at := func(blocks int) int32 { return int32(blocks*l.Block + rng.IntN(l.Block)) }
			sc := newAttendScene(rng, l, 5, []int32{at(60), at(33), -1, at(0), at(8)}, func(r int) bool { return r%2 == 1 })
			rows := []int{0, 1, 2, 3, 4}
			want := sc.run(t, d, g, &a, rows, 0)
			for _, in := range []int{2, 20, 1000} { // one of so many is late
				late := make([]uint8, sc.slots)
				for s := range late {
					if rng.IntN(in) == 0 {
						late[s] = uint8(1 + rng.IntN(2))
					}
				}
				come := coming{late: put(t, d, late), copiers: 3, arrived: func() {}}
				for _, gathered := range []uintptr{0, put(t, d, []int32{3})} { // waves of their own, or both at once
					come.gathered = gathered
					if got := sc.runInWaves(t, d, g, &a, rows, 0, come, false); !slices.Equal(got, want) {
						t.Fatalf("other bits with one of %d blocks late, both waves at once: %v", in, gathered != 0)
					}
				}
			}
		})
	}
}
