package kv

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nosa/compute"
	"nosa/kv/vfs"
)

func TestRecords(t *testing.T) {
	d, err := openDisk(Disk{FS: &vfs.Memory{}, Dir: "d", Records: 3}, 8, "")
	if err != nil {
		t.Fatal(err)
	}
	for want := range int32(3) {
		if rec := d.take(); rec != want {
			t.Errorf("record %d, want %d", rec, want)
		}
	}
	if rec := d.take(); rec != -1 || d.left() != 0 {
		t.Errorf("record %d of none, %d left", rec, d.left())
	}
	d.release(1)
	if d.left() != 1 || d.take() != 1 {
		t.Error("a released record does not come back")
	}
	if err := d.write(2, []byte("01234567")); err != nil {
		t.Error(err)
	}
	got := make([]byte, 8)
	if err := d.read(2, got); err != nil || string(got) != "01234567" {
		t.Errorf("%q, %v", got, err)
	}
	if err := d.read(3, got); !errors.Is(err, ErrDisk) || !strings.Contains(err.Error(), "record 3 from --kv-disk d, 0 of 8 bytes") {
		t.Errorf("beyond the end: %v", err)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
	if err := d.close(); !errors.Is(err, ErrDisk) {
		t.Errorf("closed twice: %v", err)
	}
	if err := d.write(0, got); !errors.Is(err, ErrDisk) {
		t.Errorf("write after close: %v", err)
	}
}

// TestDiskThatCanNotBeOpened gives a line that says what to change, and leaves
// no memory behind.
func TestDiskThatCanNotBeOpened(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"a file": file, "under a file": filepath.Join(file, "dir")} {
		t.Run(name, func(t *testing.T) {
			cfg := faultConfig(nil)
			cfg.Disk.Dir = dir
			_, err := Open(compute.Reference{}, cfg, nil)
			if !errors.Is(err, ErrDisk) || !strings.Contains(err.Error(), "--kv-disk "+dir) {
				t.Errorf("%v, want %v naming --kv-disk %s", err, ErrDisk, dir)
			}
		})
	}
}

// TestDiskMakesItsDirectory, for its owner alone.
func TestDiskMakesItsDirectory(t *testing.T) {
	cfg := faultConfig(nil)
	cfg.Disk.Dir = filepath.Join(t.TempDir(), "a", "b")
	s := openTest(t, cfg)
	info, err := os.Stat(cfg.Disk.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		t.Errorf("mode %v: what people wrote is for nobody else", info.Mode())
	}
	closeTest(t, s)
}
