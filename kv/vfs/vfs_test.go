package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// aligned is n bytes at an address that direct transfers take.
func aligned(n int) []byte {
	b := make([]byte, n+Align)
	skip := -uintptr(unsafe.Pointer(&b[0])) & (Align - 1)
	return b[skip:][:n:n]
}

// TestFiles is one suite over every kind of file.
func TestFiles(t *testing.T) {
	for name, tc := range map[string]struct {
		fs     FS
		direct bool
	}{
		"system, buffered": {OS{}, false},
		"system, direct":   {OS{}, true},
		"memory":           {&Memory{}, true},
		"no faults":        {&Faults{FS: OS{}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			if err := tc.fs.MkdirAll(dir); err != nil {
				t.Fatal(err)
			}
			f, err := tc.fs.Create(dir, "x-*.blocks", tc.direct)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: direct %v", f.Name(), f.Direct())
			if f.Direct() && !tc.direct {
				t.Error("direct without being asked")
			}
			g, err := tc.fs.Create(dir, "x-*.blocks", tc.direct)
			if err != nil {
				t.Fatal(err)
			}
			if f.Name() == g.Name() {
				t.Errorf("two files have the name %s", f.Name())
			}
			// Records are written in any order, by many at once.
			var done sync.WaitGroup
			for rec := range 20 {
				done.Go(func() {
					b := aligned(Align)
					for i := range b {
						b[i] = byte(rec + 1)
					}
					if n, err := f.WriteAt(b, int64(19-rec)*Align); n != len(b) || err != nil {
						t.Errorf("record %d: %d bytes, %v", rec, n, err)
					}
				})
			}
			done.Wait()
			for rec := range 20 {
				done.Go(func() {
					b := aligned(Align)
					if n, err := f.ReadAt(b, int64(19-rec)*Align); n != len(b) || err != nil && !errors.Is(err, io.EOF) {
						t.Errorf("record %d: %d bytes, %v", rec, n, err)
					}
					if !bytes.Equal(b, bytes.Repeat([]byte{byte(rec + 1)}, Align)) {
						t.Errorf("record %d holds something else", rec)
					}
				})
			}
			done.Wait()
			b := aligned(2 * Align)
			if n, err := f.ReadAt(b, 19*Align); n != Align || !errors.Is(err, io.EOF) {
				t.Errorf("over the end: %d bytes, %v", n, err)
			}
			if n, err := f.ReadAt(b, 20*Align); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("beyond the end: %d bytes, %v", n, err)
			}
			if n, err := g.ReadAt(b, 0); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("the other file: %d bytes, %v", n, err)
			}
			for _, x := range []File{f, g} {
				if err := x.Close(); err != nil {
					t.Error(err)
				}
			}
			if _, err := f.ReadAt(b, 0); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("read after close: %v", err)
			}
			if _, err := f.WriteAt(b, 0); err == nil {
				t.Error("write after close")
			}
			if err := f.Close(); err == nil {
				t.Error("closed twice")
			}
			if left, err := os.ReadDir(dir); err == nil && len(left) > 0 {
				t.Errorf("left in the directory: %v", left)
			}
		})
	}
}

// TestNoNameWhileOpen: what has no name can not outlive a killed process.
func TestNoNameWhileOpen(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file keeps its name there")
	}
	dir := t.TempDir()
	f, err := OS{}.Create(dir, "x-*", false)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("in the directory: %v, %v", left, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestCreateNowhere(t *testing.T) {
	if _, err := (OS{}).Create(filepath.Join(t.TempDir(), "missing"), "x-*", true); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, want %v", err, os.ErrNotExist)
	}
}

