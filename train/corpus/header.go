package corpus

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const (
	shardMagic   = "NOSATOKS"
	shardVersion = 1
	headerBytes  = 128
	chunkBytes   = 1 << 20 // ids under one checksum
	maxTokens    = 1 << 40 // of a shard: keeps sums of sizes far from overflow
)

// castagnoli is the polynomial of every checksum here; processors have an instruction for it.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the first 128 bytes of a shard: see the package comment.
type header struct {
	width      int // bytes of an id
	vocabulary int
	documents  uint64
	tokens     uint64
	digest     [sha256.Size]byte
	endsCRC    uint32 // of the documents' ends
	chunksCRC  uint32 // of the table of chunks
}

// widthOf is how many bytes an id of a vocabulary takes.
func widthOf(vocabulary int) int {
	if vocabulary <= 1<<16 {
		return 2
	}
	return 4
}

func (h header) encode() []byte {
	b := make([]byte, headerBytes)
	le := binary.LittleEndian
	copy(b, shardMagic)
	le.PutUint32(b[8:], shardVersion)
	le.PutUint32(b[12:], uint32(h.width))
	le.PutUint32(b[16:], uint32(h.vocabulary))
	le.PutUint64(b[24:], h.documents)
	le.PutUint64(b[32:], h.tokens)
	copy(b[40:], h.digest[:])
	le.PutUint32(b[72:], h.endsCRC)
	le.PutUint32(b[76:], h.chunksCRC)
	le.PutUint32(b[124:], crc32.Checksum(b[:124], castagnoli))
	return b
}

// parseHeader reads a header and checks it against itself; whether the file has what it announces is the layout's.
func parseHeader(b []byte) (header, error) {
	var h header
	le := binary.LittleEndian
	if len(b) < headerBytes {
		return h, fmt.Errorf("%d bytes, less than the header of %d: %w", len(b), headerBytes, ErrCorrupt)
	}
	b = b[:headerBytes]
	if string(b[:8]) != shardMagic {
		return h, fmt.Errorf("begins with %q, want %q: %w", b[:8], shardMagic, ErrCorrupt)
	}
	if v := le.Uint32(b[8:]); v != shardVersion {
		return h, fmt.Errorf("version %d of the format, want %d: build the corpus anew: %w", v, shardVersion, ErrCorrupt)
	}
	if got, want := crc32.Checksum(b[:124], castagnoli), le.Uint32(b[124:]); got != want {
		return h, fmt.Errorf("header: crc %08x, want %08x: %w", got, want, ErrCorrupt)
	}
	h = header{
		width: int(le.Uint32(b[12:])), vocabulary: int(le.Uint32(b[16:])),
		documents: le.Uint64(b[24:]), tokens: le.Uint64(b[32:]),
		digest: [sha256.Size]byte(b[40:72]), endsCRC: le.Uint32(b[72:]), chunksCRC: le.Uint32(b[76:]),
	}
	switch {
	case h.vocabulary < 1 || h.vocabulary > 1<<31-1:
		return h, fmt.Errorf("header: vocabulary of %d: %w", h.vocabulary, ErrCorrupt)
	case h.width != widthOf(h.vocabulary):
		return h, fmt.Errorf("header: ids of %d bytes for a vocabulary of %d: %w", h.width, h.vocabulary, ErrCorrupt)
	case h.documents < 1 || h.documents > h.tokens || h.tokens > maxTokens:
		return h, fmt.Errorf("header: %d documents of %d tokens: %w", h.documents, h.tokens, ErrCorrupt)
	case le.Uint32(b[20:]) != 0 || !bytes.Equal(b[80:124], make([]byte, 44)):
		return h, fmt.Errorf("header: unused bytes are not zero: %w", ErrCorrupt)
	}
	return h, nil
}

// layout is where the sections of a shard begin, and its size.
type layout struct {
	ends, chunks, size uint64
	count              int // chunks
}

func (h header) layout() layout {
	ids := h.tokens * uint64(h.width)
	ends := headerBytes + (ids+7)/8*8
	count := (ids + chunkBytes - 1) / chunkBytes
	chunks := ends + 8*h.documents
	return layout{ends, chunks, chunks + 4*count, int(count)}
}
