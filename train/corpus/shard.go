package corpus

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync/atomic"

	"nosa/weights"
)

// shard is one mapped file of token ids. It is safe for use by several goroutines until it is closed.
type shard struct {
	name string
	header
	layout
	data    []byte
	checked []atomic.Bool // by chunk
}

// openShard maps a shard and checks all but its ids.
func openShard(path string) (*shard, error) {
	data, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	var s *shard
	err = weights.Guard(func() (err error) {
		s, err = parseShard(path, data)
		return err
	})
	if err != nil {
		_ = unmap(data) // the reason why it is not used is the news
		return nil, err
	}
	return s, nil
}

// parseShard reads a shard in place.
func parseShard(name string, data []byte) (*shard, error) {
	h, err := parseHeader(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s := &shard{name: name, header: h, layout: h.layout(), data: data}
	if uint64(len(data)) != s.size {
		return nil, fmt.Errorf("%s: %d bytes, want %d for %d tokens of %d documents: %w", name, len(data), s.size, h.tokens,
			h.documents, ErrCorrupt)
	}
	if got := crc32.Checksum(data[s.ends:s.chunks], castagnoli); got != h.endsCRC {
		return nil, fmt.Errorf("%s: ends of documents at byte %d: crc %08x, want %08x: %w", name, s.ends, got, h.endsCRC, ErrCorrupt)
	}
	if got := crc32.Checksum(data[s.chunks:], castagnoli); got != h.chunksCRC {
		return nil, fmt.Errorf("%s: table of chunks at byte %d: crc %08x, want %08x: %w", name, s.chunks, got, h.chunksCRC, ErrCorrupt)
	}
	for i := headerBytes + h.tokens*uint64(h.width); i < s.ends; i++ {
		if data[i] != 0 {
			return nil, fmt.Errorf("%s: byte %d behind the ids is not zero: %w", name, i, ErrCorrupt)
		}
	}
	var last uint64
	for d := range h.documents {
		end := s.end(d)
		if end <= last || end > h.tokens {
			return nil, fmt.Errorf("%s: document %d ends at token %d, the one before it at %d, of %d: %w", name, d, end, last,
				h.tokens, ErrCorrupt)
		}
		last = end
	}
	if last != h.tokens {
		return nil, fmt.Errorf("%s: the last document ends at token %d of %d: %w", name, last, h.tokens, ErrCorrupt)
	}
	s.checked = make([]atomic.Bool, s.count)
	return s, nil
}

// end is the token behind the last of document d.
func (s *shard) end(d uint64) uint64 { return binary.LittleEndian.Uint64(s.data[s.ends+8*d:]) }

// document returns where document d begins and ends.
func (s *shard) document(d uint64) (begin, end uint64) {
	if d > 0 {
		begin = s.end(d - 1)
	}
	return begin, s.end(d)
}

// read sets dst to the ids from token at on. The caller holds weights.Guard.
func (s *shard) read(dst []int32, at uint64) error {
	if len(dst) == 0 {
		return nil
	}
	w := uint64(s.width)
	first, last := at*w, (at+uint64(len(dst)))*w
	for c := first / chunkBytes; c <= (last-1)/chunkBytes; c++ {
		if err := s.check(int(c)); err != nil {
			return err
		}
	}
	ids := s.data[headerBytes+first : headerBytes+last]
	if w == 2 {
		for i := range dst {
			dst[i] = int32(binary.LittleEndian.Uint16(ids[2*i:]))
		}
		return nil
	}
	for i := range dst {
		dst[i] = int32(binary.LittleEndian.Uint32(ids[4*i:]))
	}
	return nil
}

// check holds chunk c against its checksum and its ids against the vocabulary, the first time.
func (s *shard) check(c int) error {
	if s.checked[c].Load() {
		return nil
	}
	from := headerBytes + c*chunkBytes
	ids := s.data[from:min(from+chunkBytes, headerBytes+int(s.tokens)*s.width)]
	want := binary.LittleEndian.Uint32(s.data[int(s.chunks)+4*c:])
	if got := crc32.Checksum(ids, castagnoli); got != want {
		return fmt.Errorf("%s: ids in bytes %d to %d: crc %08x, want %08x: %w", s.name, from, from+len(ids)-1, got, want, ErrCorrupt)
	}
	for i := 0; i < len(ids); i += s.width {
		id := uint32(binary.LittleEndian.Uint16(ids[i:]))
		if s.width == 4 {
			id = binary.LittleEndian.Uint32(ids[i:])
		}
		if id >= uint32(s.vocabulary) {
			return fmt.Errorf("%s: id %d at byte %d, the vocabulary has %d: %w", s.name, id, from+i, s.vocabulary, ErrCorrupt)
		}
	}
	s.checked[c].Store(true)
	return nil
}

// verify checks every chunk.
func (s *shard) verify() error {
	return weights.Guard(func() error {
		for c := range s.count {
			if err := s.check(c); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *shard) close() error {
	data := s.data
	s.data = nil
	return unmap(data)
}
