package kv

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"nosa/kv/vfs"
)

// ledger is the file that says what the records of a lasting disk tier hold, so that
// the next process finds them:
//
//	page  header: of which settings, written since which start of the machine
//	n     entry n: a column's key, and for each of its blocks the record, checksum,
//	      digest and summary; before all that the digest of it, and of n
//
// An entry is written when all records of its column have been, and its digest is
// overwritten before one of them is given to another block. So at any moment an entry
// that is whole is true, whenever the process ends. Where the machine itself goes
// down, writes may be lost in any order: then records are held against their digests
// before anything is said of them, and they are held against them in any case when
// they are first read.
//
// It knows bytes and places, no blocks.
type ledger struct {
	file   vfs.File
	head   digest // of the header: enters every entry's
	size   int    // bytes of an entry
	parts  int    // blocks of a column
	wide   int    // bytes of a block's part
	made   int32  // entries that have been used so far
	free   []int32
	seq    uint64 // of the last entry that was written
	broken error  // why no more is written
}

// digest is the beginning of a SHA-256.
type digest [16]byte

func digestOf(b []byte) digest {
	sum := sha256.Sum256(b)
	return digest(sum[:])
}

const (
	ledgerMagic = "nosa kv ledger 1\n"
	headerBytes = 4096
	bootBytes   = 64 // of the header, after magic and settings: see bootID
	entryHead   = sha256.Size + 2*len(key{}) + 16
	partHead    = 4 + 4 + len(digest{})
	mostEntries = 1 << 22 // that are read: more tokens than any store holds
)

// entry is a column as the ledger knows it.
type entry struct {
	at        int32
	key, prev key
	number    uint32 // of its blocks
	seq       uint64
	parts     []entryPart
}

type entryPart struct {
	rec     int32
	crc     uint32
	sum     digest
	summary []byte
}

func newLedger(f vfs.File, parts, summary int) *ledger {
	return &ledger{file: f, parts: parts, wide: partHead + summary, size: entryHead + parts*(partHead+summary)}
}

// look reads the header. same says that it is of these settings; up, that the machine
// has not been down since begin wrote it.
func (l *ledger) look(settings key, boot string) (same, up bool, err error) {
	head, constant := header(settings, boot)
	l.head = digestOf(head[:constant])
	old := make([]byte, headerBytes)
	n, err := l.file.ReadAt(old, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, false, l.unread(err)
	}
	same = n == headerBytes && bytes.Equal(old[:constant], head[:constant])
	return same, same && boot != "" && bytes.Equal(old, head), nil
}

// begin writes the header: from now on what the entries say is true as long as the
// machine is up.
func (l *ledger) begin(settings key, boot string) error {
	head, _ := header(settings, boot)
	return l.writeAt(head, 0)
}

// header makes one; what lies before constant does not change from start to start.
func header(settings key, boot string) (head []byte, constant int) {
	head = make([]byte, headerBytes)
	constant = copy(head, ledgerMagic)
	constant += copy(head[constant:], settings[:])
	copy(head[constant:constant+bootBytes], boot)
	return head, constant
}

func (l *ledger) at(n int32) int64 { return headerBytes + int64(n)*int64(l.size) }

// entries is how many there is room for in the file as it is.
func (l *ledger) entries() (int32, error) {
	size, err := l.file.Size()
	if err != nil {
		return 0, l.unread(err)
	}
	return int32(min(max(size-headerBytes, 0)/int64(l.size), mostEntries)), nil
}

// read reads an entry; false if there is no whole one. buf holds its bytes.
func (l *ledger) read(n int32, buf []byte) (e entry, ok bool, err error) {
	if got, err := l.file.ReadAt(buf, l.at(n)); got < len(buf) {
		if err == nil || errors.Is(err, io.EOF) {
			return e, false, nil
		}
		return e, false, l.unread(err)
	}
	if want := l.digest(n, buf); !bytes.Equal(want[:], buf[:sha256.Size]) {
		return e, false, nil
	}
	b := buf[sha256.Size:]
	e.at = n
	b = b[copy(e.key[:], b):]
	b = b[copy(e.prev[:], b):]
	e.seq, e.number = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[8:])
	b = b[16:]
	for range l.parts {
		p := entryPart{rec: int32(binary.LittleEndian.Uint32(b)), crc: binary.LittleEndian.Uint32(b[4:]), sum: digest(b[8:]), summary: b[partHead:l.wide]}
		e.parts = append(e.parts, p)
		b = b[l.wide:]
	}
	return e, true, nil
}

func (l *ledger) unread(err error) error {
	return fmt.Errorf("%w: reading %s: %w", ErrDisk, l.file.Name(), err)
}

// encode writes an entry into buf, but for its digest. Summaries have been put into
// their places before: see summary.
func (l *ledger) encode(buf []byte, e *entry) {
	b := buf[sha256.Size:]
	b = b[copy(b, e.key[:]):]
	b = b[copy(b, e.prev[:]):]
	binary.LittleEndian.PutUint64(b, e.seq)
	binary.LittleEndian.PutUint32(b[8:], e.number)
	clear(b[12:16])
	b = b[16:]
	for _, p := range e.parts {
		binary.LittleEndian.PutUint32(b, uint32(p.rec))
		binary.LittleEndian.PutUint32(b[4:], p.crc)
		copy(b[8:], p.sum[:])
		b = b[l.wide:]
	}
}

// summary is the place of a part's summary in an entry.
func (l *ledger) summary(buf []byte, part int) []byte {
	at := entryHead + part*l.wide
	return buf[at+partHead : at+l.wide]
}

// digest is that of an entry's place and all that comes after it.
func (l *ledger) digest(n int32, buf []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(l.head[:])
	_ = binary.Write(h, binary.LittleEndian, n) // never fails
	h.Write(buf[sha256.Size:])
	return [sha256.Size]byte(h.Sum(nil))
}

// write seals an entry and writes it. It runs on a worker.
func (l *ledger) write(n int32, buf []byte) error {
	sum := l.digest(n, buf)
	copy(buf, sum[:])
	return l.writeAt(buf, l.at(n))
}

// erase makes an entry untrue.
func (l *ledger) erase(n int32) error {
	var none [sha256.Size]byte
	return l.writeAt(none[:], l.at(n))
}

func (l *ledger) writeAt(b []byte, off int64) error {
	n, err := l.file.WriteAt(b, off)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("%w: writing %s: %w", ErrDisk, l.file.Name(), err)
	}
	return nil
}

// take finds room for an entry.
func (l *ledger) take() int32 {
	if n := len(l.free); n > 0 {
		at := l.free[n-1]
		l.free = l.free[:n-1]
		return at
	}
	l.made++
	return l.made - 1
}
