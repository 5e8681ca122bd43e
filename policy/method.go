package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"nosa/compute"
)

// Method is one way to make the KV cache of a sequence smaller.
type Method interface {
	// Name is the value of --policy.
	Name() string
	// About says in a line what it does, Paper where it is from.
	About() string
	Paper() string
	// Options are its switches, in the order in which people want to read them.
	Options() []Option
	// New is the method with its options, which have been checked one by one, for a
	// model. What does not go together, or not with the model, is refused.
	New(v Values, s Shape) (Policy, error)
}

// methods is the registry: one line a method.
var methods = []Method{
	streaming{}, snapkv{}, h2o{}, random{},
	windowkv{}, dbudgetkv{}, kvmerger{}, fastgen{}, think{}, csp{}, deltakv{}, tca{},
}

// Methods lists all methods.
func Methods() []Method { return methods }

// ErrPolicy is returned for an unknown method, for an option that it does not have or a
// value that it does not take, and for settings that do not go with it.
var ErrPolicy = errors.New("KV policy is not available")

// ByName finds a method.
func ByName(name string) (Method, error) {
	names := make([]string, len(methods))
	for i, m := range methods {
		if names[i] = m.Name(); names[i] == name {
			return m, nil
		}
	}
	return nil, fmt.Errorf("%w: --policy %q: use none, %s", ErrPolicy, name, strings.Join(names, ", "))
}

// Shape is the model that a policy is for.
type Shape struct {
	Layers  int
	Heads   int // query heads of a layer, a multiple of KVHeads: KV head h serves Heads/KVHeads from h·Heads/KVHeads on
	KVHeads int
	Dim     int            // channels of a head
	Block   int            // tokens of a block
	Type    compute.KVType // the cache's format, in which Keys and Values have been rounded

	Rope *compute.Rope // how keys were rotated, for those that must turn them back
}

// Group is how many query heads share a KV head.
func (s Shape) Group() int { return s.Heads / s.KVHeads }

// Policy is a method with its options, for one model. It is the same for all sequences and
// holds nothing of any of them.
type Policy interface {
	// Needs is what must be gathered for it.
	Needs() Needs
	// Begin makes the state of a sequence. It may refuse a request.
	Begin(r Request) (State, error)
}

// Needs is what a policy wants to see.
type Needs struct {
	// Window is how many of the newest queries of each layer are kept for Layer.Queries and
	// Layer.Weights; 0: none.
	Window int
	// Sums has the attention weights of every query added up by cell, for Layer.Sums. It
	// costs another walk over the cache for each row, in prompts too. Blocks of a common
	// prefix are not taken over then: nobody would know their sums.
	Sums bool
	// Packs says that it calls Layer.Pack.
	Packs bool
}

// Request is what a policy may know of a sequence before it begins.
type Request struct {
	Prompt []int32 // ids of the whole prompt
	// Text is the text of a token, and Special says that it is a marker and no text: the
	// beginning of a text, the seams of a chat.
	Text    func(id int32) string
	Special func(id int32) bool
	// Tags say of what kind each token of the prompt is, an instruction or a document, for
	// those that tell kinds apart; nil: all are of one.
	Tags []uint8
}

// State decides for one sequence. It belongs to one goroutine and needs no end.
type State interface {
	// Next is the first length of the sequence, in tokens, after a length at which Compress
	// is to be called; Never: none any more. It depends on its argument alone, and so not on
	// how the prompt is cut: a step that goes past a length is cut there.
	Next(tokens int) int
	// Compress is called layer by layer, in ascending order, when the sequence has reached
	// such a length, and all rows before it have attended in the layer. What it takes away
	// or changes holds for all rows after it. An error ends the request.
	Compress(ctx context.Context, l Layer) error
}

// Watcher is a State that wants to see the weights of every row, as Needs.Sums has them
// computed: those with which the query at pos attends to the cells of a KV head, [group,
// cells], its own one last. Rows come in order, each before the cells are compressed after it.
// Of the layer only Cells are to be asked for.
type Watcher interface {
	Watch(l Layer, head, pos int, weights []float32)
}

// Holder is a State that has memory of its own, beside what the cache holds.
type Holder interface {
	Bytes() int64
}

// Never is a length that no sequence reaches.
const Never = int(^uint(0) >> 1)

// Cell is what is stored in the place of a token. Cells of a KV head lie in ascending order
// of Pos.
type Cell struct {
	Pos   int32   // the token's position in the text; of a merged one, that which stands for it
	Count int32   // how many tokens it is made of; 1: it is one
	Bias  float32 // added to the logit of every query of the KV head's group
}

// Layer is one layer of a sequence, as it lies in the cache at the moment. Head is always a
// KV head. What it returns holds until its next call.
type Layer interface {
	Shape() Shape
	Index() int
	// Tokens is the length of the text: the next token has this position, whatever has
	// been dropped.
	Tokens() int
	// Token is the id of the token at a position.
	Token(pos int) int32

	// Cells lists what is stored of a head.
	Cells(head int) []Cell
	// Keys and Values are those of its cells, [cells, dim], keys after rotation, as the cache
	// holds them: rounded to its format but in the open block.
	Keys(ctx context.Context, head int) ([]float32, error)
	Values(ctx context.Context, head int) ([]float32, error)

	// Queries are the newest ones of the layer [rows, heads, dim] after rotation, as many as
	// Needs.Window or as the text has; the last one is that of position Tokens−1.
	Queries() (q []float32, rows int)
	// Weights are those with which the newest rows queries attend to the cells of a head,
	// [group, rows, cells]: softmax(q·k/√dim + bias) over the cells at or before each query, 0
	// behind it.
	Weights(ctx context.Context, head, rows int) ([]float32, error)
	// Sums are the weights of all queries so far, added up over the group's query heads, by
	// cell. A cell that is put anew begins at 0, one that is kept goes on.
	Sums(head int) []float64

	// Keep drops all cells of a head but those with these indices into Cells, ascending.
	Keep(ctx context.Context, head int, cells []int) error
	// Pack stores the cells of a head before index to in the bytes of a codec, as many together as
	// Fits, and returns how many are packed then. It goes as far as they fill blocks: those of the
	// text's tokens as long as nothing has been dropped, or as Keep and Put have left them. What is
	// packed already stays as it is. A Keep that drops any of it has all of the head in the cache's
	// format again; so has Put.
	Pack(ctx context.Context, head, to int, c Codec) (packed int, err error)
	// Fits is how many cells of a codec a block of the cache has room for, up to MostPacked times
	// as many as in the cache's format. The last block of a Pack may have room left.
	Fits(c Codec) int
	// Put replaces all cells of a head: k and v are [cells, dim].
	Put(ctx context.Context, head int, cells []Cell, k, v []float32) error
}

// MostPacked bounds the cells of a block that is packed, in blocks.
const MostPacked = 16

// Codec is how a policy stores the keys and values of some cells of one layer and KV head. It
// must stay as it is for as long as what it has encoded. As many cells as fit are put into a
// block of the cache, so what it saves is saved in every tier.
type Codec interface {
	// Bytes is what a number of cells take; more take more.
	Bytes(cells int) int
	// Encode writes cells, k and v [cells, dim], which follow each other from index from into the
	// head's Cells on; dst has their Bytes.
	Encode(dst []byte, from int, k, v []float32)
	// Decode is what queries attend to.
	Decode(k, v []float32, src []byte)
}
