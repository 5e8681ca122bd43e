package computetest

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// DocumentsDevice is what a compute.Trainer does of attention.
type DocumentsDevice interface {
	compute.Device
	ChooseBlocks(sel compute.Selection, q, k, s compute.Tensor, d compute.Documents, p compute.SelectParams)
	AttendDocuments(out, lse, q, k, v, s compute.Tensor, sel compute.Selection, d compute.Documents)
	AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s compute.Tensor, sel compute.Selection, d compute.Documents)
	ReceivedLoss(loss, ds, lse, q, k, s compute.Tensor, sel compute.Selection, d compute.Documents, p compute.SelectParams, scale float32)
}

// documentCases: whole and short blocks, groups and sizes of heads, all four methods.
var documentCases = []struct {
	lengths               []int
	block, kernel, stride int
	kvHeads, group, dim   int
	biased                bool
	params                compute.SelectParams // neither ByQuery nor ByScore: full attention
}{
	{lengths: []int{1}, block: 64, kernel: 32, stride: 16, kvHeads: 1, group: 1, dim: 4},
	{lengths: []int{63, 1, 64, 65, 200}, block: 64, kernel: 32, stride: 16, kvHeads: 1, group: 3, dim: 64},
	{lengths: []int{130, 3}, block: 64, kernel: 32, stride: 16, kvHeads: 1, group: 8, dim: 128, biased: true},
	{lengths: []int{5, 400, 1}, block: 64, kernel: 32, stride: 16, kvHeads: 1, group: 3, dim: 64,
		params: compute.SelectParams{Init: 1, Local: 1, Query: 2, K: 5, ByQuery: true, ByScore: true}, biased: true},
	{lengths: []int{300, 17, 83}, block: 8, kernel: 4, stride: 2, kvHeads: 2, group: 2, dim: 4,
		params: compute.SelectParams{Init: 1, Local: 1, Query: 2, K: 6, ByQuery: true, ByScore: true}, biased: true},
	{lengths: []int{400, 64, 31}, block: 16, kernel: 8, stride: 4, kvHeads: 1, group: 3, dim: 80,
		params: compute.SelectParams{Init: 1, Local: 2, K: 7, ByQuery: true}},
	{lengths: []int{128, 390}, block: 16, kernel: 16, stride: 16, kvHeads: 3, group: 1, dim: 20,
		params: compute.SelectParams{Init: 0, Local: 0, K: 3, DenseLen: 100, ByScore: true}, biased: true},
	{lengths: []int{290, 7}, block: 128, kernel: 32, stride: 16, kvHeads: 1, group: 2, dim: 16, biased: true,
		params: compute.SelectParams{K: 2, ByQuery: true}},
}

// RunDocuments is the suite for attention over packed documents.
func RunDocuments(t *testing.T, dev DocumentsDevice, tol Tolerance) {
	for i, tc := range documentCases {
		t.Run(fmt.Sprintf("%v", tc.lengths), func(t *testing.T) {
			s := &suite{dev: dev, tol: tol, rng: newRand(t)}
			rows := 0
			for _, n := range tc.lengths {
				rows += n
			}
			if heavy(t, i, rows*rows*tc.kvHeads*tc.group*tc.dim) {
				return
			}
			d := compute.Documents{Begins: []int32{0}, Block: tc.block, Kernel: tc.kernel, Stride: tc.stride}
			for _, n := range tc.lengths {
				d.Begins = append(d.Begins, d.Begins[len(d.Begins)-1]+int32(n))
			}
			x := s.packed(t, dev, d, tc.kvHeads, tc.group, tc.dim, tc.biased)
			x.params = tc.params
			places := tc.params.Most()
			if tc.params.ByQuery || tc.params.ByScore {
				x.choose(t, tc.params, places)
			}
			x.compare(t)
			x.written(t)
			x.apart(t)
		})
	}
}

