package kv

import (
	"slices"
	"testing"
	"unsafe"

	"nosa/kv/vfs"
)

// hostOf places blocks in the pages of a pool, by hand.
type hostOf struct {
	*host
	t *testing.T
}

// use gives a block the next page, or uses the one that it has, in a layer of a
// step.
func (h hostOf) use(id int32, step int64, layer int, recorded bool) {
	h.t.Helper()
	if h.step != step {
		h.begin(step)
	}
	h.enter(layer)
	page := int32(slices.Index(h.block, id))
	if page < 0 {
		var old int32
		if page, old = h.take(true); page < 0 || old >= 0 {
			h.t.Fatalf("block %d: page %d of block %d", id, page, old)
		}
		h.give(page, id)
	}
	h.pin(page)
	h.pass(page)
	h.unpin(page, recorded)
}

func (h hostOf) goes(need bool, want ...int32) {
	h.t.Helper()
	for _, want := range want {
		page, old := h.take(need)
		if old != want || (page < 0) != (want < 0) {
			h.t.Fatalf("page %d of block %d goes, want block %d", page, old, want)
		}
		if page >= 0 {
			h.release(page)
			h.free = h.free[:len(h.free)-1]
		}
	}
}

func newHostOf(t *testing.T, pages int) hostOf {
	h, err := newHost(pages, 64, 48, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	return hostOf{h, t}
}

// TestHostOrder: what was not used lately goes first, least recent first.
func TestHostOrder(t *testing.T) {
	h := newHostOf(t, 5)
	h.use(11, 1, 0, false) // the oldest, but in no record
	h.use(12, 2, 0, true)
	h.use(13, 2, 0, true)
	h.use(10, 3, 0, true)
	h.use(14, 9, 0, false)
	twelve := int32(slices.Index(h.block, 12))
	h.hold(twelve)
	h.goes(true, 13) // the same step as the pinned one, a higher id
	h.unpin(twelve, true)
	h.goes(false, 10, 12) // the one that was pinned comes last
	h.goes(true, -1)      // the others must be written first
	if got := h.block[h.write()]; got != 11 {
		t.Errorf("block %d is written next, want 11", got)
	}
}

// TestHostCycle: where the same pages are wanted in every step, the layers that
// are behind go first, the latest first, and never what the next layers want.
func TestHostCycle(t *testing.T) {
	h := newHostOf(t, 6)
	for step := int64(1); step < 4; step++ {
		for layer := range 3 {
			h.use(int32(10*layer), step, layer, true)
			h.use(int32(10*layer+1), step, layer, true)
		}
	}
	h.begin(4)
	h.use(0, 4, 0, true)
	h.use(1, 4, 0, true)
	h.use(10, 4, 1, true)
	// 0 and 1 of layer 0 are behind; 10 is of this layer; 11, 20, 21 were used in
	// the step before.
	h.goes(false, 1, 0, 21, 20, 11, -1)
	h.goes(true, 10, -1)
}

// TestHostSpare: a page whose block has a slot goes before any other.
func TestHostSpare(t *testing.T) {
	h := newHostOf(t, 3)
	h.use(1, 1, 0, true)
	h.use(2, 1, 0, true)
	h.use(3, 8, 0, true)
	three := int32(slices.Index(h.block, 3))
	h.hold(three)
	h.spare(three)
	h.unpin(three, true)
	two := int32(slices.Index(h.block, 2))
	h.hold(two)
	h.spare(two)
	h.unpin(two, true)
	h.keep(two) // its slot has gone to another block
	h.goes(false, 3, 1)
	h.begin(9)
	h.goes(false, 2, -1)
}

// TestHostListsStayShort: lists do not grow with use.
func TestHostListsStayShort(t *testing.T) {
	h := newHostOf(t, 8)
	for step := range int64(300) {
		h.begin(step)
		for i := range int32(200) {
			h.enter(int(i / 50))
			page, _ := h.take(true)
			h.give(page, int32(step)*1000+i)
			h.pin(page)
			h.pass(page)
			if i%3 == 0 {
				h.spare(page)
			}
			h.unpin(page, true)
		}
	}
	for name, n := range map[string]int{"passed": cap(h.passed), "fresh": cap(h.fresh), "spares": cap(h.spares), "cold": cap(h.cold), "rest": cap(h.rest)} {
		if n > 1000 {
			t.Errorf("%s: %d places for 8 pages", name, n)
		}
	}
}

func TestPagesDoNotOverlap(t *testing.T) {
	h, err := newHost(3, vfs.Align, 4000, nil)
	if err != nil {
		t.Fatal(err)
	}
	for p := range int32(3) {
		if rec := h.record(p); len(rec) != vfs.Align || cap(rec) != vfs.Align || uintptr(unsafe.Pointer(&rec[0]))%vfs.Align != 0 {
			t.Errorf("page %d: %d bytes, capacity %d, at %p", p, len(rec), cap(rec), rec)
		}
		b := h.bytes(p)
		if len(b) != 4000 || cap(b) != 4000 {
			t.Errorf("page %d: block of %d bytes, capacity %d", p, len(b), cap(b))
		}
		for i := range b {
			b[i] = byte(p + 1)
		}
	}
	for p := range int32(3) {
		for i, x := range h.record(p) {
			if want := byte(p + 1); i < 4000 && x != want || i >= 4000 && x != 0 {
				t.Fatalf("page %d, byte %d: %d", p, i, x)
			}
		}
	}
	if err := h.close(); err != nil {
		t.Error(err)
	}
}
