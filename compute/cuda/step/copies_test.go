//go:build linux && amd64

package step

import (
	"slices"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// TestStepCopier: columns that nobody's slots hold are fetched from their pages, with the
// bytes that they had, and copies alone take some time.
func TestStepCopier(t *testing.T) {
	w := newWorld(t, small, dtype.BF16, cacheOf(true, compute.KVBF16))
	const columns = 6
	width := len(w.model.Layers) * w.model.KVHeads
	r := w.start(nosaParams, columns*w.layout.Block, 2, setting{rows: 1, columns: columns, slots: width * columns})
	defer r.close()
	tokens := int32(2*w.layout.Block + 1) // two full blocks
	for pos := range tokens {
		r.feed(compute.StepRow{Seat: 0, Pos: pos, Token: pos % 7})
	}
	full := r.seats[0][:2]
	content := func() (all []byte) {
		p := r.step.pool
		slotOf := make([]int32, p.cfg.ids())
		r.d.Download(bytesOf(slotOf), p.memory[0])
		if err := r.d.Sync(); err != nil {
			t.Fatal(err)
		}
		for _, id := range r.step.ids(full) {
			if slotOf[id] < 0 {
				t.Fatalf("block %d has no slot", id)
			}
			raw := make([]byte, w.layout.BlockBytes())
			at := int(slotOf[id])
			r.d.Download(raw, r.cache.Slots.Rows(at, at+1))
			if err := r.d.Sync(); err != nil {
				t.Fatal(err)
			}
			all = append(all, raw...)
		}
		return all
	}
	want := content()
	r.step.Drop(full)
	pages := make([]int32, 0, 2*width)
	for _, column := range full {
		for i := range width {
			pages = append(pages, column*int32(width)+int32(width-1-i))
		}
	}
	r.step.Grow(1, full, pages)
	r.step.Fetch(full)
	if got := content(); !slices.Equal(got, want) {
		t.Error("other bytes came back")
	}
	if err := r.step.pool.check(); err != nil {
		t.Error(err)
	}
	if ms, err := r.step.CopyMS(5); err != nil || ms < 0 {
		t.Errorf("%g ms, %v", ms, err)
	}
	if _, err := r.step.CopyMS(1 << 30); err == nil {
		t.Error("copies of a billion blocks")
	}
}
