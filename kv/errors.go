package kv

import (
	"errors"
	"fmt"
)

var (
	// ErrConfig is returned by Open for settings that can not work together.
	ErrConfig = errors.New("kv settings do not fit together")
	// ErrFull is returned when every place of a tier is in use by blocks that may not leave it.
	ErrFull = errors.New("kv cache is full")
	// ErrLength is returned by Reserve for more tokens than the sequence was made for.
	ErrLength = errors.New("sequence is at its greatest length")
	// ErrCorrupt is returned when a record read from disk lacks the checksum it was written with.
	ErrCorrupt = errors.New("block is corrupt")
	// ErrDisk is returned when the disk tier can not be opened, written or read.
	ErrDisk = errors.New("disk tier failed")
	// ErrTimeout is returned when no transfer has reported for as long as Config.Timeout.
	ErrTimeout = errors.New("transfer does not report")
	// ErrOpen is returned for a recall of a block that is not sealed.
	ErrOpen = errors.New("block is not full yet")
	// ErrClosed is returned by what is asked of a closed store or a freed sequence.
	ErrClosed = errors.New("closed")
	// ErrBusy is returned by Close while sequences are live.
	ErrBusy = errors.New("sequences are live")
)

// errLost is what a broken invariant would be called: see Check.
var errLost = errors.New("block is in no tier")

// blame says which block of which sequence an error is about.
func (s *Store) blame(q *Sequence, id int32, err error) error {
	b := &s.blocks[id]
	record := ""
	if b.rec >= 0 {
		record = fmt.Sprintf(" (record %d)", b.rec)
	}
	return fmt.Errorf("sequence %d, layer %d, head %d, block %d%s: %w", q.number, b.layer, b.head, b.number, record, err)
}
