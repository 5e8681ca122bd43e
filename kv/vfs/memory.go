package vfs

import (
	"fmt"
	"io"
	"sync"
)

// Memory keeps scratch files on the heap, for tests that make thousands.
type Memory struct {
	mu   sync.Mutex
	made int
	open int
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

// Open is the number of files that are not closed yet.
func (m *Memory) Open() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.open
}

type memoryFile struct {
	fs     *Memory
	name   string
	mu     sync.RWMutex
	data   []byte
	closed bool
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

func (f *memoryFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return fmt.Errorf("close %s: file already closed", f.name)
	}
	f.closed, f.data = true, nil
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.open--
	return nil
}
