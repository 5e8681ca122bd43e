package kv

import (
	"testing"
	"unsafe"

	"nosa/kv/vfs"
)

func TestHostOrder(t *testing.T) {
	h, err := newHost(5, 64, 48)
	if err != nil {
		t.Fatal(err)
	}
	place := func(id int32, step int64, recorded bool) int32 {
		page, old := h.take(anyTime)
		if page < 0 || old >= 0 {
			t.Fatalf("block %d: page %d of block %d", id, page, old)
		}
		h.give(page, id)
		h.pin(page, step)
		h.unpin(page, recorded)
		return page
	}
	place(10, 3, true)
	place(11, 1, false) // the oldest, but in no record
	twelve := place(12, 2, true)
	place(13, 2, true)
	place(14, 9, false)
	take := func(before int64, want int32) {
		t.Helper()
		page, old := h.take(before)
		if old != want || (page < 0) != (want < 0) {
			t.Errorf("page %d of block %d goes, want block %d", page, old, want)
		}
	}
	take(2, -1) // used since
	h.hold(twelve)
	take(anyTime, 13) // the same step as the pinned one, a higher id
	h.unpin(twelve, true)
	take(3, 12)
	take(anyTime, 10)
	take(anyTime, -1) // the others must be written first
	if got := h.block[h.dirty.First()]; got != 11 {
		t.Errorf("block %d is written next, want 11", got)
	}
	if err := h.close(); err != nil {
		t.Error(err)
	}
}

func TestPagesDoNotOverlap(t *testing.T) {
	h, err := newHost(3, vfs.Align, 4000)
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
