package kv

import (
	"testing"
	"time"

	"nosa/kv/vfs"
)

// TestCheckFindsDamage: each lie in the books is found.
func TestCheckFindsDamage(t *testing.T) {
	find := func(s *Store, f func(id int32, b *block) bool) (int32, *block) {
		for id := range s.blocks {
			if b := &s.blocks[id]; b.has(live) && f(int32(id), b) {
				return int32(id), b
			}
		}
		panic("no such block")
	}
	inHost := func(_ int32, b *block) bool { return b.inPage() }
	onDisk := func(_ int32, b *block) bool { return b.inRecord() && b.page < 0 }
	open := func(_ int32, b *block) bool { return !b.has(full) }
	for name, damage := range map[string]func(s *Store){
		"place lost":      func(s *Store) { s.free.mark(0, 1) },
		"holder lost":     func(s *Store) { _, b := find(s, inHost); b.refs-- },
		"holder too many": func(s *Store) { _, b := find(s, inHost); b.refs++ },
		"wrong place":     func(s *Store) { _, b := find(s, inHost); b.number++ },
		"id miscounted":   func(s *Store) { s.free.left++ },
		"id leaked":       func(s *Store) { s.free.take(0) },
		"free and full":   func(s *Store) { s.blocks[s.free.run(1)].page = 0 },
		"not sealed":      func(s *Store) { _, b := find(s, inHost); b.is &^= full },
		"page lost":       func(s *Store) { _, b := find(s, inHost); b.page = -1 },
		"page stolen":     func(s *Store) { _, b := find(s, inHost); _, c := find(s, onDisk); c.page = b.page },
		"page leaked":     func(s *Store) { s.host.free = append(s.host.free, s.host.take1()) },
		"record lost":     func(s *Store) { _, b := find(s, onDisk); b.rec = -1 },
		"record shared":   func(s *Store) { _, b := find(s, onDisk); _, c := find(s, open); c.rec = b.rec },
		"record leaked":   func(s *Store) { s.disk.made++ },
		"slot pinned":     func(s *Store) { s.pool.Pins[0]++ },
		"page pinned":     func(s *Store) { _, b := find(s, inHost); s.host.pins[b.page]++ },
		"out of order":    func(s *Store) { _, b := find(s, inHost); s.host.clean[b.page] = !s.host.clean[b.page] },
		"busy":            func(s *Store) { _, b := find(s, inHost); b.busy++ },
		"moving":          func(s *Store) { _, b := find(s, inHost); b.is |= spill; b.busy++; s.host.pins[b.page]++ },
		"open with page":  func(s *Store) { _, b := find(s, open); b.rec = 0 },
		"due":             func(s *Store) { s.due++ },
		"dying":           func(s *Store) { s.dying++ },
		"hits":            func(s *Store) { s.layers[0].Hits++ },
		"bytes":           func(s *Store) { s.layers[0].BytesUp++ },
		"born":            func(s *Store) { s.layers[0].Born++ },
		"columns":         func(s *Store) { _, b := find(s, inHost); b.column = &column{} },
		"dead column": func(s *Store) {
			for _, c := range s.columns {
				c.ids[0] = s.free.run(1)
				return
			}
		},
		"table": func(s *Store) {
			for q := range s.sequences {
				q.tables[0][0] = q.tables[0][0][:1]
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, Config{Blocks: 100, Slots: 6, HostPages: 8, Disk: &Disk{FS: &vfs.Memory{}, Dir: "d"}})
			q := mustNew(t, s, SequenceOptions{Tokens: 50})
			mustExtend(t, q, ids(0, 42))
			for s.Stats().UnderWay > 0 {
				time.Sleep(time.Millisecond)
			}
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
			damage(s)
			if err := s.check(); err == nil {
				t.Error("damage was not found")
			} else {
				t.Log(err)
			}
			s.mover.close(time.Minute)
		})
	}
}

// take1 is a page of somebody else.
func (h *host) take1() int32 {
	for p := range h.block {
		if h.clean[p] && h.pins[p] == 0 {
			return int32(p)
		}
	}
	return -1
}