// packed is documents on a device and beside it.
type packed struct {
	*suite
	dev                      DocumentsDevice
	docs                     compute.Documents
	kvHeads, group, dim      int
	q, k, v, score, dout     pair
	out, lse, dq, dk, dv, ds pair
	received, taught         pair // what ReceivedLoss adds to
	params                   compute.SelectParams
	selDev, selRef           compute.Selection
	activations              dtype.Type
}

// packed makes documents of normal numbers.
func (s *suite) packed(t *testing.T, dev DocumentsDevice, d compute.Documents, kvHeads, group, dim int, biased bool) *packed {
	t.Helper()
	x := &packed{suite: s, dev: dev, docs: d, kvHeads: kvHeads, group: group, dim: dim, activations: dtype.F32}
	if y, ok := dev.(interface{ Activations() dtype.Type }); ok {
		x.activations = y.Activations()
	}
	rows, heads := d.Rows(), kvHeads*group
	x.q, x.dout = x.normals(t, rows, heads, dim), x.normals(t, rows, heads, dim)
	x.k, x.v = x.normals(t, rows, kvHeads, dim), x.normals(t, rows, kvHeads, dim)
	if biased {
		x.score, x.ds = s.f32(t, s.normal(rows*kvHeads), rows, kvHeads), s.empty(t, rows, kvHeads)
		x.received, x.taught = s.empty(t, rows, kvHeads, 2), s.empty(t, rows, kvHeads)
	}
	x.lse = s.empty(t, rows, heads)
	x.out, x.dq = x.normals(t, rows, heads, dim), x.normals(t, rows, heads, dim)
	x.dk, x.dv = x.normals(t, rows, kvHeads, dim), x.normals(t, rows, kvHeads, dim)
	return x
}

// normals are activations; the definitions have the numbers that the device keeps of them.
func (x *packed) normals(t *testing.T, shape ...int) pair {
	t.Helper()
	dev := x.alloc(t, x.dev, x.activations, shape...)
	data, v := make([]byte, dev.Bytes()), x.normal(dev.Len())
	dtype.Encode(x.activations, data, v)
	dtype.Decode(x.activations, v, data)
	x.dev.Upload(dev, data)
	ref := x.alloc(t, x.ref, dtype.F32, shape...)
	x.ref.Upload(ref, bytesOf(v))
	return pair{dev, ref}
}

// numbers are a device's activations.
func (x *packed) numbers(d compute.Tensor) []float32 {
	data, v := make([]byte, d.Bytes()), make([]float32, d.Len())
	x.dev.Download(data, d)
	dtype.Decode(d.Type, v, data)
	return v
}

// choose compares the choice of blocks: the same, but for blocks whose scores are so close
// that they may be taken one for the other. Both sides go on with the definition's.
func (x *packed) choose(t *testing.T, p compute.SelectParams, places int) {
	t.Helper()
	rows := x.docs.Rows()
	blocks := x.i32(t, make([]int32, rows*x.kvHeads*places), rows, x.kvHeads, places)
	count := x.i32(t, make([]int32, rows*x.kvHeads), rows, x.kvHeads)
	x.selDev = compute.Selection{Blocks: blocks.dev, Count: count.dev}
	x.selRef = compute.Selection{Blocks: blocks.ref, Count: count.ref}
	x.dev.ChooseBlocks(x.selDev, x.q.dev, x.k.dev, x.score.dev, x.docs, p)
	x.ref.ChooseBlocks(x.selRef, x.q.ref, x.k.ref, x.score.ref, x.docs, p)
	got := compute.Selection{
		Blocks: compute.I32s(readInts(x.dev, blocks.dev), rows, x.kvHeads, places),
		Count:  compute.I32s(readInts(x.dev, count.dev), rows, x.kvHeads),
	}
	others, sparse := 0, 0
	x.docs.Tiles(func(row, n, pos int) {
		for r := row; r < row+n; r++ {
			for h := range x.kvHeads {
				at := r*x.kvHeads + h
				if count.ref.I32()[at] >= 0 {
					sparse++
				}
				if g, w := got.Count.I32()[at], count.ref.I32()[at]; g != w {
					t.Fatalf("row %d, KV head %d: %d blocks, the definition says %d", r, h, g, w)
				}
				own := pos / x.docs.Block
				if g, w := got.List(r, h, own), x.selRef.List(r, h, own); !slices.Equal(g, w) {
					others++
					x.near(t, r, r-row+pos, h, p, g, w)
				}
			}
		}
	})
	if sparse == 0 || others > 1 && others*50 > sparse { // one of few is none too many
		t.Fatalf("%d of %d choices differ", others, sparse)
	}
	x.dev.Upload(blocks.dev, blocks.ref.Data)
	x.dev.Upload(count.dev, count.ref.Data)
}

