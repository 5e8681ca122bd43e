package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nosa/compute"
	"nosa/kv/vfs"
)

// stepper stands for a device's steps: it keeps blocks in slots of its own, which are
// copies here, and believes what it is told.
type stepper struct {
	s     *Store
	o     compute.StepOptions
	seats []seating
	slots map[int32][]byte // by id: what it has read or written
	most  int
	rows  int // so far
	c     compute.StepCounts
}

type seating struct {
	taken          bool
	columns, pages []int32
	tails          []compute.Tensor
}

// withSteps gives a store steps with so many slots.
func withSteps(s *Store, slots int) *stepper {
	if s.cfg.Seats == 0 {
		return nil
	}
	p := &stepper{s: s, o: s.StepOptions(), slots: map[int32][]byte{}, most: slots}
	p.seats = make([]seating, p.o.Seats)
	s.SetStep(p)
	return p
}

func (p *stepper) Sit(seat int, tails []compute.Tensor) {
	if p.seats[seat].taken {
		panic("a seat is taken twice")
	}
	st := seating{taken: true}
	for _, t := range tails {
		st.tails = append(st.tails, compute.F32s(slices.Clone(t.F32()), t.Dims[0], t.Dims[1], t.Dims[2]*t.Dims[3]))
	}
	p.seats[seat] = st
}

func (p *stepper) Grow(seat int, columns, pages []int32) {
	st := &p.seats[seat]
	if !st.taken || !p.o.Resident && len(pages) != len(columns)*p.s.cfg.Layers*p.s.cfg.Layout.Heads {
		panic("a seat without a sequence grows, or without pages")
	}
	st.columns, st.pages = append(st.columns, columns...), append(st.pages, pages...)
}

func (p *stepper) Rise(seat int, tails []compute.Tensor) {
	for layer, t := range tails {
		copy(t.F32(), p.seats[seat].tails[layer].F32())
	}
	p.seats[seat] = seating{}
}

func (p *stepper) Drop(columns []int32) {
	for _, c := range columns {
		for id := range p.slots {
			if p.s.columnOf(id) == c {
				delete(p.slots, id)
			}
		}
	}
}

func (p *stepper) Run(rows []compute.StepRow) {
	p.rows += len(rows)
	p.c = compute.StepCounts{Layers: make([]compute.StepCount, p.s.cfg.Layers), Rows: make([]compute.StepCount, len(rows))}
}

func (p *stepper) Peak(int) compute.Peak                { return compute.Peak{} }
func (p *stepper) Logits(int, int) compute.Tensor       { return compute.Tensor{} }
func (p *stepper) States(int, int) compute.Tensor       { return compute.Tensor{} }
func (p *stepper) Wait() (compute.StepCounts, error)    { return p.c, nil }
func (p *stepper) Close() error                         { return nil }
func (p *stepper) page(st *seating, at, number int) int { return int(st.pages[number*p.width()+at]) }
func (p *stepper) width() int                           { return p.s.cfg.Layers * p.s.cfg.Layout.Heads }

// place is where the host sees a block of a seat.
func (p *stepper) place(st *seating, layer, head, number int) []byte {
	if p.o.Resident {
		return p.s.cache.SlotData(p.s.id(layer, head, st.columns[number]))
	}
	size := p.s.cfg.Layout.BlockBytes()
	return p.o.Pages[p.page(st, layer*p.s.cfg.Layout.Heads+head, number)*p.o.Stride:][:size]
}

// read is a block of a seat, from a slot or from where it lies.
func (p *stepper) read(row, seat, layer, head, number int) []byte {
	st := &p.seats[seat]
	id := p.s.id(layer, head, st.columns[number])
	l, r := &p.c.Layers[layer], &p.c.Rows[row]
	l.Selected, r.Selected = l.Selected+1, r.Selected+1
	if b, ok := p.slots[id]; ok || p.o.Resident {
		l.Hits, r.Hits = l.Hits+1, r.Hits+1
		if p.o.Resident {
			return p.place(st, layer, head, number)
		}
		return b
	}
	l.Misses, r.Misses = l.Misses+1, r.Misses+1
	return p.keep(id, p.place(st, layer, head, number))
}

