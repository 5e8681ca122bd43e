// Package policytest has a policy.Layer that lies in plain memory, for tests that hold a
// policy against numbers that were worked out by hand or elsewhere.
package policytest

import (
	"context"
	"fmt"
	"math"
	"slices"

	"nosa/policy"
)

// Layer is a layer of a sequence in float32. It has blocks for Pack alone, and none if the shape
// says 0 tokens.
type Layer struct {
	shape   policy.Shape
	index   int
	ids     []int32
	tokens  int
	queries [][]float32 // by position: [heads, dim]
	heads   []head
}

type head struct {
	cells  []policy.Cell
	k, v   [][]float32
	sums   []float64
	packed int
}

var _ policy.Layer = (*Layer)(nil)

// New makes an empty layer. Of the shape all is needed but Block and Rope. ids are those of
// the text, or nil where nobody asks for them.
func New(s policy.Shape, index int, ids []int32) *Layer {
	return &Layer{shape: s, index: index, ids: ids, heads: make([]head, s.KVHeads)}
}

// Append adds a token: q [heads, dim], k and v [KV heads, dim]; its query attends at once, to
// all that is there and to itself. watch may be nil. It returns what comes out, [heads, dim].
func (l *Layer) Append(q, k, v []float32, watch policy.Watcher) []float32 {
	pos, dim, group := l.tokens, l.shape.Dim, l.shape.Group()
	l.tokens++
	l.queries = append(l.queries, slices.Clone(q))
	out := make([]float32, len(q))
	for h := range l.heads {
		d := &l.heads[h]
		d.cells = append(d.cells, policy.Cell{Pos: int32(pos), Count: 1})
		d.k = append(d.k, slices.Clone(k[h*dim:(h+1)*dim]))
		d.v = append(d.v, slices.Clone(v[h*dim:(h+1)*dim]))
		d.sums = append(d.sums, 0)
		w := l.weights(h, pos, pos+1)
		for g := range group {
			for i := range d.cells {
				x := w[g*len(d.cells)+i]
				d.sums[i] += float64(x)
				for c, y := range d.v[i] {
					out[(h*group+g)*dim+c] += x * y
				}
			}
		}
		if watch != nil {
			watch.Watch(l, h, pos, w)
		}
	}
	return out
}

// Prompt adds tokens as Append does: q [tokens, heads, dim], k and v [tokens, KV heads, dim].
func (l *Layer) Prompt(q, k, v []float32, watch policy.Watcher) {
	qw, kw := l.shape.Heads*l.shape.Dim, l.shape.KVHeads*l.shape.Dim
	for t := range len(q) / qw {
		l.Append(q[t*qw:(t+1)*qw], k[t*kw:(t+1)*kw], v[t*kw:(t+1)*kw], watch)
	}
}

// Positions are those of a head's cells.
func (l *Layer) Positions(h int) []int {
	var list []int
	for _, c := range l.heads[h].cells {
		list = append(list, int(c.Pos))
	}
	return list
}

// SetSums says what Sums are, in place of what the queries were.
func (l *Layer) SetSums(h int, sums []float64) { l.heads[h].sums = slices.Clone(sums) }

// weights are those of the queries at positions from to to−1, [group, rows, cells].
func (l *Layer) weights(h, from, to int) []float32 {
	d, dim, group := &l.heads[h], l.shape.Dim, l.shape.Group()
	n := len(d.cells)
	out := make([]float32, 0, group*(to-from)*n)
	row := make([]float64, n)
	for g := range group {
		for pos := from; pos < to; pos++ {
			q := l.queries[pos][(h*group+g)*dim:][:dim]
			top := math.Inf(-1)
			for i, c := range d.cells {
				row[i] = math.Inf(-1)
				if int(c.Pos) > pos {
					continue
				}
				var x float64
				for j, y := range d.k[i] {
					x += float64(q[j]) * float64(y)
				}
				row[i] = x/math.Sqrt(float64(dim)) + float64(c.Bias)
				top = max(top, row[i])
			}
			var sum float64
			for i := range row {
				row[i] = math.Exp(row[i] - top)
				sum += row[i]
			}
			for _, x := range row {
				out = append(out, float32(x/sum))
			}
		}
	}
	return out
}

