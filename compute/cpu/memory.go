package cpu

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"
)

// ErrMemory is returned by Alloc when the system has no memory to give.
var ErrMemory = errors.New("memory is exhausted")

// mapFrom is the size from which memory is mapped: it leaves the collector's
// heap, is given back for certain, and begins at a page.
const mapFrom = 64 << 10

// hugePage is the size of the pages that mapHuge asks for.
const hugePage = 2 << 20

// memory keeps account of what Alloc gave. Its methods may be called from any
// goroutine.
type memory struct {
	mu   sync.Mutex
	live map[*byte]region // by first byte
	sum  int64
}

type region struct {
	bytes  int
	mapped []byte // whole pages; nil on the heap
}

// alloc gives zeroed memory. What spans huge pages begins at one, and asks for them:
// blocks of the cache are read all over it, a few small pages each.
func (m *memory) alloc(n int) ([]byte, error) {
	var r region
	var data []byte
	r.bytes = n
	switch {
	case n >= hugePage && canMap:
		pages, at, err := mapHuge(n)
		if err != nil {
			return nil, fmt.Errorf("%d bytes: %w: %w", n, ErrMemory, err)
		}
		r.mapped, data = pages, pages[at:at+n:at+n]
	case n >= mapFrom && canMap:
		pages, err := mapMemory(n)
		if err != nil {
			return nil, fmt.Errorf("%d bytes: %w: %w", n, ErrMemory, err)
		}
		r.mapped, data = pages, pages[:n:n]
	default:
		// As float64s, so that it is aligned for every view of it.
		words := make([]float64, (n+7)/8+1)
		data = unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words))[:n:n]
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live == nil {
		m.live = make(map[*byte]region)
	}
	m.live[unsafe.SliceData(data)] = r
	m.sum += int64(n)
	return data, nil
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
	if r.mapped != nil {
		_ = unmapMemory(r.mapped) // fails on a wrong address alone, and this one is from the table
	}
}

// release frees everything.
func (m *memory) release() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	for _, r := range m.live {
		if r.mapped != nil {
			err = errors.Join(err, unmapMemory(r.mapped))
		}
	}
	m.live, m.sum = nil, 0
	return err
}

func (m *memory) bytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sum
}