func (p *stepper) keep(id int32, b []byte) []byte {
	for old := range p.slots {
		if len(p.slots) < p.most {
			break
		}
		delete(p.slots, old)
	}
	p.slots[id] = slices.Clone(b)
	return p.slots[id]
}

// seal writes the block that a row has filled.
func (p *stepper) seal(row, seat, layer, head, number int, k, v []float32) {
	st := &p.seats[seat]
	to := p.place(st, layer, head, number)
	p.s.cfg.Layout.EncodeBlock(to, k, v)
	p.keep(p.s.id(layer, head, st.columns[number]), to)
	p.c.Layers[layer].Sealed++
	p.c.Rows[row].Sealed++
}

// decodeSeated appends a token to each of some sequences in one step of the device,
// and in the ordinary way to those that can not sit. It returns how many have.
func (p *stepper) decodeSeated(ctx context.Context, qs []*testSequence, wants func(q *testSequence) [][]int32) (sat int, err error) {
	var rows []compute.StepRow
	var seated, others []*testSequence
	p.s.BeginStep()
	for _, q := range qs {
		if err := q.Reserve(1); err != nil {
			if errors.Is(err, ErrFull) || errors.Is(err, ErrLength) {
				continue
			}
			return 0, err
		}
		seat, ok := q.Sit(ctx)
		if !ok {
			if q.seat >= 0 {
				return 0, fmt.Errorf("sequence %d can not sit and sits", q.Number())
			}
			others = append(others, q)
			continue
		}
		rows, seated = append(rows, compute.StepRow{Seat: int32(seat), Pos: int32(q.Len()), Token: 7}), append(seated, q)
	}
	l := p.s.cfg.Layout
	p.Run(rows)
	for i, q := range seated {
		q.tokens = append(q.tokens, 7)
		seat := int(rows[i].Seat)
		for layer := range p.s.cfg.Layers {
			for h, w := range wants(q) {
				for _, b := range w {
					if got := p.read(i, seat, layer, h, int(b)); !bytes.Equal(got, q.sealed(layer, h, int(b))) {
						return 0, fmt.Errorf("sequence %d, layer %d, head %d, block %d: a step reads something else", q.Number(), layer, h, b)
					}
				}
				if n := len(q.tokens); n%l.Block == 0 {
					x := q.content(layer, h, q.tokens)
					p.seal(i, seat, layer, h, n/l.Block-1, x[:len(x)/2], x[len(x)/2:])
				}
			}
		}
	}
	counts, err := p.Wait()
	if err != nil {
		return 0, err
	}
	was := make([]*Sequence, len(seated))
	for i, q := range seated {
		was[i] = q.Sequence
		n := len(q.tokens)
		q.everyBlock((n-1)/l.Block, n/l.Block, func(id int32, want []byte) {
			q.s.summary(id, want, func(b []byte, t compute.Tensor) { q.s.dev.Upload(t, b) })
		})
	}
	p.s.Stepped(was, counts)
	for _, q := range seated {
		q.Advance(ids(7, 1))
	}
	for _, q := range others {
		if err := q.extend(ctx, ids(7, 1)); err != nil && !errors.Is(err, ErrFull) {
			return 0, err
		}
	}
	return len(seated), nil
}

// allOf is everything that a sequence has.
func allOf(q *testSequence) [][]int32 { return q.all() }

func seatConfigs() map[string]Config {
	return map[string]Config{
		"slots":     {Blocks: 160, Seats: 3},
		"host":      {Blocks: 160, Slots: 8, HostPages: 160, Seats: 3, StepSlots: 12},
		"less host": {Blocks: 160, Slots: 8, HostPages: 156, Seats: 3, StepSlots: 12},
		"disk":      {Blocks: 160, Slots: 8, HostPages: 80, Disk: &Disk{FS: &vfs.Memory{}, Dir: "d"}, Seats: 3, StepSlots: 12},
		"lasting":   {Blocks: 160, Slots: 160, HostPages: 80, Disk: &Disk{FS: &vfs.Memory{}, Dir: "d", Lasts: true}, Seats: 3, StepSlots: 12, Retain: true},
		"selected":  {Blocks: 160, Slots: 8, HostPages: 160, Keep: KeepSelected, Copying: true, Seats: 3, StepSlots: 12},
	}
}