// near fails where blocks that only one of two choices has are not close by any score that
// they were chosen by.
func (x *packed) near(t *testing.T, row, pos, head int, p compute.SelectParams, got, want []int32) {
	t.Helper()
	query, score := x.scores(row, pos, head)
	only := func(a, b []int32) (c []int32) {
		for _, n := range a {
			if !slices.Contains(b, n) {
				c = append(c, n)
			}
		}
		return c
	}
	extra, missing := only(got, want), only(want, got)
	bound := x.tol.Sum*100 + x.tol.Rounded
	for i, a := range extra {
		b := missing[i]
		byQuery := p.ByQuery && math.Abs(query[a]-query[b]) <= bound*query[b]
		byScore := p.ByScore && !x.score.ref.None() && math.Abs(score[a]-score[b]) <= bound*(1+math.Abs(score[b]))
		if p.ByQuery && p.ByScore || byQuery || byScore {
			continue // where both choose, a swap of the first moves the second: only the number is bounded
		}
		t.Fatalf("row %d, KV head %d: block %d in place of %d (by query %v, %v)", row, head, a, b, query[a], query[b])
	}
}

// scores are those of a row's blocks by its query and by importance, from the keys
// themselves: steps 1 to 3 and 6 of section 3 of spec nosa.
func (x *packed) scores(row, pos, head int) (byQuery, byScore []float64) {
	d := x.docs
	blocks := pos/d.Block + 1
	byQuery, byScore = make([]float64, blocks), make([]float64, blocks)
	begin := row - pos
	windows := max(0, (pos+1-d.Kernel)/d.Stride+1)
	if pos+1 < d.Kernel {
		windows = 0
	}
	sums := make([]float64, windows)
	for g := range x.group {
		q := x.q.ref.F32()[(row*x.kvHeads*x.group+head*x.group+g)*x.dim:][:x.dim]
		var total float64
		p := make([]float64, windows)
		for m := range p {
			for j := begin + m*d.Stride; j < begin+m*d.Stride+d.Kernel; j++ {
				for c, v := range q {
					p[m] += float64(v) * float64(x.k.ref.F32()[(j*x.kvHeads+head)*x.dim+c])
				}
			}
			p[m] = math.Exp(p[m] / float64(d.Kernel) / math.Sqrt(float64(x.dim)))
			total += p[m]
		}
		for m := range p {
			sums[m] += p[m] / total
		}
	}
	for b := range blocks {
		byQuery[b], byScore[b] = math.Inf(-1), math.Inf(-1)
		for m, sum := range sums {
			if m*d.Stride+d.Kernel <= b*d.Block || m*d.Stride >= (b+1)*d.Block {
				continue
			}
			byQuery[b] = max(byQuery[b], sum)
			if x.score.ref.None() {
				continue
			}
			var mean float64
			for j := begin + m*d.Stride; j < begin+m*d.Stride+d.Kernel; j++ {
				mean += float64(x.score.ref.F32()[j*x.kvHeads+head]) / float64(d.Kernel)
			}
			byScore[b] = max(byScore[b], mean)
		}
	}
	return byQuery, byScore
}

