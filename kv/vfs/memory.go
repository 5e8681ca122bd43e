package vfs

import (
	"fmt"
	"io"
	"slices"
	"sync"
)

// Memory keeps files on the heap, for tests that make thousands.
type Memory struct {
	mu    sync.Mutex
	made  int
	open  int
	named map[string]*memoryFile // that last
}

var _ FS = (*Memory)(nil)

// MkdirAll has nothing to do.
func (m *Memory) MkdirAll(string) error { return nil }

// Create makes an empty file. It is never direct.
func (m *Memory) Create(dir, pattern string, _ bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.made++
	m.open++
	return &memoryFile{fs: m, name: fmt.Sprintf("%s/%s.%d", dir, pattern, m.made)}, nil
}

// Open opens a file that lasts as long as m.
func (m *Memory) Open(dir, name string, _ bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = dir + "/" + name
	f := m.named[name]
	switch {
	case f == nil:
		f = &memoryFile{fs: m, name: name, lasts: true}
		if m.named == nil {
			m.named = map[string]*memoryFile{}
		}
		m.named[name] = f
	case !f.closed:
		return nil, fmt.Errorf("%s: %w", name, ErrInUse)
	}
	f.closed = false
	m.open++
	return f, nil
}

// OpenFiles is the number of files that are not closed yet.
func (m *Memory) OpenFiles() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open
}

// Copy is m as it would be found if the process that uses it ended now: the files
// that last, with what has been written to them.
func (m *Memory) Copy() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &Memory{named: map[string]*memoryFile{}}
	for name, f := range m.named {
		f.mu.RLock()
		c.named[name] = &memoryFile{fs: c, name: name, lasts: true, closed: true, data: slices.Clone(f.data)}
		f.mu.RUnlock()
	}
	return c
}

type memoryFile struct {
	fs     *Memory
	name   string
	lasts  bool
	mu     sync.RWMutex
	data   []byte
	closed bool // under the lock of fs too
}

func (f *memoryFile) Name() string { return f.name }

func (f *memoryFile) Direct() bool { return false }

func (f *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return 0, fmt.Errorf("read %s: file already closed", f.name)
	}
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, fmt.Errorf("write %s: file already closed", f.name)
	}
	if end := off + int64(len(p)); end > int64(len(f.data)) {
		f.data = append(f.data, make([]byte, end-int64(len(f.data)))...)
	}
	return copy(f.data[off:], p), nil
}

func (f *memoryFile) Size() (int64, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return int64(len(f.data)), nil
}

func (f *memoryFile) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if more := size - int64(len(f.data)); more > 0 {
		f.data = append(f.data, make([]byte, more)...)
	}
	f.data = f.data[:size]
	return nil
}

func (f *memoryFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return fmt.Errorf("close %s: file already closed", f.name)
	}
	f.closed = true
	if !f.lasts {
		f.data = nil
	}
	f.fs.open--
	return nil
}
