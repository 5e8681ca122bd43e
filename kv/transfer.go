package kv

import (
	"context"
	"fmt"
	"hash/crc32"
	"sync"
	"time"
)

// move is the way of a transfer between two neighbouring tiers.
type move uint8

const (
	moveDown  move = iota // slot → page
	moveUp                // page → slot
	moveSpill             // page → record
	moveLoad              // record → page, and → slot if there is one
)

// transfer is one block on its way. A worker reads the places, moves the bytes
// and sets crc or err; everything else is the owner's business.
type transfer struct {
	move            move
	id              int32
	slot, page, rec int32
	crc             uint32
	err             error
}

// mover is the store's goroutines. The owner starts transfers, they report; no
// other state is shared.
type mover struct {
	store    *Store
	underWay int // started and not yet taken as reports; the owner's

	mu       sync.Mutex
	work     sync.Cond
	urgent   fifo // what a recall waits for
	down     fifo // write-through
	later    fifo // spills, prefetch
	running  int  // workers on what is not urgent
	most     int  // how many of them there may be, so that urgent ones find a worker
	reports  []transfer
	closed   bool
	workers  sync.WaitGroup
	wake     chan struct{} // has an element while reports may be there
	received []transfer    // the owner's, swapped with reports
}

type fifo struct {
	q    []transfer
	head int
}

func (f *fifo) len() int { return len(f.q) - f.head }

func (f *fifo) push(t transfer) {
	if 2*f.head >= len(f.q) { // so that one that is never empty does not grow
		f.q, f.head = append(f.q[:0], f.q[f.head:]...), 0
	}
	f.q = append(f.q, t)
}

func (f *fifo) pop() transfer {
	t := f.q[f.head]
	f.head++
	return t
}

func newMover(s *Store, workers int) *mover {
	m := &mover{store: s, most: max(1, workers/2), wake: make(chan struct{}, 1)}
	m.work.L = &m.mu
	if !s.cfg.below() {
		workers = 0 // nothing ever moves
	}
	m.workers.Add(workers)
	for range workers {
		go m.worker()
	}
	return m
}

// start hands a transfer to the workers. The places that it names stay as they
// are until it reports.
func (m *mover) start(t transfer, urgent bool) {
	m.underWay++
	m.mu.Lock()
	switch {
	case urgent:
		m.urgent.push(t)
	case t.move == moveDown:
		m.down.push(t)
	default:
		m.later.push(t)
	}
	m.mu.Unlock()
	m.work.Signal()
}

// take gives the owner what has been reported; valid until the next call.
func (m *mover) take() []transfer {
	m.mu.Lock()
	m.received, m.reports = m.reports, m.received[:0]
	m.mu.Unlock()
	m.underWay -= len(m.received)
	return m.received
}

// giveBack lets the owner have the next of some transfers, if it is a copy
// between a slot and a page.
func (m *mover) giveBack(from *fifo) (t transfer, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if from.len() == 0 || from.q[from.head].move > moveUp {
		return t, false
	}
	m.underWay--
	return from.pop(), true
}

// close waits until all transfers have been made and the workers have ended, and
// reports whether they did in time.
func (m *mover) close(timeout time.Duration) bool {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.work.Broadcast()
	done := make(chan struct{})
	go func() {
		m.workers.Wait()
		close(done)
	}()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

func (m *mover) worker() {
	defer m.workers.Done()
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		switch {
		case m.urgent.len() > 0:
			m.run(m.urgent.pop())
		case m.down.len()+m.later.len() > 0 && m.running < m.most:
			next := &m.down
			if next.len() == 0 {
				next = &m.later
			}
			m.running++
			m.run(next.pop())
			m.running--
		case m.closed && m.down.len()+m.later.len() == 0:
			return
		default:
			m.work.Wait()
		}
	}
}

// run makes a transfer, without the lock that it is called with.
func (m *mover) run(t transfer) {
	m.mu.Unlock()
	m.store.carry(&t)
	m.mu.Lock()
	m.reports = append(m.reports, t)
	select {
	case m.wake <- struct{}{}:
	default: // the owner has not looked since the last one
	}
	switch {
	case m.closed:
		m.work.Broadcast() // those who sleep may be the last
	case m.down.len()+m.later.len() > 0:
		m.work.Signal()
	}
}

