package kv

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"nosa/kv/vfs"
)

// disk is the file below the host pool: records of one block each. What a record
// must hold is known in memory alone (its checksum is kept with the block), so a
// record in the wrong place can not vouch for itself.
type disk struct {
	file   vfs.File
	dir    string
	stride int
	most   int     // records that there may be
	made   int     // records that have been used so far
	free   []int32 // of them, those of no block
}

// openDisk opens the file of records: a scratch file, or the lasting one of a name.
func openDisk(d Disk, stride int, name string) (_ *disk, err error) {
	o := &disk{dir: d.Dir, stride: stride, most: d.Records}
	hint := fmt.Sprintf("--kv-disk %s: give a directory that can be written to", d.Dir)
	if err := d.FS.MkdirAll(d.Dir); err != nil {
		return nil, fmt.Errorf("%w: %w: %s", ErrDisk, err, hint)
	}
	direct := d.Direct && stride%vfs.Align == 0
	if d.Lasts {
		o.file, err = d.FS.Open(d.Dir, name+".blocks", direct)
	} else {
		o.file, err = d.FS.Create(d.Dir, "nosa-kv-*.blocks", direct)
	}
	if errors.Is(err, vfs.ErrInUse) {
		hint = "give each process a --kv-disk of its own"
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w: %s", ErrDisk, err, hint)
	}
	return o, nil
}

// take finds a free record, or −1.
func (d *disk) take() int32 {
	if n := len(d.free); n > 0 {
		rec := d.free[n-1]
		d.free = d.free[:n-1]
		return rec
	}
	if d.made == d.most {
		return -1
	}
	d.made++
	return int32(d.made - 1)
}

func (d *disk) release(rec int32) { d.free = append(d.free, rec) }

// left is the number of records that can still be taken.
func (d *disk) left() int { return d.most - d.made + len(d.free) }

// write runs on a worker.
func (d *disk) write(rec int32, from []byte) error {
	n, err := d.file.WriteAt(from, d.at(rec))
	if err == nil && n == len(from) {
		return nil
	}
	if err == nil {
		err = io.ErrShortWrite
	}
	hint := "is it still there and writable?"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		hint = "make room there or give --kv-disk a smaller size"
	}
	return fmt.Errorf("%w: writing record %d to --kv-disk %s, %d of %d bytes: %w: %s", ErrDisk, rec, d.dir, n, len(from), err, hint)
}

// read runs on a worker.
func (d *disk) read(rec int32, into []byte) error {
	n, err := d.file.ReadAt(into, d.at(rec))
	if n == len(into) {
		return nil // io.ReaderAt may say io.EOF at the end of the file
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return d.unread(rec, n, err)
}

// at is where a record begins in the file.
func (d *disk) at(rec int32) int64 { return int64(rec) * int64(d.stride) }

// unread is the error of a read that ended after n bytes.
func (d *disk) unread(rec int32, n int, err error) error {
	return fmt.Errorf("%w: reading record %d from --kv-disk %s, %d of %d bytes: %w", ErrDisk, rec, d.dir, n, d.stride, err)
}

func (d *disk) close() error {
	if err := d.file.Close(); err != nil {
		return fmt.Errorf("%w: closing the file in --kv-disk %s: %w", ErrDisk, d.dir, err)
	}
	return nil
}