// TestSit decodes sequences on seats and off them by turns, and reads every block of
// both ways in both.
func TestSit(t *testing.T) {
	for name, cfg := range seatConfigs() {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, cfg)
			p := withSteps(s, cfg.StepSlots)
			ctx := t.Context()
			a, b := mustNew(t, s, SequenceOptions{Tokens: 60, Promise: true}), mustNew(t, s, SequenceOptions{Tokens: 60})
			mustExtend(t, a, ids(0, 18))
			mustExtend(t, b, ids(0, 11))
			c := mustNew(t, s, SequenceOptions{Tokens: 40, Prefix: ids(0, 18)}) // begins as a
			if c.Shared() != 16 {
				t.Fatalf("%d tokens are shared, want 16", c.Shared())
			}
			for step := range 30 {
				sat, err := p.decodeSeated(ctx, []*testSequence{a, b, c}, allOf)
				if err != nil {
					t.Fatal(err)
				}
				if sat != 3 && c.Len() < 40 && cfg.Disk == nil {
					t.Fatalf("step %d: %d sit", step, sat)
				}
				if err := s.Check(); err != nil {
					t.Fatal(err)
				}
				if step%10 == 6 { // off the seat, and on again
					s.BeginStep()
					if err := a.extend(ctx, ids(3, 2)); err != nil {
						t.Fatal(err)
					}
				}
				for layer := range s.cfg.Layers {
					if err := b.recall(ctx, layer, b.all(), nil); err != nil { // others of its kind may
						t.Fatal(err)
					}
				}
			}
			if p.rows < 45 {
				t.Errorf("%d tokens came from seats, want half of them", p.rows)
			}
			for s.Save() { // what is written meanwhile is counted meanwhile
				time.Sleep(time.Millisecond)
			}
			st := s.Stats()
			var of LayerStats
			for _, q := range []*testSequence{a, b, c} {
				of.add(q.Stats().Total)
			}
			if of.Wait = st.Total.Wait; of != st.Total {
				t.Errorf("sequences %+v\nstore %+v", of, st.Total)
			}
			if st.Total.Misses() == 0 && name != "slots" {
				t.Error("nothing was ever missed")
			}
			if v := a.Look(Range{0, 1}, Range{0, 1}); v.Cells[0].Where&Seated != 0 != (a.seat >= 0) {
				t.Errorf("block 0 of a sequence that sits: %b", v.Cells[0].Where)
			}
			a.Free() // from its seat
			c.Rise()
			if err := c.recall(ctx, 1, c.all(), nil); err != nil {
				t.Error(err)
			}
			c.Free()
			b.Free()
			closeTest(t, s)
		})
	}
}

// TestSeatsAreGivenUp: who is in no step for long rises for others, who is in each does
// not; and there is no more to sit on than pages.
func TestSeatsAreGivenUp(t *testing.T) {
	for _, cfg := range []Config{
		{Blocks: 240, Seats: 2},
		{Blocks: 240, Slots: 8, HostPages: 240, Seats: 2, StepSlots: 8},
		{Blocks: 240, Slots: 8, HostPages: 66, Disk: &Disk{FS: &vfs.Memory{}, Dir: "d"}, Seats: 9, StepSlots: 8}, // 49 pages may be kept: twelve columns
	} {
		s := openTest(t, cfg)
		p := withSteps(s, 8)
		var qs []*testSequence
		for i := range 3 {
			q := mustNew(t, s, SequenceOptions{Tokens: 100, NoShare: true})
			mustExtend(t, q, ids(100*i, 18))
			qs = append(qs, q)
		}
		for step := range idleSteps + 20 {
			if sat, err := p.decodeSeated(t.Context(), qs[:2], allOf); err != nil || sat != 2 && step < 4 {
				t.Fatalf("%d sit, %v", sat, err)
			}
			if step == 3 {
				break
			}
		}
		sits := func() (n string) {
			for _, q := range qs {
				if q.seat >= 0 {
					n += "s"
				} else {
					n += "-"
				}
			}
			return n
		}
		if sat, err := p.decodeSeated(t.Context(), qs[2:], allOf); err != nil || sat != 0 || sits() != "ss-" {
			t.Errorf("%d more sit, %v, %s", sat, err, sits())
		}
		for range idleSteps - 2 { // the first one stays
			if _, err := p.decodeSeated(t.Context(), qs[:1], allOf); err != nil {
				t.Fatal(err)
			}
		}
		for range retrySteps {
			if _, err := p.decodeSeated(t.Context(), qs[2:], allOf); err != nil {
				t.Fatal(err)
			}
		}
		if got := sits(); got != "s-s" && got != "--s" {
			t.Errorf("%d host pages: %s sit", cfg.HostPages, got)
		}
		for _, q := range qs {
			q.Free()
		}
		closeTest(t, s)
	}
}

