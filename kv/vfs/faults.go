package vfs

import (
	"fmt"
	"io"
	"sync"
	"syscall"
)

// Fault is what goes wrong in one transfer.
type Fault uint8

// The faults that [Faults] can make.
const (
	None       Fault = iota
	FlipBit          // one bit of what was read is wrong
	ShortRead        // the file ends in the middle of the range
	ReadError        // the read fails with EIO
	WriteError       // the write fails with EIO
	NoSpace          // the write fails half-way with ENOSPC
	Vanish           // the file is empty from now on
	Stall            // the transfer hangs until Release
)

var faultNames = [...]string{"none", "flipped bit", "short read", "read error", "write error", "no space", "vanished file", "stall"}

func (f Fault) String() string { return faultNames[f] }

// Op says which transfer is about to happen.
type Op struct {
	Write bool
	Off   int64
	Len   int
}

// Faults is an FS whose files fail when Plan says so.
type Faults struct {
	FS
	// Plan is asked before every transfer, from any goroutine, one at a time.
	Plan func(Op) Fault

	mu      sync.Mutex
	release chan struct{}
	stalled int
}

var _ FS = (*Faults)(nil)

// Create makes a file of the FS below.
func (f *Faults) Create(dir, pattern string, direct bool) (File, error) {
	file, err := f.FS.Create(dir, pattern, direct)
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: file, fs: f}, nil
}

// Open opens a lasting file of the FS below.
func (f *Faults) Open(dir, name string, direct bool) (File, error) {
	file, err := f.FS.Open(dir, name, direct)
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: file, fs: f}, nil
}

// Release lets all stalled transfers go on.
func (f *Faults) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.release != nil {
		close(f.release)
		f.release = nil
	}
}

// Stalled is the number of transfers that hang.
func (f *Faults) Stalled() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stalled
}

func (f *Faults) ask(op Op) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Plan == nil {
		return None
	}
	return f.Plan(op)
}

func (f *Faults) stall() {
	f.mu.Lock()
	if f.release == nil {
		f.release = make(chan struct{})
	}
	wait := f.release
	f.stalled++
	f.mu.Unlock()
	<-wait
	f.mu.Lock()
	f.stalled--
	f.mu.Unlock()
}

type faultyFile struct {
	File
	fs   *Faults
	mu   sync.Mutex
	gone bool
}

func (f *faultyFile) vanish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
}

func (f *faultyFile) vanished() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gone
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	switch fault := f.fs.ask(Op{Off: off, Len: len(p)}); fault {
	case ReadError:
		return 0, fmt.Errorf("read %s: %w", f.Name(), syscall.EIO)
	case ShortRead:
		n, err := f.File.ReadAt(p[:len(p)/2], off)
		if err == nil {
			err = io.EOF
		}
		return n, err
	case FlipBit:
		n, err := f.File.ReadAt(p, off)
		if n > 0 {
			at := int(off/7+int64(n)/3) % n
			p[at] ^= 1 << (off / 4096 % 8)
		}
		return n, err
	case Vanish:
		f.vanish()
	case Stall:
		f.fs.stall()
	}
	if f.vanished() {
		return 0, io.EOF
	}
	return f.File.ReadAt(p, off)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	switch fault := f.fs.ask(Op{Write: true, Off: off, Len: len(p)}); fault {
	case WriteError:
		return 0, fmt.Errorf("write %s: %w", f.Name(), syscall.EIO)
	case NoSpace:
		n, err := f.File.WriteAt(p[:len(p)/2], off)
		if err == nil {
			err = fmt.Errorf("write %s: %w", f.Name(), syscall.ENOSPC)
		}
		return n, err
	case Vanish:
		f.vanish()
	case Stall:
		f.fs.stall()
	}
	if f.vanished() {
		return 0, fmt.Errorf("write %s: %w", f.Name(), syscall.EIO)
	}
	return f.File.WriteAt(p, off)
}
