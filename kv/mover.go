package kv

import (
	"fmt"
	"hash/crc32"
	"sync"
	"time"
)

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
	loads    loads         // the owner's
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
	m.loads = newLoads(s)
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

// startAll hands loads to the workers, sorted by record.
func (m *mover) startAll(loads []transfer, urgent bool) {
	m.underWay += len(loads)
	if l := &m.loads; l.reads != nil {
		to := &l.later
		if urgent {
			to = &l.urgent
		}
		for _, t := range loads {
			to.push(t)
		}
		if l.begin(); l.stuck() {
			m.leave(l)
		}
		return
	}
	to := &m.later
	if urgent {
		to = &m.urgent
	}
	m.mu.Lock()
	for _, t := range loads {
		to.push(t)
	}
	m.mu.Unlock()
	for range min(len(loads), (len(loads)+1)/2) {
		m.work.Signal()
	}
}

// leave gives the reads that wait to the workers: the system takes none.
func (m *mover) leave(l *loads) {
	m.mu.Lock()
	for ; l.urgent.len() > 0; m.work.Signal() {
		m.urgent.push(l.urgent.pop())
	}
	for ; l.later.len() > 0; m.work.Signal() {
		m.later.push(l.later.pop())
	}
	m.mu.Unlock()
}

// take gives the owner what has been reported; valid until the next call.
func (m *mover) take() []transfer {
	m.mu.Lock()
	m.received, m.reports = m.reports, m.received[:0]
	m.mu.Unlock()
	if l := &m.loads; l.reads != nil || len(l.landed) > 0 {
		if l.reads != nil {
			l.poll(0)
			if l.begin(); l.stuck() {
				m.leave(l)
			}
		}
		for i := range l.landed {
			m.store.arrive(&l.landed[i])
		}
		m.received = append(m.received, l.landed...)
		clear(l.landed)
		l.landed = l.landed[:0]
	}
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
	if !m.loads.close(timeout) {
		return false
	}
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
		if t.unsummed {
			t.crc = crc32.Checksum(s.host.bytes(t.page), checksum)
		}
		if s.lasting != nil {
			t.sum = digestOf(s.host.bytes(t.page))
		}
	case moveLoad:
		t.err = s.disk.read(t.rec, s.host.record(t.page))
		s.arrive(t)
	case moveEntry:
		t.err = s.lasting.write(t.rec, t.buf)
	case moveErase:
		t.err = s.lasting.erase(t.rec)
	}
}

// arrive checks what has been read into a page, and brings it on to its slot.
func (s *Store) arrive(t *transfer) {
	if t.err != nil {
		return
	}
	if got := crc32.Checksum(s.host.bytes(t.page), checksum); got != t.crc {
		t.err = fmt.Errorf("crc %08x, want %08x: %w", got, t.crc, ErrCorrupt)
		return
	}
	if t.foreign && digestOf(s.host.bytes(t.page)) != t.sum {
		t.err = fmt.Errorf("digest of what an earlier process wrote: %w", ErrCorrupt)
		return
	}
	if t.slot >= 0 {
		s.dev.FillSlot(&s.cache, t.slot, s.host.bytes(t.page))
	}
}