// checksum is the polynomial that processors have an instruction for.
var checksum = crc32.MakeTable(crc32.Castagnoli)

// carry moves one block's bytes. It runs on a worker and touches the transfer's
// places alone.
func (s *Store) carry(t *transfer) {
	switch t.move {
	case moveDown:
		s.dev.CopySlot(&s.cache, s.host.bytes(t.page), t.slot)
		if s.disk != nil {
			t.crc = crc32.Checksum(s.host.bytes(t.page), checksum)
		}
	case moveUp:
		s.dev.FillSlot(&s.cache, t.slot, s.host.bytes(t.page))
	case moveSpill:
		t.err = s.disk.write(t.rec, s.host.record(t.page))
	case moveLoad:
		if t.err = s.disk.read(t.rec, s.host.record(t.page)); t.err != nil {
			return
		}
		if got := crc32.Checksum(s.host.bytes(t.page), checksum); got != t.crc {
			t.err = fmt.Errorf("crc %08x, want %08x: %w", got, t.crc, ErrCorrupt)
			return
		}
		if t.slot >= 0 {
			s.dev.FillSlot(&s.cache, t.slot, s.host.bytes(t.page))
		}
	}
}

// settle takes the reports that are there and starts what they make room for.
// With demand, somebody waits for room.
func (s *Store) settle(demand bool) {
	for _, t := range s.mover.take() {
		s.report(t)
	}
	if !s.closed {
		s.makeRoom(demand)
	}
}

// await settles until ready says so, standing still in between. It fails when
// the context ends, when nothing reports for as long as the timeout, or when
// nothing is under way that could change the answer. The time is counted for
// sequence and layer; layer −1: for none.
func (s *Store) await(ctx context.Context, q *Sequence, layer int, ready func() (bool, error)) error {
	var begin time.Time
	for {
		s.settle(true)
		ok, err := ready()
		switch {
		case ok || err != nil:
		case s.mover.underWay == 0:
			err = fmt.Errorf("%w: all %d slots and %d pages are held at once: raise --kv-device or --kv-host", ErrFull, s.cfg.Slots, s.cfg.HostPages)
		default:
			if begin.IsZero() {
				begin = time.Now()
			}
			if s.help(&s.mover.urgent) {
				continue
			}
			if err = s.stand(ctx); err == nil {
				continue
			}
		}
		if layer >= 0 && !begin.IsZero() {
			waited := time.Since(begin)
			s.count(q, layer, func(l *LayerStats) { l.Wait += waited })
		}
		return err
	}
}

// help makes one copy between a slot and a page itself, if the next transfer is
// one and both lie in the host's memory, and reports whether it did. To copy is
// quicker then than to wake a worker and wait for it; and it can not hang.
func (s *Store) help(next *fifo) bool {
	if !s.near {
		return false
	}
	t, ok := s.mover.giveBack(next)
	if ok {
		s.carry(&t)
		s.report(t)
	}
	return ok
}

// finishDown is called before blocks are evicted. Those on their way down can not
// be, and which ones are should depend on what was wanted alone, not on how fast
// copies are; where slots lie in the host's memory they are done in no time, so
// it waits for them. A device with memory of its own may be slow, or hang.
func (s *Store) finishDown(ctx context.Context) {
	for s.downs > 0 && s.near {
		if !s.help(&s.mover.down) && s.stand(ctx) != nil {
			return
		}
		s.settle(false)
	}
}

// stand waits for the next report.
func (s *Store) stand(ctx context.Context) error {
	s.timer.Reset(s.cfg.Timeout)
	defer s.timer.Stop()
	select {
	case <-s.mover.wake:
		s.hung = false
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.timer.C:
		s.hung = true
		return fmt.Errorf("%w: after %v: %s", ErrTimeout, s.cfg.Timeout, s.suspects())
	}
}

// suspects names what is under way, for people who wonder what hangs.
func (s *Store) suspects() string {
	where := "device"
	if s.disk != nil {
		where = "device or --kv-disk " + s.disk.dir
	}
	return fmt.Sprintf("%d transfers under way, %d of them writes to disk: look at %s", s.mover.underWay, s.spills, where)
}