// The verbs of policy.Layer.

func (l *Layer) Shape() policy.Shape             { return l.shape }
func (l *Layer) Index() int                      { return l.index }
func (l *Layer) Tokens() int                     { return l.tokens }
func (l *Layer) Token(pos int) int32             { return l.ids[pos] }
func (l *Layer) Cells(h int) []policy.Cell       { return l.heads[h].cells }
func (l *Layer) Sums(h int) []float64            { return l.heads[h].sums }
func (l *Layer) flat(rows [][]float32) []float32 { return slices.Concat(rows...) }

func (l *Layer) Keys(_ context.Context, h int) ([]float32, error) {
	return l.flat(l.heads[h].k), nil
}

func (l *Layer) Values(_ context.Context, h int) ([]float32, error) {
	return l.flat(l.heads[h].v), nil
}

func (l *Layer) Queries() ([]float32, int) { return l.flat(l.queries), len(l.queries) }

func (l *Layer) Weights(_ context.Context, h, rows int) ([]float32, error) {
	if rows < 1 || rows > len(l.queries) {
		return nil, fmt.Errorf("policytest: weights of %d rows, %d are there", rows, len(l.queries))
	}
	return l.weights(h, l.tokens-rows, l.tokens), nil
}

func (l *Layer) Keep(_ context.Context, h int, cells []int) error {
	d := &l.heads[h]
	if len(cells) == len(d.cells) {
		return nil
	}
	var left head
	for i, at := range cells {
		if at < 0 || at >= len(d.cells) || i > 0 && at <= cells[i-1] {
			return fmt.Errorf("policytest: keep %v of %d cells", cells, len(d.cells))
		}
		left.cells = append(left.cells, d.cells[at])
		left.k, left.v = append(left.k, d.k[at]), append(left.v, d.v[at])
		left.sums = append(left.sums, d.sums[at])
	}
	if n := d.packed; n <= len(cells) && (n == 0 || cells[n-1] == n-1) {
		left.packed = n
	}
	*d = left
	return nil
}

func (l *Layer) Put(_ context.Context, h int, cells []policy.Cell, k, v []float32) error {
	dim := l.shape.Dim
	if len(k) != len(cells)*dim || len(v) != len(k) {
		return fmt.Errorf("policytest: put %d cells, %d and %d numbers", len(cells), len(k), len(v))
	}
	d := head{cells: slices.Clone(cells), sums: make([]float64, len(cells))}
	for i := range cells {
		if i > 0 && cells[i].Pos <= cells[i-1].Pos {
			return fmt.Errorf("policytest: put: cell %d is at %d, the one before at %d", i, cells[i].Pos, cells[i-1].Pos)
		}
		d.k = append(d.k, slices.Clone(k[i*dim:(i+1)*dim]))
		d.v = append(d.v, slices.Clone(v[i*dim:(i+1)*dim]))
	}
	l.heads[h] = d
	return nil
}

func (l *Layer) Fits(policy.Codec) int { return policy.MostPacked * max(1, l.shape.Block) }

func (l *Layer) Pack(_ context.Context, h, to int, c policy.Codec) (int, error) {
	d, dim := &l.heads[h], l.shape.Dim
	if to < d.packed || to > len(d.cells) {
		return d.packed, fmt.Errorf("policytest: pack up to %d of %d cells, %d are packed", to, len(d.cells), d.packed)
	}
	if l.shape.Block > 0 {
		to = max(d.packed, to-to%l.shape.Block)
	}
	n := to - d.packed
	code := make([]byte, c.Bytes(n))
	c.Encode(code, d.packed, l.flat(d.k[d.packed:to]), l.flat(d.v[d.packed:to]))
	k, v := make([]float32, n*dim), make([]float32, n*dim)
	c.Decode(k, v, code)
	for i := range n {
		d.k[d.packed+i], d.v[d.packed+i] = k[i*dim:(i+1)*dim], v[i*dim:(i+1)*dim]
	}
	d.packed = to
	return to, nil
}