func TestFaults(t *testing.T) {
	want := bytes.Repeat([]byte{0x5a}, 64)
	for _, tc := range []struct {
		fault Fault
		write bool
		n     int
		is    error
	}{
		{None, false, 64, nil},
		{FlipBit, false, 64, nil},
		{ShortRead, false, 32, io.EOF},
		{ReadError, false, 0, syscall.EIO},
		{Vanish, false, 0, io.EOF},
		{None, true, 64, nil},
		{WriteError, true, 0, syscall.EIO},
		{NoSpace, true, 32, syscall.ENOSPC},
		{Vanish, true, 0, syscall.EIO},
	} {
		t.Run(fmt.Sprintf("%v/write=%v", tc.fault, tc.write), func(t *testing.T) {
			fs := &Faults{FS: &Memory{}}
			f, err := fs.Create("d", "x", false)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(append(want, 1), 0); err != nil {
				t.Fatal(err)
			}
			var asked []Op
			fs.Plan = func(op Op) Fault {
				asked = append(asked, op)
				return tc.fault
			}
			b := bytes.Clone(want)
			transfer := f.ReadAt
			if tc.write {
				transfer = f.WriteAt
			}
			n, err := transfer(b, 0)
			if n != tc.n || !errors.Is(err, tc.is) {
				t.Errorf("%d bytes, %v; want %d, %v", n, err, tc.n, tc.is)
			}
			if len(asked) != 1 || asked[0] != (Op{Write: tc.write, Len: 64}) {
				t.Errorf("asked about %v", asked)
			}
			if !tc.write && n == 64 {
				bits := 0
				for i := range b {
					for x := b[i] ^ want[i]; x != 0; x &= x - 1 {
						bits++
					}
				}
				if (tc.fault == FlipBit) != (bits == 1) || bits > 1 {
					t.Errorf("%d bits are wrong", bits)
				}
			}
			fs.Plan = nil
			if _, err := f.ReadAt(b, 0); (err != nil) != (tc.fault == Vanish) {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestStall(t *testing.T) {
	fs := &Faults{FS: &Memory{}, Plan: func(op Op) Fault {
		if op.Off == 1 {
			return Stall
		}
		return None
	}}
	f, err := fs.Create("d", "x", false)
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		if _, err := f.WriteAt([]byte("b"), 1); err != nil {
			t.Error(err)
		}
	})
	for fs.Stalled() == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, err := f.WriteAt([]byte("a"), 0); err != nil { // others go on
		t.Error(err)
	}
	fs.Release()
	done.Wait()
	b := make([]byte, 2)
	if _, err := f.ReadAt(b, 0); err != nil || string(b) != "ab" || fs.Stalled() != 0 {
		t.Errorf("%q, %v, %d stalled", b, err, fs.Stalled())
	}
	fs.Release() // of nothing
}

// TestLasting: what was written to a lasting file is there when it is opened again,
// and nobody else has it meanwhile.
func TestLasting(t *testing.T) {
	for name, tc := range map[string]struct {
		fs     FS
		direct bool
	}{
		"system, buffered": {OS{}, false},
		"system, direct":   {OS{}, true},
		"memory":           {&Memory{}, false},
		"no faults":        {&Faults{FS: OS{}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			open := func() File {
				f, err := tc.fs.Open(dir, "x.blocks", tc.direct)
				if err != nil {
					t.Fatal(err)
				}
				return f
			}
			f := open()
			if n, err := f.Size(); n != 0 || err != nil {
				t.Errorf("a new file has %d bytes, %v", n, err)
			}
			want := aligned(2 * Align)
			for i := range want {
				want[i] = byte(i % 251)
			}
			if _, err := f.WriteAt(want, Align); err != nil {
				t.Fatal(err)
			}
			if _, err := tc.fs.Open(dir, "x.blocks", tc.direct); !errors.Is(err, ErrInUse) {
				t.Errorf("opened twice: %v", err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			f = open()
			defer f.Close()
			got := aligned(2 * Align)
			if n, err := f.ReadAt(got, Align); n != len(got) || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %v, not those that were written", n, err)
			}
			if n, err := f.Size(); n != 3*Align || err != nil {
				t.Errorf("%d bytes, %v, want %d", n, err, 3*Align)
			}
			if err := f.Truncate(0); err != nil {
				t.Fatal(err)
			}
			if n, err := f.Size(); n != 0 || err != nil {
				t.Errorf("%d bytes, %v, want none", n, err)
			}
		})
	}
}

// TestLastingLink: a link that somebody else put in the file's place is not followed.
func TestLastingLink(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, filepath.Join(dir, "x.blocks")); err != nil {
		t.Skip("no links here: ", err)
	}
	if f, err := (OS{}).Open(dir, "x.blocks", true); err == nil {
		f.Close()
		t.Error("it was followed")
	}
}

// TestMemoryCopy: a copy is what the next process finds.
func TestMemoryCopy(t *testing.T) {
	m := &Memory{}
	f, err := m.Open("d", "x", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("before"), 0); err != nil {
		t.Fatal(err)
	}
	c := m.Copy()
	if _, err := f.WriteAt([]byte("after!"), 0); err != nil {
		t.Fatal(err)
	}
	g, err := c.Open("d", "x", false)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 6)
	if _, err := g.ReadAt(b, 0); err != nil || string(b) != "before" {
		t.Errorf("%q, %v", b, err)
	}
}
