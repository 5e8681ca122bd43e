package compute

import "errors"

// ErrStep is returned by NewStep for a model or a cache that the device's steps do not
// serve; its other ops do.
var ErrStep = errors.New("the device runs no whole steps of this model")

// Stepper is a Device that runs whole decode steps by itself: one token for each of many
// sequences through all layers, without a word from the host. Selection, slots, transfers
// and attention are its business then; the host says who takes part, and what room there
// is.
//
// Block ids are numbered so that nothing but columns need to be told: the block of a
// layer, KV head and column has the id
//
//	(width − 1 − (layer·heads + head))·columns + column      width = layers·heads
//
// where a column is a block number's blocks of all layers and heads.
type Stepper interface {
	Device
	// NewStep prepares steps of a model over the memory of a cache, which its other ops
	// go on to use between steps. A device that packs weights (see Packer) reads the model's
	// packed ones, or packs its own where the model has none.
	NewStep(m Decoder, c *Cache, o StepOptions) (Step, error)
	// StepBytes is the device memory that NewStep takes, without packed weights. Where
	// NewStep would return ErrStep, so does it. Of the model's tensors it sees shapes and
	// formats alone.
	StepBytes(m Decoder, l Layout, o StepOptions) (int64, error)
}

// HostAllocator is a Device that has memory of the host which it reads and writes itself,
// as a Stepper does with the pages of a host pool.
type HostAllocator interface {
	// AllocHost returns memory that begins at a page of the system; FreeHost gives it back.
	AllocHost(n int) ([]byte, error)
	FreeHost(b []byte) error
}

// StepOptions say how much a Step has room for.
type StepOptions struct {
	Rows    int // of the largest step
	Seats   int // sequences that can sit at once
	Context int // tokens of the longest of them
	Columns int // of the cache
	Select  SelectParams
	// Slots of the cache from FirstSlot on are the step's own pool, which has room for
	// StepSlots of them at least. Resident: there are as many slots as ids, and a block's
	// slot is its id, for the ops as well as here.
	FirstSlot int
	Resident  bool
	// KeepSelected gives the slots of a layer's blocks up that a step did not select.
	KeepSelected bool
	// Pages is the host pool, pinned by the device: a block at the start of each stride
	// bytes. Absent when Resident.
	Pages  []byte
	Stride int
}

// StepSlots is how many slots a step of so many rows needs at the same time: for what all
// of them can want in a layer, and for the blocks of a layer that they fill.
func StepSlots(l Layout, p SelectParams, context, rows int) int {
	return rows * l.Heads * (p.Wanted(context, l.Block) + 1)
}

// StepRow is one row of a step: the next token of the sequence in a seat, and what is asked
// of its logits.
type StepRow struct {
	Seat, Pos, Token int32
	Ask              Ask
}

// Step runs decode steps. It belongs to the goroutine of its device.
type Step interface {
	// Sit gives a sequence a seat: the open block as its tails have it, per layer F32
	// [kvHeads, 2, Block·Dim].
	Sit(seat int, tails []Tensor)
	// Grow appends columns to a seat's table, of blocks that are full or will be. pages
	// [columns, layers, kvHeads] are the places in the host pool where their blocks lie,
	// or are written to when they are full. They stay there until Rise.
	Grow(seat int, columns, pages []int32)
	// Rise ends the sitting; the open block goes to the tails, if there are any.
	Rise(seat int, tails []Tensor)
	// Drop forgets what slots hold of columns that come to other blocks.
	Drop(columns []int32)
	// Run posts a step of rows in different seats, at the positions that they hold next.
	// The columns of all positions up to Pos are in their tables. A block that is full
	// after it is in its page when Wait returns.
	Run(rows []StepRow)
	// Peak is what a row's Ask has come to, when Wait has returned, valid until the next Run.
	Peak(row int) Peak
	// Logits of rows from to to−1 of the last step, F32 [to − from, vocab].
	Logits(from, to int) Tensor
	// States are the same rows' hidden states after the last norm, F32 [to − from, hidden].
	States(from, to int) Tensor
	// Wait waits for the last step and returns what it counted, by layer and by row, valid
	// until the next.
	Wait() (StepCounts, error)
	Close() error
}

// StepCounts is what a step did.
type StepCounts struct {
	Layers []StepCount // [layers]
	Rows   []StepCount // [rows]: over all layers
}

// StepCount counts blocks, own ones included.
type StepCount struct {
	Selected, Hits, Misses int64 // Selected = Hits + Misses
	Sealed                 int64 // blocks that were full and written to their pages
}

// Add adds another count.
func (c *StepCount) Add(o StepCount) {
	c.Selected += o.Selected
	c.Hits += o.Hits
	c.Misses += o.Misses
	c.Sealed += o.Sealed
}
