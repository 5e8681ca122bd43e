package vfs

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
	"unsafe"
)

// TestReads: many reads at once bring what reads one by one bring, in any order and
// beyond what the system takes at a time; over the end is an error.
func TestReads(t *testing.T) {
	const records, most = 50, 7
	f, err := OS{}.Create(t.TempDir(), "x-*", true)
	if err != nil {
		t.Fatal(err)
	}
	b := aligned(records * Align)
	for i := range b {
		b[i] = byte(i/Align + 1)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	r := ReadsOf(f, most)
	switch {
	case r == nil && f.Direct() && runtime.GOOS == "linux":
		t.Fatal("a direct file on Linux has no reads")
	case r == nil:
		t.Logf("not here: direct %v on %s", f.Direct(), runtime.GOOS)
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		return
	}
	into := aligned((records + 1) * Align)
	var reads []Read
	for _, i := range rand.Perm(records + 1) { // the last one is beyond the end
		reads = append(reads, Read{Into: into[i*Align:][:Align:Align], Off: int64(i) * Align, Tag: i})
	}
	var ended []Ended
	for waits := 0; len(ended) <= records; waits++ {
		reads = reads[r.Start(reads):]
		if n := r.UnderWay(); n > most || waits > 1000 {
			t.Fatalf("%d reads under way, %d may be; %d ended", n, most, len(ended))
		}
		ended = r.Ended(ended, time.Second)
	}
	seen := map[int]bool{}
	for _, e := range ended {
		seen[e.Tag] = true
		switch {
		case e.Tag == records:
			if e.N != 0 || !errors.Is(e.Err, io.ErrUnexpectedEOF) {
				t.Errorf("beyond the end: %d bytes, %v", e.N, e.Err)
			}
		case e.N != Align || e.Err != nil:
			t.Errorf("record %d: %d bytes, %v", e.Tag, e.N, e.Err)
		}
	}
	if len(seen) != records+1 || !bytes.Equal(into[:records*Align], b) {
		t.Errorf("%d reads ended of %d, the bytes are right: %v", len(seen), records+1, bytes.Equal(into[:records*Align], b))
	}
	if got := r.Ended(nil, time.Hour); got != nil { // nothing to wait for
		t.Errorf("%v ended that had not begun", got)
	}
	// What the system refuses is not under way: a buffer at an odd address.
	odd := []Read{{Into: unsafe.Slice(&into[1], Align), Off: 0, Tag: 1}}
	if n := r.Start(odd); n == 1 {
		if got := r.Ended(nil, time.Second); len(got) != 1 || got[0].Err == nil {
			t.Errorf("a buffer at an odd address: %v", got)
		}
	} else if r.UnderWay() != 0 {
		t.Errorf("%d reads under way that were refused", r.UnderWay())
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestReadsOfOthers: files that have none say so.
func TestReadsOfOthers(t *testing.T) {
	plain, err := OS{}.Create(t.TempDir(), "x-*", false)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := (&Memory{}).Create("d", "x-*", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []File{plain, memory} {
		if r := ReadsOf(f, 8); r != nil {
			t.Errorf("%T has reads", f)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
