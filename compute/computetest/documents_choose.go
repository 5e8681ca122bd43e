package computetest

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// choiceCases: windows and blocks of many shapes, more blocks than any registers hold, blocks whose
// importance grows while rows pass, and blocks that are all alike.
var choiceCases = []struct {
	lengths               []int
	block, kernel, stride int
	kvHeads, group, dim   int
	params                compute.SelectParams
	alike                 bool
}{
	{lengths: []int{70, 500, 33, 300}, block: 64, kernel: 32, stride: 16, kvHeads: 2, group: 3, dim: 24,
		params: compute.SelectParams{Init: 1, Local: 1, Query: 2, K: 6, ByQuery: true, ByScore: true}},
	{lengths: []int{9, 1300}, block: 16, kernel: 8, stride: 4, kvHeads: 1, group: 3, dim: 4,
		params: compute.SelectParams{Init: 1, Local: 3, Query: 6, K: 16, ByQuery: true, ByScore: true}},
	{lengths: []int{1100}, block: 16, kernel: 8, stride: 4, kvHeads: 2, group: 1, dim: 4,
		params: compute.SelectParams{Init: 1, Local: 3, K: 16, ByQuery: true}},
	{lengths: []int{470}, block: 64, kernel: 32, stride: 16, kvHeads: 1, group: 16, dim: 128,
		params: compute.SelectParams{Init: 1, Local: 0, K: 4, DenseLen: 300, ByQuery: true}},
	{lengths: []int{800, 90}, block: 64, kernel: 32, stride: 16, kvHeads: 2, group: 1, dim: 33,
		params: compute.SelectParams{Init: 2, Local: 0, Query: 1, K: 5, ByQuery: true, ByScore: true}},
	{lengths: []int{200, 640}, block: 32, kernel: 12, stride: 4, kvHeads: 1, group: 5, dim: 10,
		params: compute.SelectParams{Init: 0, Local: 1, Query: 3, K: 7, ByQuery: true, ByScore: true}},
	{lengths: []int{390}, block: 64, kernel: 8, stride: 1, kvHeads: 1, group: 2, dim: 16,
		params: compute.SelectParams{Init: 1, Local: 0, K: 3, ByQuery: true}},
	{lengths: []int{3, 1300}, block: 4, kernel: 4, stride: 2, kvHeads: 1, group: 2, dim: 4,
		params: compute.SelectParams{Init: 1, Local: 2, Query: 9, K: 30, ByQuery: true, ByScore: true}},
	{lengths: []int{2100}, block: 2, kernel: 2, stride: 1, kvHeads: 1, group: 1, dim: 2,
		params: compute.SelectParams{Init: 1, Local: 3, Query: 8, K: 20, ByQuery: true, ByScore: true}},
	{lengths: []int{900, 901}, block: 16, kernel: 8, stride: 8, kvHeads: 2, group: 3, dim: 2,
		params: compute.SelectParams{Init: 1, Local: 0, K: 9, ByScore: true}},
	{lengths: []int{17, 600}, block: 16, kernel: 8, stride: 4, kvHeads: 1, group: 3, dim: 20, alike: true,
		params: compute.SelectParams{Init: 0, Local: 0, Query: 4, K: 9, ByQuery: true, ByScore: true}},
	{lengths: []int{300}, block: 8, kernel: 8, stride: 2, kvHeads: 1, group: 4, dim: 6, alike: true,
		params: compute.SelectParams{Init: 1, Local: 1, K: 5, ByQuery: true}},
	{lengths: []int{300}, block: 8, kernel: 2, stride: 2, kvHeads: 2, group: 1, dim: 6, alike: true,
		params: compute.SelectParams{Init: 0, Local: 2, K: 8, ByScore: true}},
}

// RunChoices is the suite for the choice of blocks in packed documents.
func RunChoices(t *testing.T, dev DocumentsDevice, tol Tolerance) {
	for i, tc := range choiceCases {
		t.Run(fmt.Sprintf("%v", tc.lengths), func(t *testing.T) {
			s := &suite{dev: dev, tol: tol, rng: newRand(t)}
			rows := 0
			d := compute.Documents{Begins: []int32{0}, Block: tc.block, Kernel: tc.kernel, Stride: tc.stride}
			for _, n := range tc.lengths {
				rows += n
				d.Begins = append(d.Begins, int32(rows))
			}
			if heavy(t, i, rows*rows/tc.stride*tc.kvHeads*tc.group*tc.dim) {
				return
			}
			x := s.packed(t, dev, d, tc.kvHeads, tc.group, tc.dim, tc.params.ByScore)
			if tc.alike {
				x.alike()
			}
			x.choose(t, tc.params, tc.params.Most())
			x.chooseApart(t, tc.params, tc.params.Most())
		})
	}
}

// alike makes queries ask for nothing, and every token as important as another.
func (x *packed) alike() {
	x.dev.Upload(x.q.dev, make([]byte, x.q.dev.Bytes()))
	clear(x.q.ref.F32())
	if !x.score.ref.None() {
		for i := range x.score.ref.F32() {
			x.score.ref.F32()[i] = 0.3
		}
		x.dev.Upload(x.score.dev, x.score.ref.Data)
	}
}

// chosen is what the device chooses for rows of documents: a list for each row and KV head.
func (x *packed) chosen(t *testing.T, p compute.SelectParams, begin int, d compute.Documents) [][]int32 {
	t.Helper()
	rows, places := d.Rows(), x.selDev.Blocks.Dims[2]
	sel := x.selDev.Rows(begin, rows)
	score := x.score.dev
	if !score.None() {
		score = score.Rows(begin, begin+rows)
	}
	x.dev.ChooseBlocks(sel, x.q.dev.Rows(begin, begin+rows), x.k.dev.Rows(begin, begin+rows), score, d, p)
	blocks, count := readInts(x.dev, sel.Blocks), readInts(x.dev, sel.Count)
	if err := x.dev.Sync(); err != nil {
		t.Fatal(err)
	}
	lists := make([][]int32, len(count))
	for i, n := range count {
		if n >= 0 {
			lists[i] = blocks[i*places:][:n]
		}
	}
	return lists
}

// chooseApart: a document chooses alike alone and behind others, also where those are not numbers.
func (x *packed) chooseApart(t *testing.T, p compute.SelectParams, places int) {
	t.Helper()
	begin, end := x.docs.Span(x.docs.Count() - 1)
	want := x.chosen(t, p, 0, x.docs)[begin*x.kvHeads:]
	one := x.docs
	one.Begins = []int32{0, int32(end - begin)}
	same := func(what string, got [][]int32) {
		for i := range want {
			if !slices.Equal(got[i], want[i]) {
				t.Fatalf("row %d, KV head %d: %v %s, %v behind others", begin+i/x.kvHeads, i%x.kvHeads, got[i], what, want[i])
			}
		}
	}
	same("alone", x.chosen(t, p, begin, one))
	bad := make([]float32, begin*x.kvHeads*x.group*x.dim)
	for i := range bad {
		bad[i] = float32(math.NaN())
	}
	for _, y := range []compute.Tensor{x.q.dev, x.k.dev} {
		y = y.Rows(0, begin)
		data := make([]byte, y.Bytes())
		dtype.Encode(x.activations, data, bad[:y.Len()])
		x.dev.Upload(y, data)
	}
	all := x.chosen(t, p, 0, x.docs)
	same("behind what is not a number", all[begin*x.kvHeads:])
	for i, list := range all {
		if len(list) > places || !slices.IsSorted(list) {
			t.Fatalf("row %d, KV head %d: %v", i/x.kvHeads, i%x.kvHeads, list)
		}
	}
}
