package kv

import (
	"fmt"
	"math"
	"time"

	"nosa/compute"
	"nosa/kv/vfs"
)

// Config is what a store is opened with. Layout, Layers and Blocks have no
// defaults.
type Config struct {
	Layout compute.Layout
	Layers int

	// Blocks is the number of block ids: all blocks of all sequences that can
	// live at once, one per layer, KV head and Layout.Block tokens. It is a multiple
	// of layers and KV heads.
	Blocks int
	// Spares is the number of ids beside those, in whole columns too, for sequences that
	// rewrite their blocks: what is new has an id while what it replaces still has its own.
	// They are no room: there are never more full blocks than Blocks.
	Spares int
	// Slots is the number of places in the device pool; 0: one for each of Blocks.
	Slots int
	// HostPages is the number of places in the host pool; 0: no host pool. With
	// Slots < Blocks and no disk it must hold Blocks, of which the open tails of
	// one sequence may be left out.
	HostPages int
	// Disk is the tier below the host pool, or nil. It needs a host page at least,
	// since blocks pass through one on their way.
	Disk *Disk

	Keep Keep
	// Retain keeps the full blocks of sequences that have ended, where they are, for
	// those that begin with the same tokens, until their room is needed.
	Retain bool
	// Copying brings every wanted block into a slot. A device that reads the host's
	// memory as fast as its own need not: it reads blocks in the host pool where
	// they lie. Others always copy.
	Copying bool
	// Seats is how many sequences a device can decode by itself at a time, with the
	// compute.Step that SetStep names; 0: it does not. StepSlots are slots beside Slots,
	// the step's own; where there is no host pool there are none: a block's slot is its
	// id then, and the step has it there too.
	Seats     int
	StepSlots int

	Workers int           // goroutines that move bytes; 0: 16
	Timeout time.Duration // how long a wait goes on without any transfer reporting; 0: 30 s

	// Identity says which model and settings computed the blocks: it enters every
	// chain key, so that blocks of another model never match.
	Identity []byte
	// Trace, if not nil, is called once per KV head at the end of every recall.
	Trace func(Trace)
}

// Disk says where blocks go that the host pool has no room for.
type Disk struct {
	FS      vfs.FS // nil: vfs.OS
	Dir     string // made if it is missing
	Records int    // places in the file; 0: one for every id
	Direct  bool   // pass by the page cache, where blocks are close to whole pages and the system can
	// Lasts keeps what is in it for the next process with the same Identity, layout and
	// layers. All blocks are written to it then, once, whether their room is needed or
	// not. Identity must say everything that their bytes depend on.
	Lasts bool
}

// Keep says which blocks stay in slots.
type Keep uint8

const (
	// KeepLRU keeps what was used last, until its slot is needed.
	KeepLRU Keep = iota
	// KeepSelected frees at once what a recall did not name, as NOSI does.
	KeepSelected
)

func (k Keep) String() string {
	if k == KeepSelected {
		return "selected"
	}
	return "lru"
}

// ParseKeep reads a value of --kv-keep.
func ParseKeep(s string) (Keep, error) {
	switch s {
	case "lru":
		return KeepLRU, nil
	case "selected":
		return KeepSelected, nil
	}
	return 0, fmt.Errorf("%w: --kv-keep %q is unknown: use lru or selected", ErrConfig, s)
}

// maxPadding is the part of a record, one in so many bytes, that may be lost to
// rounding it up for direct transfers: 7 %.
const maxPadding = 14

