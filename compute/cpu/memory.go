package cpu

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"
)

// ErrMemory is returned by Alloc when the system has no memory to give.
var ErrMemory = errors.New("memory is exhausted")

// mapFrom is the size from which memory is mapped: it leaves the collector's
// heap and begins at a page.
const mapFrom = 64 << 10

// hugePage is the size of the pages that mapHuge asks for.
const hugePage = 2 << 20

// chunkBytes is the size of a mapping that smaller allocations share, so that they
// lie in huge pages too.
const chunkBytes = 4 * hugePage

// memory keeps account of what Alloc gave. Its methods may be called from any
// goroutine.
type memory struct {
	mu   sync.Mutex
	live map[*byte]region // by first byte
	sum  int64
	open *chunk // has room at its end, or nil
}

// region is what was given at once.
type region struct {
	bytes int
	from  *chunk // nil on the heap
}

// chunk is a mapping. What is freed in it is not given again, as it would have to be
// zeroed: it goes back to the system when nothing of it is in use.
type chunk struct {
	mapped []byte // whole pages
	data   []byte // of them, those that are given
	used   int    // bytes from the front
	live   int    // regions
}

func newChunk(n int) (*chunk, error) {
	pages, at, err := mapHuge(n)
	if err != nil {
		return nil, err
	}
	return &chunk{mapped: pages, data: pages[at : at+n]}, nil
}

// alloc gives zeroed memory, from mapFrom on at a page. What spans huge pages begins
// at one and asks for them, what is smaller lies with others in such pages: weights
// and blocks of the cache are read all over them, and each small page costs a walk
// through the page tables.
func (m *memory) alloc(n int) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := region{bytes: n}
	var data []byte
	if n < mapFrom || !canMap {
		// As float64s, so that it is aligned for every view of it.
		words := make([]float64, (n+7)/8+1)
		data = unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words))[:n:n]
	} else {
		c, err := m.chunkFor(n)
		if err != nil {
			return nil, fmt.Errorf("%d bytes: %w: %w", n, ErrMemory, err)
		}
		r.from, data = c, c.data[c.used:c.used+n:c.used+n]
		page := os.Getpagesize()
		c.used = min(len(c.data), c.used+(n+page-1)/page*page)
		c.live++
	}
	if m.live == nil {
		m.live = make(map[*byte]region)
	}
	m.live[unsafe.SliceData(data)] = r
	m.sum += int64(n)
	return data, nil
}

// chunkFor is a chunk with room for n bytes.
func (m *memory) chunkFor(n int) (*chunk, error) {
	if n >= hugePage {
		return newChunk(n)
	}
	if m.open != nil && len(m.open.data)-m.open.used >= n {
		return m.open, nil
	}
	c, err := newChunk(chunkBytes)
	if err == nil {
		m.open = c
	}
	return c, err
}

// free takes a slice back that alloc gave; others are none of its business.
func (m *memory) free(data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := unsafe.SliceData(data)
	r, ok := m.live[first]
	if !ok || r.bytes != len(data) {
		return
	}
	delete(m.live, first)
	m.sum -= int64(r.bytes)
	if c := r.from; c != nil {
		if c.live--; c.live == 0 {
			if c == m.open {
				m.open = nil
			}
			_ = unmapMemory(c.mapped) // fails on a wrong address alone, and this one is its own
		}
	}
}

// release frees everything.
func (m *memory) release() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	for _, r := range m.live {
		if c := r.from; c != nil {
			if c.live--; c.live == 0 {
				err = errors.Join(err, unmapMemory(c.mapped))
			}
		}
	}
	m.live, m.sum, m.open = nil, 0, nil
	return err
}

func (m *memory) bytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sum
}
