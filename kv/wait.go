package kv

import (
	"context"
	"fmt"
	"time"
)

// settle takes the reports that are there and starts what they make room for.
// With demand, somebody waits for room.
func (s *Store) settle(demand bool) {
	if !tiered {
		return
	}
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
		case s.mover.underWay == 0 && s.unseat():
			continue
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
	if s.mover.loads.left() > 0 {
		return s.standByDisk(ctx)
	}
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

// standByDisk waits for the next report of a read, or of a worker.
func (s *Store) standByDisk(ctx context.Context) error {
	l := &s.mover.loads
	for deadline := time.Now().Add(s.cfg.Timeout); ; {
		if l.begin(); l.stuck() {
			s.mover.leave(l)
			return nil
		}
		l.await(min(time.Millisecond, s.cfg.Timeout))
		select {
		case <-s.mover.wake:
			s.hung = false
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		default:
		}
		switch {
		case len(l.landed) > 0:
			s.hung = false
			return nil
		case time.Now().After(deadline):
			s.hung = true
			return fmt.Errorf("%w: after %v: %s", ErrTimeout, s.cfg.Timeout, s.suspects())
		}
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