// compare holds the ops against their definitions.
func (x *packed) compare(t *testing.T) {
	t.Helper()
	x.dev.AttendDocuments(x.out.dev, x.lse.dev, x.q.dev, x.k.dev, x.v.dev, x.score.dev, x.selDev, x.docs)
	x.ref.AttendDocuments(x.out.ref, x.lse.ref, x.q.ref, x.k.ref, x.v.ref, x.score.ref, x.selRef, x.docs)
	x.held(t, "outputs", x.out)
	x.held(t, "sums' logarithms", x.lse)
	// The definition's results, so that the gradient's own error shows.
	data := make([]byte, x.out.dev.Bytes())
	dtype.Encode(x.activations, data, x.out.ref.F32())
	dtype.Decode(x.activations, x.out.ref.F32(), data)
	x.dev.Upload(x.out.dev, data)
	x.dev.Upload(x.lse.dev, x.lse.ref.Data)
	x.grads(t)
	x.ref.AttendDocumentsGrad(x.dq.ref, x.dk.ref, x.dv.ref, x.ds.ref, x.dout.ref, x.out.ref, x.lse.ref,
		x.q.ref, x.k.ref, x.v.ref, x.score.ref, x.selRef, x.docs)
	x.held(t, "dq", x.dq)
	x.held(t, "dk", x.dk)
	x.held(t, "dv", x.dv)
	if !x.ds.ref.None() {
		x.held(t, "ds", x.ds)
		x.teach(x.ref, x.received.ref, x.taught.ref, x.lse.ref, x.q.ref, x.k.ref, x.score.ref, x.selRef)
		x.held(t, "the loss of what tokens received", x.received)
		x.within(t, "its gradient", x.taught, x.meanReceived())
	}
}

// meanReceived is what tokens that may be far got in the mean, in the document and KV head where it is most: the
// gradient is the difference between what one got and what it was to get.
func (x *packed) meanReceived() (most float64) {
	for i := range x.docs.Count() {
		begin, end := x.docs.Span(i)
		tokens := ((end-begin-1)/x.docs.Block - x.params.Local - x.params.Init) * x.docs.Block
		for h := range x.kvHeads {
			weight := float64(x.received.ref.F32()[2*(begin*x.kvHeads+h)+1])
			most = max(most, weight/float64(max(tokens, 1)))
		}
	}
	return most
}

// teach adds the loss of what tokens received, and its gradient, to numbers that are there.
func (x *packed) teach(dev DocumentsDevice, loss, ds, lse, q, k, s compute.Tensor, sel compute.Selection) {
	v := slices.Repeat([]float32{0.25}, loss.Len())
	dev.Upload(loss, bytesOf(v))
	dev.Upload(ds, bytesOf(v[:ds.Len()]))
	dev.ReceivedLoss(loss, ds, lse, q, k, s, sel, x.docs, x.params, 0.75)
}

func (x *packed) grads(t *testing.T) {
	t.Helper()
	x.dev.AttendDocumentsGrad(x.dq.dev, x.dk.dev, x.dv.dev, x.ds.dev, x.dout.dev, x.out.dev, x.lse.dev,
		x.q.dev, x.k.dev, x.v.dev, x.score.dev, x.selDev, x.docs)
	if !x.ds.dev.None() {
		x.teach(x.dev, x.received.dev, x.taught.dev, x.lse.dev, x.q.dev, x.k.dev, x.score.dev, x.selDev)
	}
	if err := x.dev.Sync(); err != nil {
		t.Fatal(err)
	}
}

// held holds a result against the definition's, relative to its largest number: each is a
// sum of products that may take each other away.
func (x *packed) held(t *testing.T, what string, p pair) {
	t.Helper()
	x.within(t, what, p, 1)
}

// within is held for sums whose products are as large as top.
func (x *packed) within(t *testing.T, what string, p pair, top float64) {
	t.Helper()
	got, want := x.numbers(p.dev), p.ref.F32()
	top = max(top, 1)
	for _, w := range want {
		top = max(top, math.Abs(float64(w)))
	}
	bound := (5*x.tol.Sum + 4*x.tol.Rounded) * top
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - float64(w)); !(d <= bound) {
			t.Fatalf("%s: element %d of %v is %v, the definition says %v (off by %.3g, allowed %.3g)",
				what, i, p.ref.Dims[:p.ref.Rank], got[i], w, d, bound)
		}
	}
}