// TestThoseWhoWaitUnseat: pages that seats keep go to a recall that could not go on
// otherwise, and never to one that lets those of the step rise.
func TestThoseWhoWaitUnseat(t *testing.T) {
	// 20 columns of four; 16 pages, of which 12 may be kept; as few records as can be.
	s := openTest(t, Config{Blocks: 80, Slots: 2, HostPages: 16, Disk: &Disk{FS: &vfs.Memory{}, Dir: "d", Records: 65}, Seats: 2, StepSlots: 8, Timeout: time.Second})
	p := withSteps(s, 8)
	a, b := mustNew(t, s, SequenceOptions{Tokens: 10, NoShare: true}), mustNew(t, s, SequenceOptions{Tokens: 70, NoShare: true})
	mustExtend(t, a, ids(0, 8))
	if sat, err := p.decodeSeated(t.Context(), []*testSequence{a}, allOf); err != nil || sat != 1 {
		t.Fatalf("%d sit, %v", sat, err)
	}
	s.BeginStep()
	if err := a.Reserve(1); err != nil {
		t.Fatal(err)
	}
	if _, ok := a.Sit(t.Context()); !ok || s.unseat() {
		t.Error("a sequence that is lined up was made to rise, or can not sit")
	}
	for range 17 {
		s.BeginStep()
		mustExtend(t, b, ids(100, 4))
		for layer := range 2 {
			if err := b.recall(t.Context(), layer, b.all(), nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.extend(t.Context(), ids(0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := a.recall(t.Context(), 0, a.all(), nil); err != nil {
		t.Error(err)
	}
	a.Free()
	b.Free()
	closeTest(t, s)
}

// TestSitOnADamagedBlock: a sequence whose blocks can not all be read is not seated, and
// nothing else comes of it.
func TestSitOnADamagedBlock(t *testing.T) {
	fs := &vfs.Faults{FS: &vfs.Memory{}, Plan: func(op vfs.Op) vfs.Fault {
		if !op.Write {
			return vfs.FlipBit
		}
		return vfs.None
	}}
	s := openTest(t, Config{Blocks: 160, Slots: 8, HostPages: 40, Disk: &Disk{FS: fs, Dir: "d"}, Seats: 2, StepSlots: 8})
	p := withSteps(s, 8)
	a, b := mustNew(t, s, SequenceOptions{Tokens: 30, NoShare: true}), mustNew(t, s, SequenceOptions{Tokens: 100, NoShare: true})
	mustExtend(t, a, ids(0, 16))
	mustExtend(t, b, ids(200, 100)) // a's blocks go to disk
	if sat, err := p.decodeSeated(t.Context(), []*testSequence{a}, func(*testSequence) [][]int32 { return nil }); err != nil || sat != 0 {
		t.Errorf("%d sit, %v", sat, err)
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	a.Free()
	b.Free()
	closeTest(t, s)
}

// TestSealedByAStepLasts: what a step has filled is found by the next process, and is
// written while its sequence still sits.
func TestSealedByAStepLasts(t *testing.T) {
	fs := &vfs.Memory{}
	cfg := Config{Blocks: 160, HostPages: 80, Disk: &Disk{FS: fs, Dir: "d", Lasts: true}, Seats: 3, StepSlots: 12, Retain: true}
	s := openTest(t, cfg)
	p := withSteps(s, 12)
	a := mustNew(t, s, SequenceOptions{Tokens: 60, Prefix: ids(0, 9)})
	mustExtend(t, a, ids(0, 9))
	for range 20 {
		if sat, err := p.decodeSeated(t.Context(), []*testSequence{a}, allOf); err != nil || sat != 1 {
			t.Fatalf("%d sit, %v", sat, err)
		}
	}
	for s.Save() {
		time.Sleep(time.Millisecond)
	}
	if st := s.Stats(); st.Lasting != 7 || st.Published != 7 {
		t.Errorf("%d columns of %d last while their sequence sits, want 7", st.Lasting, st.Published)
	}
	tokens := a.tokens
	a.Free()
	closeTest(t, s)
	s = openTest(t, cfg)
	b := mustNew(t, s, SequenceOptions{Tokens: 60, Prefix: tokens})
	if b.Shared() != 28 {
		t.Errorf("%d tokens are shared, want 28", b.Shared())
	}
	for layer := range 2 {
		if err := b.recall(t.Context(), layer, b.all(), nil); err != nil {
			t.Error(err)
		}
	}
	b.Free()
	closeTest(t, s)
}

func TestSeatConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no slots for steps": {Blocks: 40, Slots: 4, HostPages: 40, Seats: 1},
		"no seats":           {Blocks: 40, Slots: 4, HostPages: 40, StepSlots: 1},
		"no host pool":       {Blocks: 40, Seats: 1, StepSlots: 1},
	} {
		cfg.Layout, cfg.Layers = testLayout, 2
		if _, err := Open(compute.Reference{}, cfg, nil); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v, want %v", name, err, ErrConfig)
		}
	}
}

// TestSitWaitsForCopies: blocks that are on their way to the host pool are waited for, and a
// sequence whose copies hang is not seated, with nothing changed.
func TestSitWaitsForCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dev := openSlow(t, Config{Layout: testLayout, Layers: 1, Blocks: 40, Slots: 6, HostPages: 40, Workers: 2, Timeout: time.Minute, Seats: 1, StepSlots: 8})
		p := withSteps(s, 8)
		q := mustNew(t, s, SequenceOptions{Tokens: 80})
		hang := make(chan struct{})
		dev.held.Store(&hang)
		mustExtend(t, q, ids(0, 8))
		time.AfterFunc(time.Second, func() {
			dev.held.Store(nil)
			close(hang)
		})
		if sat, err := p.decodeSeated(t.Context(), []*testSequence{q}, allOf); err != nil || sat != 1 {
			t.Fatalf("%d sit, %v", sat, err)
		}
		if wait := q.Stats().Total.Wait; wait != time.Second {
			t.Errorf("%v counted as waiting", wait)
		}
		q.Rise()
		again := make(chan struct{})
		dev.held.Store(&again)
		mustExtend(t, q, ids(0, 3)) // fills a block
		s.BeginStep()
		begin := time.Now()
		if err := q.Reserve(1); err != nil {
			t.Fatal(err)
		}
		if _, ok := q.Sit(t.Context()); ok || time.Since(begin) != time.Minute {
			t.Errorf("sits %v after %v", ok, time.Since(begin))
		}
		if err := s.Check(); err != nil || s.sat != 0 {
			t.Errorf("%d blocks are sat on, %v", s.sat, err)
		}
		dev.held.Store(nil)
		close(again)
		q.Free()
		closeTest(t, s)
	})
}