// report takes a finished transfer into the books: states, pins, counters.
func (s *Store) report(t transfer) {
	b := &s.blocks[t.id]
	b.busy--
	size := int64(s.cfg.Layout.BlockBytes())
	switch t.move {
	case moveDown:
		b.is &^= down
		s.downs--
		b.crc = t.crc
		s.count(b.owner, int(b.layer), func(l *LayerStats) { l.BytesDown += size })
		s.host.unpin(t.page, b.inRecord())
		s.unpin(t.id)
	case moveUp:
		b.is &^= up | filling
		s.host.unpin(t.page, b.inRecord())
		s.unpin(t.id)
	case moveSpill:
		s.reportSpill(t)
	case moveLoad:
		s.reportLoad(t)
	}
	s.bury(t.id)
}

func (s *Store) reportSpill(t transfer) {
	b := &s.blocks[t.id]
	b.is &^= spill
	s.spills--
	if t.err != nil {
		s.disk.release(b.rec)
		b.rec = -1
		s.spillFails++
		s.spillHold = s.step
		s.spillErr = fmt.Errorf("the host pool is full and block %d of sequence %d (layer %d, head %d) can not leave it: %w",
			b.number, b.owner.number, b.layer, b.head, t.err)
		if s.spillFails == 1 {
			s.log.Warn("a block could not be written to disk", "error", s.spillErr)
		}
	} else {
		s.count(b.owner, int(b.layer), func(l *LayerStats) {
			l.Spilled++
			l.BytesToDisk += int64(s.cfg.Layout.BlockBytes())
		})
	}
	s.host.unpin(t.page, b.inRecord())
}

func (s *Store) reportLoad(t transfer) {
	b := &s.blocks[t.id]
	b.is &^= load
	if b.has(ahead) {
		b.is &^= ahead
		s.ahead--
	}
	if t.err != nil {
		b.page = -1
		s.host.unpin(t.page, false)
		s.host.release(t.page)
		s.unpublish(b)
		if b.has(filling) {
			b.is = b.is&^filling | bad
			s.faults[t.id] = t.err
			s.unpin(t.id)
		}
		return
	}
	s.count(b.owner, int(b.layer), func(l *LayerStats) { l.BytesFromDisk += int64(s.cfg.Layout.BlockBytes()) })
	s.host.unpin(t.page, true)
	switch {
	case t.slot >= 0:
		b.is &^= filling
		s.unpin(t.id)
	case b.has(filling): // wanted while it was being read ahead
		s.startUp(t.id)
	}
}

// startUp sends a block from its page to its slot.
func (s *Store) startUp(id int32) {
	b := &s.blocks[id]
	b.is |= up
	b.busy++
	s.host.pin(b.page, s.step)
	s.mover.start(transfer{move: moveUp, id: id, slot: s.pool.SlotOf[id], page: b.page}, true)
}

// startLoad sends a block from its record to a page, and on to its slot if it
// waits there.
func (s *Store) startLoad(id, page int32) {
	b := &s.blocks[id]
	b.is |= load
	b.busy++
	b.page = page
	s.host.give(page, id)
	s.host.pin(page, s.step)
	t := transfer{move: moveLoad, id: id, slot: -1, page: page, rec: b.rec, crc: b.crc}
	if b.has(filling) {
		t.slot = s.pool.SlotOf[id]
	}
	s.mover.start(t, b.has(filling))
}

// startDown sends a sealed block from its slot to a page.
func (s *Store) startDown(id, page int32) {
	b := &s.blocks[id]
	b.is |= down
	s.downs++
	b.busy++
	b.page = page
	s.host.give(page, id)
	s.host.pin(page, s.step)
	s.mover.start(transfer{move: moveDown, id: id, slot: s.pool.SlotOf[id], page: page}, false)
}

// startSpill sends a block from its page to a record.
func (s *Store) startSpill(id, rec int32) {
	b := &s.blocks[id]
	b.is |= spill
	b.busy++
	b.rec = rec
	s.spills++
	s.host.hold(b.page)
	s.mover.start(transfer{move: moveSpill, id: id, page: b.page, rec: rec}, false)
}
