package kv

import (
	"fmt"
	"time"

	"nosa/kv/vfs"
)

// mostLoads is how many reads are given to the system at once.
const mostLoads = 128

// loads is the reads from disk that need no worker, where the system can make many
// at once: the owner begins them and takes them in itself, and no goroutine is woken
// for one. It is the owner's alone.
type loads struct {
	store  *Store
	reads  vfs.Reads  // nil: workers read
	urgent fifo       // that a recall waits for
	later  fifo       // read ahead
	flying []transfer // by tag
	tags   []int      // that are free
	landed []transfer // read, and not reported yet
	batch  []vfs.Read
	ended  []vfs.Ended
}

func newLoads(s *Store) loads {
	l := loads{store: s}
	if s.disk != nil {
		l.reads = vfs.ReadsOf(s.disk.file, mostLoads)
	}
	if l.reads != nil {
		l.flying = make([]transfer, mostLoads)
		for tag := range mostLoads {
			l.tags = append(l.tags, tag)
		}
	}
	return l
}

// begin gives the system as many of the reads that wait as it takes.
func (l *loads) begin() {
	for _, from := range []*fifo{&l.urgent, &l.later} {
		n := min(from.len(), len(l.tags))
		if n == 0 {
			continue
		}
		l.batch = l.batch[:0]
		tags := l.tags[len(l.tags)-n:]
		for i, tag := range tags {
			t := from.q[from.head+i]
			l.flying[tag] = t
			l.batch = append(l.batch, vfs.Read{Into: l.store.host.record(t.page), Off: l.store.disk.at(t.rec), Tag: tag})
		}
		begun := l.reads.Start(l.batch)
		from.head += begun
		copy(tags, tags[begun:])
		l.tags = l.tags[:len(l.tags)-begun]
		if begun < n {
			return
		}
	}
}

// poll takes in what has been read; if nothing has, it waits, but no longer than
// told.
func (l *loads) poll(wait time.Duration) {
	l.ended = l.reads.Ended(l.ended[:0], wait)
	for _, e := range l.ended {
		t := l.flying[e.Tag]
		l.tags = append(l.tags, e.Tag)
		if e.Err != nil {
			t.err = l.store.disk.unread(t.rec, e.N, e.Err)
		}
		l.landed = append(l.landed, t)
	}
}

// left is the number of reads that wait or are under way.
func (l *loads) left() int {
	if l.reads == nil {
		return 0
	}
	return l.urgent.len() + l.later.len() + l.reads.UnderWay()
}

// stuck reports whether reads wait and none is under way: the system takes none.
func (l *loads) stuck() bool {
	return l.urgent.len()+l.later.len() > 0 && l.reads.UnderWay() == 0
}

// await waits for a read, for as long as told at most. First it looks again and
// again: a read takes less time than to put a processor to sleep and wake it.
func (l *loads) await(wait time.Duration) {
	const look = 200 * time.Microsecond
	for begin := time.Now(); len(l.landed) == 0; {
		spent := time.Since(begin)
		if spent >= wait {
			return
		}
		if spent < look {
			l.poll(0)
		} else {
			l.poll(wait - spent)
		}
	}
}

// close waits for the reads that are left and reports whether they ended in time.
func (l *loads) close(timeout time.Duration) bool {
	if l.reads == nil {
		return true
	}
	for deadline := time.Now().Add(timeout); l.left() > 0; {
		l.begin()
		if time.Now().After(deadline) || l.stuck() {
			return false
		}
		l.poll(10 * time.Millisecond)
	}
	err := l.reads.Close()
	l.reads = nil
	if err != nil {
		l.store.log.Warn("reads from disk could not be ended", "error", fmt.Errorf("kv: close: %w", err))
	}
	return true
}
