package corpus

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
)

// shardWriter writes one shard: ids as they come, what is known only at the end behind them, and the header last. A file
// that was not finished has no header, so nobody takes it for a shard.
type shardWriter struct {
	file *os.File
	to   *bufio.Writer
	header
	written []uint64 // ends of documents
	crcs    []uint32 // of full chunks
	crc     uint32   // of the open one
	filled  int      // bytes of the open one
	scratch []byte
}

func newShardWriter(path string, v *Vocabulary) (*shardWriter, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	w := &shardWriter{file: f, to: bufio.NewWriterSize(f, 1<<20)}
	w.width, w.vocabulary, w.digest = widthOf(v.Size()), v.Size(), v.Digest()
	if _, err := w.to.Write(make([]byte, headerBytes)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

// add appends ids to the open document, and ends it where last.
func (w *shardWriter) add(ids []int32, last bool) error {
	w.scratch = w.scratch[:0]
	for _, id := range ids {
		if w.width == 2 {
			w.scratch = binary.LittleEndian.AppendUint16(w.scratch, uint16(id))
		} else {
			w.scratch = binary.LittleEndian.AppendUint32(w.scratch, uint32(id))
		}
	}
	w.tokens += uint64(len(ids))
	if last {
		w.written = append(w.written, w.tokens)
	}
	for b := w.scratch; len(b) > 0; {
		part := b[:min(len(b), chunkBytes-w.filled)]
		w.crc = crc32.Update(w.crc, castagnoli, part)
		if w.filled += len(part); w.filled == chunkBytes {
			w.crcs, w.crc, w.filled = append(w.crcs, w.crc), 0, 0
		}
		b = b[len(part):]
	}
	_, err := w.to.Write(w.scratch)
	return err
}

// finish writes the rest and has the disk take it.
func (w *shardWriter) finish() (err error) {
	defer func() { err = errors.Join(err, w.file.Close()) }()
	if w.filled > 0 {
		w.crcs = append(w.crcs, w.crc)
	}
	w.documents = uint64(len(w.written))
	tail := make([]byte, -(w.tokens*uint64(w.width))&7, 8+8*len(w.written)+4*len(w.crcs))
	pad := len(tail)
	for _, end := range w.written {
		tail = binary.LittleEndian.AppendUint64(tail, end)
	}
	w.endsCRC = crc32.Checksum(tail[pad:], castagnoli)
	table := len(tail)
	for _, crc := range w.crcs {
		tail = binary.LittleEndian.AppendUint32(tail, crc)
	}
	w.chunksCRC = crc32.Checksum(tail[table:], castagnoli)
	if _, err := w.to.Write(tail); err != nil {
		return err
	}
	if err := w.to.Flush(); err != nil {
		return err
	}
	if _, err := w.file.WriteAt(w.encode(), 0); err != nil {
		return err
	}
	return w.file.Sync()
}

// abandon closes a shard that will not be finished.
func (w *shardWriter) abandon() error { return w.file.Close() }