// TestSitWaitsForPages: blocks that wait for pages to be copied to are waited for.
func TestSitWaitsForPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var well atomic.Bool
		fs := stalledWrites(func() bool { return !well.Load() })
		s := openTest(t, Config{Blocks: 80, Slots: 40, HostPages: 16, Disk: &Disk{FS: fs, Dir: "d"}, Timeout: time.Minute, Seats: 1, StepSlots: 8})
		p := withSteps(s, 8)
		other, q := mustNew(t, s, SequenceOptions{Tokens: 40, NoShare: true}), mustNew(t, s, SequenceOptions{Tokens: 40, NoShare: true})
		mustExtend(t, other, ids(0, 16)) // fills the pages
		synctest.Wait()
		mustExtend(t, q, ids(50, 5))
		if s.waitDown.len() == 0 {
			t.Fatal("nothing waits for a page")
		}
		time.AfterFunc(time.Second, func() {
			well.Store(true)
			fs.Release()
		})
		if sat, err := p.decodeSeated(t.Context(), []*testSequence{q}, allOf); err != nil || sat != 1 {
			t.Errorf("%d sit, %v", sat, err)
		}
		if err := s.Check(); err != nil {
			t.Error(err)
		}
		other.Free()
		q.Free()
		closeTest(t, s)
	})
}

