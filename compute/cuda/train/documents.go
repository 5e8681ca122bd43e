//go:build linux && amd64

package train

import (
	"cmp"
	"errors"
	"math/bits"
	"slices"

	"nosa/compute"
	"nosa/compute/cuda/driver"
)

// The shapes of documents.cuh.
const (
	documentTokens  = 64 // of a tile of keys
	documentThreads = 128
	documentMostDim = 128 // channels
)

// errDocuments is what Sync says where there is no kernel for a shape.
var errDocuments = errors.New("no kernel: heads have an even number of channels, up to 128; blocks 2, 4, 8, 16 or 32 tokens, or a multiple of 64")

// documentWork is the struct of documents.cuh: what a thread block is for.
type documentWork struct{ begin, end, first, columns, tiles int32 }

// documentShape is what launches depend on beside the documents.
type documentShape struct {
	heads, group, dim, block int // heads of keys
	blockQueries             int // of a thread block, where it is not as many as most
	blockTiles               int // of keys of one, where it is not one
}

// takes reports whether there are kernels for a shape.
func (s documentShape) takes() bool {
	small := s.block > 1 && s.block < documentTokens && bits.OnesCount(uint(s.block)) == 1
	return s.dim%2 == 0 && s.dim <= documentMostDim && (small || s.block > 0 && s.block%documentTokens == 0)
}

// wide is the channels that the kernels of a shape are made for.
func (s documentShape) wide() int {
	if s.dim > documentMostDim/2 {
		return documentMostDim
	}
	return documentMostDim / 2
}

// documentKernels have heads of up to 64 channels, and of up to 128.
type documentKernels struct{ narrow, wide driver.Function }

func (k documentKernels) of(s documentShape) driver.Function {
	if s.wide() == documentMostDim {
		return k.wide
	}
	return k.narrow
}

// atOnce is how many queries a thread block has: see documents_attend.cu.
func (s documentShape) atOnce() int {
	if s.blockQueries > 0 {
		return s.blockQueries
	}
	if s.wide() == documentMostDim {
		return documentTokens
	}
	return 2 * documentTokens
}

// documentPlan is how documents are cut into thread blocks, the longest walks first. Cuts count
// from a document's begin, so that its bits do not depend on the documents before it.
type documentPlan struct {
	queries, keys, lists []documentWork
	words                int // of a row's bits
	columns              int // words of a KV head
	blocks               int // of the longest document
	tiles                int // of keys; each document has an even number
}

func planDocuments(d compute.Documents, s documentShape) documentPlan {
	var p documentPlan
	for i := range d.Count() {
		begin, end := d.Span(i)
		rows := end - begin
		blocks := ceil(rows, d.Block)
		w := documentWork{begin: int32(begin), end: int32(end), columns: int32(p.columns), tiles: int32(p.tiles)}
		cut := func(n, by, step int) (list []documentWork) {
			for at := 0; at < n; at += by {
				w.first = int32(at / step)
				list = append(list, w)
			}
			return list
		}
		p.queries = append(p.queries, cut(rows*s.group, s.atOnce(), 1)...)
		p.keys = append(p.keys, cut(rows, documentTokens*max(1, s.blockTiles), documentTokens)...)
		p.lists = append(p.lists, cut(rows, 32, 32)...)
		p.columns += blocks * ceil(rows, 32)
		p.blocks = max(p.blocks, blocks)
		p.tiles += 2 * ceil(rows, 2*documentTokens)
	}
	p.words = ceil(p.blocks, 32)
	slices.SortStableFunc(p.queries, func(a, b documentWork) int { return cmp.Compare(b.first, a.first) })
	slices.SortStableFunc(p.keys, func(a, b documentWork) int {
		return cmp.Compare(b.end-b.begin-documentTokens*b.first, a.end-a.begin-documentTokens*a.first)
	})
	return p
}
