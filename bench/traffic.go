package bench

import (
	"nosa/attention"
	"nosa/compute"
	"nosa/engine"
	"nosa/kv"
	"nosa/model"
)

// traffic knows what a token of a model cannot do without: which bytes must be
// read and written, and how many operations done. Activations are left out; they
// stay in caches.
type traffic struct {
	layers, heads, dim int

	matrices  int64   // bytes of the weights that a pass reads
	plain     float64 // values in them, in float formats
	quantised float64 // and in quantised ones
	unwanted  float64 // those that a prompt does without: the output layer's, and in the last layer all but keys and values

	layout compute.Layout
	params compute.SelectParams
	chunk  int // tokens of a prefill pass
}

// newTraffic reads the sizes off an engine that was opened with these options.
func newTraffic(e *engine.Engine, o engine.Options) (*traffic, error) {
	c := e.Config
	method, err := attention.ByName(e.Plan().Method)
	if err != nil {
		return nil, err
	}
	sparse := model.DefaultSparse()
	if c.Sparse != nil {
		sparse = *c.Sparse
		if method.Keeps().Scores && !sparse.DenseGiven {
			sparse.DenseLen = 0
		}
	}
	if o.TopK > 0 {
		sparse.TopK = o.TopK
	}
	constants := attention.Constants{Block: sparse.BlockSize, Kernel: sparse.KernelSize, Stride: sparse.KernelStride, K: sparse.TopK, DenseLen: sparse.DenseLen}
	t := &traffic{
		layers: c.Layers, heads: c.Heads, dim: c.HeadDim,
		layout: attention.Layout(method, constants, c.KVHeads, c.HeadDim, o.KVType), params: method.Params(constants), chunk: o.Chunk,
	}
	if t.chunk == 0 {
		t.chunk = engine.DefaultChunk
	}
	for _, name := range e.Checkpoint.Names() {
		if name == "model.embed_tokens.weight" && e.Checkpoint.Has("lm_head.weight") {
			continue // of which a token reads one row
		}
		x, err := e.Checkpoint.Tensor(name)
		if err != nil {
			return nil, err
		}
		t.matrices += int64(len(x.Data))
		switch {
		case len(x.Shape) < 2:
		case x.Type.Quantised():
			t.quantised += float64(x.Elements())
		default:
			t.plain += float64(x.Elements())
		}
	}
	q, mlp := float64(c.Heads*c.HeadDim), float64(c.Intermediate)
	t.unwanted = float64(c.Hidden) * (float64(c.Vocab) + 2*q + 3*mlp)
	return t, nil
}

// cost is what a whole run needs.
type cost struct {
	bytes     Bytes
	working   float64 // bytes that a pass reads: the working set
	plain     float64 // operations in float32: attention, and products with weights in float formats
	quantised float64 // of products with quantised weights
}

// of is the cost of a run of a test, of which the store counted what blocks were
// selected, in all sequences.
func (t *traffic) of(test Test, counted kv.LayerStats) cost {
	var c cost
	l := t.layout
	places, tiles := float64(t.layers*l.Heads), t.tiles(test)
	passes, sharing := float64(test.Gen), float64(test.Batch) // sequences that read for themselves
	if test.Prompt > 0 {
		passes = float64((test.Prompt + t.chunk - 1) / t.chunk)
	}
	c.bytes.Weights = passes * float64(t.matrices)
	c.bytes.KV = max(0, float64(counted.Selected)-places*sharing*float64(len(tiles))) * float64(l.BlockBytes())
	for _, tile := range tiles {
		last := tile.pos + tile.n - 1
		c.bytes.KV += sharing * places * float64(8*t.dim*(last%l.Block+1)) // the open block, as computed
		if t.selects(last) {
			c.bytes.Pooled += sharing * places * t.pooled(last)
		}
	}
	for i := range test.tokens() {
		at := test.Depth + i
		keys := float64(at + 1)
		if t.selects(at) {
			keys = min(keys, float64(t.params.K*l.Block))
			if t.params.ByQuery {
				c.plain += sharing * float64(t.layers*t.heads) * float64(2*t.dim*(at/l.Stride))
			}
		}
		c.plain += sharing * float64(t.layers*t.heads) * 4 * float64(t.dim) * keys
	}
	tokens := float64(test.tokens() * test.Batch)
	written := float64(8*t.dim) + float64(l.BlockBytes())/float64(l.Block)
	if l.Stride > 0 {
		written += float64(l.SummaryBytes()) / float64(l.Block)
	}
	c.bytes.Written = tokens * places * written
	c.working = c.bytes.total() / passes
	part := 1.0
	if test.Prompt > 0 {
		part = max(0, 1-t.unwanted/(t.plain+t.quantised))
	}
	c.plain += 2 * tokens * part * t.plain
	c.quantised = 2 * tokens * part * t.quantised
	return c
}

// tile is a run of rows in one block, which share the blocks that they read.
type tile struct{ pos, n int }

// tiles cuts the tokens of a test as the engine does: a decode step is a tile of
// its own, a prompt is cut at blocks and chunks.
func (t *traffic) tiles(test Test) []tile {
	var all []tile
	if test.Gen > 0 {
		for i := range test.Gen {
			all = append(all, tile{test.Depth + i, 1})
		}
		return all
	}
	for i := 0; i < test.Prompt; {
		at := test.Depth + i
		n := min(t.layout.Block-at%t.layout.Block, t.chunk-i%t.chunk, test.Prompt-i)
		all = append(all, tile{at, n})
		i += n
	}
	return all
}

// selects tells whether the query at a position leaves blocks out.
func (t *traffic) selects(at int) bool {
	return at >= t.params.DenseLen && at/t.layout.Block+1 > t.params.K && (t.params.ByQuery || t.params.ByScore)
}

// pooled is the bytes that choosing blocks at a position reads, for one KV head:
// the mean keys of all segments, their scores, and those of the tokens chosen.
func (t *traffic) pooled(at int) float64 {
	l, n := t.layout, 0
	if l.Stride == 0 {
		return 0
	}
	if t.params.ByQuery {
		n += at / l.Block * l.SummaryBytes()
	}
	if t.params.ByScore {
		n += 4 * (at / l.Stride)
	}
	if l.Scores {
		n += 4 * t.params.K * l.Block
	}
	return float64(n)
}

// perToken divides what a run needed by its tokens.
func (c cost) perToken(tokens int) (Bytes, float64) {
	n := float64(tokens)
	return Bytes{c.bytes.Weights / n, c.bytes.KV / n, c.bytes.Pooled / n, c.bytes.Written / n}, (c.plain + c.quantised) / n
}