// TestTailsComeBack: what lies in the open block moves to the seat and back, also where the
// sequence is made to rise.
func TestTailsComeBack(t *testing.T) {
	s := openTest(t, Config{Blocks: 160, Slots: 8, HostPages: 160, Seats: 1, StepSlots: 12})
	p := withSteps(s, 12)
	a, b := mustNew(t, s, SequenceOptions{Tokens: 30, NoShare: true}), mustNew(t, s, SequenceOptions{Tokens: 30, NoShare: true})
	for i, q := range []*testSequence{a, b} {
		mustExtend(t, q, ids(100*i, 5))
		for layer := range 2 {
			q.Tail(layer).F32()[1] = float32(10*i + layer)
		}
	}
	for _, force := range []bool{false, true} {
		if sat, err := p.decodeSeated(t.Context(), []*testSequence{a}, allOf); err != nil || sat != 1 {
			t.Fatalf("%d sit, %v", sat, err)
		}
		for layer := range 2 {
			x := p.seats[0].tails[layer].F32()
			if x[1] != a.Tail(layer).F32()[1] {
				t.Errorf("layer %d: the seat has %v", layer, x[1])
			}
			x[2] = float32(7 + layer)
		}
		if force {
			for range idleSteps {
				s.BeginStep()
			}
			if sat, err := p.decodeSeated(t.Context(), []*testSequence{b}, allOf); err != nil || sat != 1 || a.seat >= 0 {
				t.Fatalf("%d sit, a on %d, %v", sat, a.seat, err)
			}
		} else {
			a.Rise()
		}
		for layer := range 2 {
			if x := a.Tail(layer).F32(); x[1] != float32(layer) || x[2] != float32(7+layer) {
				t.Errorf("forced %v, layer %d: the tail has %v", force, layer, x[:3])
			}
			a.Tail(layer).F32()[2] = 0
		}
	}
	a.Free()
	b.Free()
	closeTest(t, s)
}

// hostDevice has memory for the host pool.
type hostDevice struct {
	compute.Reference
	out int
}

func (d *hostDevice) AllocHost(n int) ([]byte, error) {
	d.out += n
	return make([]byte, n), nil
}

func (d *hostDevice) FreeHost(b []byte) error {
	d.out -= len(b)
	return nil
}

// TestPagesOfTheDevice: the host pool lies in memory that the device can reach, where
// sequences sit.
func TestPagesOfTheDevice(t *testing.T) {
	for _, seats := range []int{0, 1} {
		dev := &hostDevice{}
		cfg := Config{Layout: testLayout, Layers: 2, Blocks: 80, Slots: 8, HostPages: 80, Seats: seats, StepSlots: 4 * seats}
		s, err := Open(dev, cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := seats * 80 * testLayout.BlockBytes(); dev.out != want {
			t.Errorf("%d seats: %d bytes are the device's, want %d", seats, dev.out, want)
		}
		q := mustNew(t, s, SequenceOptions{Tokens: 40})
		mustExtend(t, q, ids(0, 30))
		if err := q.recall(t.Context(), 1, q.all(), nil); err != nil {
			t.Error(err)
		}
		q.Free()
		closeTest(t, s)
		if dev.out != 0 {
			t.Errorf("%d bytes are left", dev.out)
		}
	}
}
