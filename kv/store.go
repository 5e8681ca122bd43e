package kv

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"nosa/compute"
	"nosa/dtype"
)

// Store keeps the blocks of all sequences. Its methods, and those of its
// sequences and recalls, are called by one goroutine at a time.
type Store struct {
	dev   compute.Device
	cfg   Config
	log   *slog.Logger
	cache compute.Cache

	near     bool // slots lie in the host's memory: a copy to or from one takes no time worth a wait
	inPlace  bool // ops read blocks in their pages: a copy to a slot wins nothing
	resident bool // no block ever loses its slot

	firstPage int32 // from here on numbers of slots stand for pages: see SlotData

	blocks  []block     // by id
	perHead int32       // ids of a layer and head: one for each column
	free    freeColumns // of no block
	left    []int32     // by column: blocks that have not been given back
	held    []int32     // by column: of them, those that are not at their end
	spare   []bool      // by column: a sequence takes ids from it for what it rewrites; nil: none does
	live    int         // blocks
	pool    *compute.Pool
	host    *host // nil: no tier below the slots
	disk    *disk // nil: no tier below the host pool
	mover   *mover

	lasting *lasting // nil: the disk tier ends with the process

	step  int64 // forward passes so far: the clock of least recent use
	due   int   // blocks that have or will need a home
	dying int   // blocks without holders that wait for a transfer to report

	dyingColumns int // columns that have such blocks alone

	dyingDue int     // of them, those that have a home
	promised promise // to sequences

	waitDown queue           // ids that wait for a page to be written through to
	waitLoad queue           // ids that wait for a page to be read into
	faults   map[int32]error // by id: why its slot is bad
	downs    int             // copies from slots to pages under way
	spills   int             // writes to disk under way
	reads    int             // reads from disk under way
	ahead    int             // of them, those that nobody waits for
	unready  int             // slots that do not hold what they should, yet or for good
	loads    []transfer      // reads from disk that are about to begin

	spillErr   error // what the last failed write to disk said
	spillFails int   // how many have failed
	spillHold  int64 // step in which no more are tried without need

	seats    *seats // nil: no device decodes by itself
	sat      int    // blocks in seats' tables that keep their pages, or wait for them
	expected int    // of them, those that a step will write to their pages

	watched []wanted // by id; nil: nobody watches

	columns   map[key]*column
	cached    cachedColumns
	frayed    []*column // of which a block has lost its last holder
	sequences map[*Sequence]struct{}
	recalls   []*recall   // that are open
	spent     []*recall   // that have been closed, for the next ones
	one       [2][1]int32 // want and slot of a single block
	evicted   []int32

	made   int // sequences so far
	layers []LayerStats
	timer  *time.Timer
	busy   atomic.Bool
	hung   bool // the last wait ended without a report
	closed bool // no more is begun
	gone   bool // the memory has been given back
}

// Open allocates the device and host pools and opens the disk file.
func Open(dev compute.Device, cfg Config, log *slog.Logger) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("kv: open: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		dev: dev, cfg: cfg, log: log,
		blocks:    make([]block, cfg.ids()),
		perHead:   int32(cfg.columns()),
		free:      newFreeColumns(cfg.columns()),
		left:      make([]int32, cfg.columns()),
		held:      make([]int32, cfg.columns()),
		pool:      compute.NewPool(cfg.Slots, cfg.ids()),
		faults:    map[int32]error{},
		columns:   make(map[key]*column, cfg.columns()),
		sequences: map[*Sequence]struct{}{},
		layers:    make([]LayerStats, cfg.Layers),
		timer:     time.NewTimer(time.Hour),
		spillHold: -1,
	}
	if cfg.Seats > 0 && !cfg.below() {
		s.pool = compute.NewFixedPool(cfg.Blocks)
	}
	if cfg.Spares > 0 {
		s.spare = make([]bool, cfg.columns())
	}
	s.firstPage = int32(cfg.Slots + cfg.StepSlots)
	s.timer.Stop()
	for i := range s.blocks {
		s.blocks[i] = block{page: -1, rec: -1}
	}
	if err := s.allocate(); err != nil {
		return nil, fmt.Errorf("kv: open: %w", errors.Join(err, s.release()))
	}
	s.mover = newMover(s, cfg.Workers)
	if s.lasting != nil {
		if err := s.inherit(); err != nil {
			return nil, fmt.Errorf("kv: open: %w", errors.Join(err, s.Close()))
		}
	}
	return s, nil
}

