package vfs

import "time"

// Read is one of many reads that are under way at once: of len(Into) bytes at Off,
// which must be aligned as for direct transfers. Into stays the reader's until the
// read has ended.
type Read struct {
	Into []byte
	Off  int64
	Tag  int // the caller's
}

// Ended is a read that is over: N bytes are there.
type Ended struct {
	Tag int
	N   int
	Err error
}

// Reads is many reads of one file at once, by one goroutine: none waits for another,
// and no thread waits for any. A goroutine for each, with few processors, begins the
// next read when the scheduler notices that the one before is waiting.
type Reads interface {
	// Start begins reads in their order and returns how many; the others found no
	// room, or the system would not take them.
	Start(reads []Read) int
	// Ended appends reads that are over to a list; if there are none it waits for
	// one, but no longer than told.
	Ended(to []Ended, wait time.Duration) []Ended
	// UnderWay is the number of reads that have begun and are not over.
	UnderWay() int
	// Close ends it; with reads under way the system may wait for them.
	Close() error
}

// ReadsOf is the reads of a file, so many at once, or nil where the system has no
// such thing, or not for this file.
func ReadsOf(f File, most int) Reads {
	if f, ok := f.(interface{ reads(most int) Reads }); ok && most > 0 {
		return f.reads(most)
	}
	return nil
}