// results are all that the ops write, rows from begin to end.
func (x *packed) results(begin, end int) map[string][]float32 {
	all := map[string][]float32{}
	for name, y := range map[string]compute.Tensor{
		"out": x.out.dev, "lse": x.lse.dev, "dq": x.dq.dev, "dk": x.dk.dev, "dv": x.dv.dev, "ds": x.ds.dev,
		"received": x.received.dev, "taught": x.taught.dev,
	} {
		if !y.None() {
			all[name] = x.numbers(y.Rows(begin, end))
		}
	}
	return all
}

// again runs the ops of the device.
func (x *packed) again(t *testing.T) {
	t.Helper()
	x.dev.AttendDocuments(x.out.dev, x.lse.dev, x.q.dev, x.k.dev, x.v.dev, x.score.dev, x.selDev, x.docs)
	x.grads(t)
}

// apart: a document has the same bits alone and behind others, also where those are not
// numbers.
func (x *packed) apart(t *testing.T) {
	t.Helper()
	x.again(t)
	i := x.docs.Count() - 1
	begin, end := x.docs.Span(i)
	want := x.results(begin, end)
	bad := make([]float32, begin*x.kvHeads*x.group*x.dim)
	for i := range bad {
		bad[i] = float32(math.NaN())
	}
	for _, y := range []compute.Tensor{x.q.dev, x.k.dev, x.v.dev, x.dout.dev} {
		y = y.Rows(0, begin)
		data := make([]byte, y.Bytes())
		dtype.Encode(x.activations, data, bad[:y.Len()])
		x.dev.Upload(y, data)
	}
	x.again(t)
	for name, v := range x.results(begin, end) {
		same(t, name+" behind what is not a number", v, want[name])
	}
	rows := func(y compute.Tensor) compute.Tensor {
		if y.None() {
			return y
		}
		return y.Rows(begin, end)
	}
	one := *x
	one.docs.Begins = []int32{0, int32(end - begin)}
	for _, p := range []*pair{&one.q, &one.k, &one.v, &one.score, &one.dout, &one.out, &one.lse, &one.dq, &one.dk, &one.dv, &one.ds, &one.received, &one.taught} {
		p.dev = rows(p.dev)
	}
	if !x.selDev.None() {
		one.selDev = x.selDev.Rows(begin, end-begin)
	}
	one.again(t)
	for name, v := range one.results(0, end-begin) {
		same(t, name+" of a document alone", v, want[name])
	}
}

// written: a selection of every block, written out or not, has the bits of none.
func (x *packed) written(t *testing.T) {
	t.Helper()
	rows, places := x.docs.Rows(), 1
	for i := range x.docs.Count() {
		begin, end := x.docs.Span(i)
		places = max(places, (end-begin+x.docs.Block-1)/x.docs.Block)
	}
	list, count := make([]int32, rows*x.kvHeads*places), make([]int32, rows*x.kvHeads)
	x.docs.Tiles(func(row, n, pos int) {
		for r := row; r < row+n; r++ {
			for h := range x.kvHeads {
				at := r*x.kvHeads + h
				count[at] = -1
				if r%3 == 0 {
					continue
				}
				count[at] = int32(pos/x.docs.Block + 1)
				for b := range count[at] {
					list[at*places+int(b)] = b
				}
			}
		}
	})
	sel := x.selDev
	defer func() { x.selDev = sel }()
	x.selDev = compute.Selection{}
	x.again(t)
	want := x.results(0, rows)
	x.selDev = compute.Selection{
		Blocks: x.i32(t, list, rows, x.kvHeads, places).dev,
		Count:  x.i32(t, count, rows, x.kvHeads).dev,
	}
	x.again(t)
	for name, v := range x.results(0, rows) {
		same(t, name+" of every block", v, want[name])
	}
}