// allocate takes the memory of all tiers.
func (s *Store) allocate() (err error) {
	c, l := &s.cache, s.cfg.Layout
	c.Layout = l
	alloc := func(dst *compute.Tensor, t dtype.Type, shape ...int) {
		if err == nil {
			*dst, err = s.dev.Alloc(t, shape...)
		}
	}
	alloc(&c.Slots, dtype.U8, s.cfg.Slots+s.cfg.StepSlots, l.BlockBytes())
	s.near = c.Slots.Data != nil
	s.inPlace = s.near && s.cfg.below() && !s.cfg.Copying
	s.resident = !s.cfg.evicts()
	if l.Stride > 0 {
		alloc(&c.Segments, l.SummaryType(), s.cfg.ids(), l.SummarySteps(), l.Segments(), 4)
	}
	if l.Scores {
		if l.Stride > 0 {
			alloc(&c.SegScore, dtype.F32, s.cfg.ids(), l.Segments())
		}
		alloc(&c.Score, dtype.F32, s.cfg.ids(), l.Block)
	}
	if err != nil {
		return fmt.Errorf("device memory for %d slots of %d bytes and %d summaries: %w: lower --kv-device or --context",
			s.cfg.Slots+s.cfg.StepSlots, l.BlockBytes(), s.cfg.ids(), err)
	}
	if s.cfg.below() {
		var from compute.HostAllocator
		if s.cfg.Seats > 0 {
			from, _ = s.dev.(compute.HostAllocator)
		}
		if s.host, err = newHost(s.cfg.HostPages, s.cfg.RecordBytes(), l.BlockBytes(), from); err != nil {
			return fmt.Errorf("host pool of %d pages of %d bytes: %w: lower --kv-host", s.cfg.HostPages, s.cfg.RecordBytes(), err)
		}
		s.host.saves = s.cfg.lasts()
		if s.inPlace {
			c.Pages = compute.NewTensor(dtype.U8, s.host.arena, s.cfg.HostPages, s.host.stride)
		}
	}
	if s.cfg.Disk != nil {
		if s.disk, err = openDisk(*s.cfg.Disk, s.cfg.RecordBytes(), s.name()); err != nil {
			return err
		}
	}
	if s.cfg.lasts() {
		s.lasting, err = s.openLasting()
	}
	return err
}

// release gives back what allocate took.
func (s *Store) release() (err error) {
	c := &s.cache
	for _, t := range []*compute.Tensor{&c.Slots, &c.Segments, &c.SegScore, &c.Score} {
		if !t.None() {
			s.dev.Free(*t)
			*t = compute.Tensor{}
		}
	}
	if s.host != nil {
		err = s.host.close()
	}
	if s.disk != nil {
		err = errors.Join(err, s.disk.close())
	}
	if s.lasting != nil {
		err = errors.Join(err, s.lasting.file.Close())
	}
	return err
}

// readable reports whether every full block is where ops can read it, for as long as
// it lives, and none is to be brought anywhere else.
func (s *Store) readable() bool { return s.inPlace && s.disk == nil && s.cfg.Keep == KeepLRU }

// Close waits for the transfers that are under way, ends the store's goroutines
// and gives back its memory and its files; a disk tier that lasts is written to first,
// for a short time. With live sequences it does nothing
// and returns ErrBusy. If transfers do not report in time, their memory is left
// alone, since they may still write to it, and ErrTimeout is returned; Close may
// then be tried again.
func (s *Store) Close() error {
	s.enter()
	defer s.leave()
	switch {
	case s.gone:
		return fmt.Errorf("kv: close: %w", ErrClosed)
	case len(s.sequences) > 0:
		return fmt.Errorf("kv: close: %d %w: free them first", len(s.sequences), ErrBusy)
	}
	s.finishSaving()
	s.closed = true
	for s.forget() {
	}
	if !s.mover.close(s.cfg.Timeout) {
		return fmt.Errorf("kv: close: %w: after %v: %s", ErrTimeout, s.cfg.Timeout, s.suspects())
	}
	s.settle(false)
	s.gone = true
	if err := s.release(); err != nil {
		return fmt.Errorf("kv: close: %w", err)
	}
	return nil
}

// Cache is the memory that ops work on.
func (s *Store) Cache() *compute.Cache { return &s.cache }

// BeginStep begins a forward pass: the clock of least recent use ticks.
func (s *Store) BeginStep() {
	s.enter()
	defer s.leave()
	s.step++
	s.seats.unline()
	if tiered && s.host != nil {
		s.host.begin(s.step)
	}
	s.settle(false)
}

// enter and leave are around every verb. Two goroutines inside at once are a bug
// of the caller that would otherwise show as wrong bytes much later.
func (s *Store) enter() {
	if !s.busy.CompareAndSwap(false, true) {
		panic("kv: a store is used by two goroutines at once")
	}
}

func (s *Store) leave() {
	s.verify()
	s.busy.Store(false)
}