// withDefaults fills in what was left out and checks the rest.
func (c Config) withDefaults() (Config, error) {
	if err := c.Layout.Validate(); err != nil {
		return c, err
	}
	if c.Layers <= 0 || c.Layers > 1<<12 {
		return c, fmt.Errorf("%w: %d layers, want 1 to %d", ErrConfig, c.Layers, 1<<12)
	}
	if c.Slots == 0 {
		c.Slots = c.Blocks
	}
	if c.Workers == 0 {
		c.Workers = 16
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	for _, n := range []struct {
		what string
		n    int
	}{{"blocks", c.Blocks}, {"spare ids", c.Spares + 1}, {"ids", c.ids()}, {"slots", c.Slots}, {"host pages", c.HostPages + 1}, {"workers", c.Workers}, {"seats", c.Seats + 1}, {"slots of steps", c.StepSlots + 1}, {"timeout", int(min(c.Timeout, 1<<30))}} {
		if n.n <= 0 || n.n >= math.MaxInt32 {
			return c, fmt.Errorf("%w: number of %s out of range", ErrConfig, n.what)
		}
	}
	if width := c.Layers * c.Layout.Heads; c.Blocks%width != 0 || c.Spares%width != 0 {
		return c, fmt.Errorf("%w: %d blocks and %d spare ids are no multiples of %d layers of %d KV heads", ErrConfig, c.Blocks, c.Spares, c.Layers, c.Layout.Heads)
	}
	if (c.StepSlots > 0) != (c.Seats > 0 && c.below()) {
		return c, fmt.Errorf("%w: %d slots for steps of %d seats, above %d host pages", ErrConfig, c.StepSlots, c.Seats, c.HostPages)
	}
	if !tiered && (c.evicts() || c.below()) {
		return c, fmt.Errorf("%w: this program was built without tiers (-tags notiers): leave out --kv-device, --kv-host and --kv-disk", ErrConfig)
	}
	if c.Disk == nil {
		if need := c.Blocks - c.Layers*c.Layout.Heads; c.evicts() && c.HostPages < need {
			return c, fmt.Errorf("%w: %d blocks, but %d slots (--kv-keep %v) and %d host pages: make --kv-device hold all, --kv-host %d blocks (%d bytes), or add --kv-disk",
				ErrConfig, c.Blocks, c.Slots, c.Keep, c.HostPages, need, int64(need)*int64(c.Layout.BlockBytes()))
		}
		return c, nil
	}
	d := *c.Disk
	if d.FS == nil {
		d.FS = vfs.OS{}
	}
	if d.Records == 0 {
		d.Records = c.Blocks
	}
	switch {
	case d.Dir == "":
		return c, fmt.Errorf("%w: --kv-disk names no directory", ErrConfig)
	case d.Records < 0 || d.Records >= math.MaxInt32:
		return c, fmt.Errorf("%w: %d records in --kv-disk %s", ErrConfig, d.Records, d.Dir)
	case c.HostPages == 0:
		return c, fmt.Errorf("%w: --kv-disk %s needs a host pool for its blocks to pass through: give --kv-host %d bytes or more",
			ErrConfig, d.Dir, c.RecordBytes())
	}
	c.Disk = &d
	return c, nil
}

// columns is how many block numbers have ids at once, in all layers and heads.
func (c Config) columns() int { return c.ids() / (c.Layers * c.Layout.Heads) }

// ids is how many blocks can have one at once.
func (c Config) ids() int { return c.Blocks + c.Spares }

// below reports whether full blocks have a home under the slots.
func (c Config) below() bool { return c.HostPages > 0 }

// evicts reports whether blocks ever lose their slots, or begin without one; then all
// of them need a home below.
func (c Config) evicts() bool {
	return c.Slots < c.Blocks || c.below() && (c.Keep == KeepSelected || c.Seats > 0) || c.lasts()
}

// lasts reports whether the next process finds the disk tier as this one leaves it.
func (c Config) lasts() bool { return c.Disk != nil && c.Disk.Lasts }

// summaryBytes is what is kept of a block beside its bytes.
func (c Config) summaryBytes() int {
	l, n := c.Layout, 0
	if l.Stride > 0 {
		n += l.SummaryBytes()
	}
	if l.Scores {
		n += 4 * (l.Segments() + l.Block)
	}
	return n
}

// homes is how many full blocks can live at once. Where blocks come back from
// disk, a page must stay that can be emptied, or nothing could move any more.
func (c Config) homes() int {
	switch {
	case !c.evicts():
		return c.Blocks
	case c.Disk == nil:
		return c.HostPages
	}
	return c.HostPages - 1 + c.Disk.Records
}

// RecordBytes is the distance between pages and between records: the block's
// size, rounded up where direct transfers need that and the loss is small.
func (c Config) RecordBytes() int {
	n := c.Layout.BlockBytes()
	if c.Disk == nil || !c.Disk.Direct {
		return n
	}
	whole := (n + vfs.Align - 1) / vfs.Align * vfs.Align
	if (whole-n)*maxPadding > whole {
		return n
	}
	return whole
}

// Footprint is the memory that a store takes, in bytes.
type Footprint struct {
	Slots     int64 // on the device
	Summaries int64 // on the device
	Tails     int64 // on the device, for each sequence
	Host      int64
	Disk      int64
	Maps      int64 // of the Go heap: what is known of every id, slot, page
}

// Footprint says what Open would take, before anything is allocated.
func (c Config) Footprint() (Footprint, error) {
	c, err := c.withDefaults()
	if err != nil {
		return Footprint{}, err
	}
	l := c.Layout
	f := Footprint{
		Slots:     int64(c.Slots+c.StepSlots) * int64(l.BlockBytes()),
		Summaries: int64(c.ids()) * int64(c.summaryBytes()),
		Tails:     int64(c.Layers) * int64(l.Heads) * int64(8*l.Block*l.Dim),
		Host:      int64(c.HostPages) * int64(c.RecordBytes()),
		Maps:      int64(c.ids())*blockSize + int64(c.Slots)*48 + int64(c.HostPages)*204,
	}
	if c.lasts() {
		f.Maps += int64(c.ids()) * int64(len(digest{}))
	}
	if c.Disk != nil {
		f.Disk = int64(c.Disk.Records) * int64(c.RecordBytes())
	}
	return f, nil
}
