package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/dtype"
	"nosa/kv/vfs"
	"nosa/weights"
)

// scarce is a device whose memory ends at an allocation.
type scarce struct {
	*cpu.Device
	left int
}

var errScarce = errors.New("no memory left")

func (s *scarce) Alloc(t dtype.Type, shape ...int) (compute.Tensor, error) {
	if s.left--; s.left < 0 {
		return compute.Tensor{}, errScarce
	}
	return s.Device.Alloc(t, shape...)
}

// TestOpenFails lets memory end at every single allocation of opening an engine
// and of its first request. Each is an error, and nothing is left: no memory, no
// file, no goroutine; the source stays the caller's.
func TestOpenFails(t *testing.T) {
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	src, err := OpenSource(*sameModel)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	goroutines := runtime.NumGoroutine()
	files := &vfs.Memory{}
	o := NewOptions()
	o.Attention, o.Context = "nosa", 200
	budget{device: 0.2, host: 0.2, disk: true}.apply(t, src, &o)
	o.DiskDir, o.DiskFS = "disk", files
	opened := 0
	for n := range 500 {
		d := &scarce{dev, n}
		e, err := Open(d, src, o, slog.New(slog.DiscardHandler))
		if err == nil {
			_, err = e.Generate(context.Background(), Request{IDs: someIDs(150, src.Config.Vocab), MaxTokens: 2, IgnoreEnd: true})
			if err == nil {
				opened++
			}
			e.Source = nil // it is used again
			if closing := e.Close(); closing != nil {
				t.Error(closing)
			}
		}
		if err != nil && !errors.Is(err, errScarce) {
			t.Fatalf("allocation %d: %v", n, err)
		}
		if left := dev.Allocated(); left != 0 {
			t.Fatalf("allocation %d: %d bytes are left", n, left)
		}
		if open := files.OpenFiles(); open != 0 {
			t.Fatalf("allocation %d: %d files are open", n, open)
		}
		waitGoroutines(t, goroutines)
		if opened > 0 {
			t.Logf("%d allocations", n)
			return
		}
	}
	t.Error("it never opened")
}

// TestTruncatedWhileRunning cuts the weights short before a request and in the
// middle of one, for weights that kernels read in place and for those that they
// expand, on one thread and on two: one line that names the file.
func TestTruncatedWhileRunning(t *testing.T) {
	for _, original := range []string{*sameModel, randomModel(t, 2, 8)} {
		for _, threads := range []int{1, 2} {
			for _, during := range []bool{false, true} {
				t.Run(fmt.Sprintf("threads %d, during %v", threads, during), func(t *testing.T) {
					dir := filepath.Join(t.TempDir(), "model")
					if err := os.CopyFS(dir, os.DirFS(original)); err != nil {
						t.Fatal(err)
					}
					cut := func() {
						if err := os.Truncate(filepath.Join(dir, "model.safetensors"), 100); err != nil {
							t.Error(err)
						}
					}
					dev, err := cpu.New(cpu.Options{Threads: threads})
					if err != nil {
						t.Fatal(err)
					}
					defer dev.Close()
					src, err := OpenSource(dir)
					if err != nil {
						t.Fatal(err)
					}
					o := NewOptions()
					o.Context = 100
					if during {
						o.OnSelect = func(layer int, _ compute.Tile, _ compute.Selection) {
							if layer == 0 {
								cut()
							}
						}
					}
					e, err := Open(dev, src, o, slog.New(slog.DiscardHandler))
					if err != nil {
						t.Fatal(err)
					}
					if !during {
						cut()
					}
					_, err = e.Generate(context.Background(), Request{IDs: someIDs(50, src.Config.Vocab), MaxTokens: 1})
					if !errors.Is(err, weights.ErrChanged) || !strings.Contains(err.Error(), "model.safetensors") || strings.Contains(err.Error(), "\n") {
						t.Errorf("error %v, want %v that names the file", err, weights.ErrChanged)
					}
					if s := e.store.Stats(); s.Sequences != 0 || s.Live != 0 {
						t.Errorf("%d sequences, %d blocks are left", s.Sequences, s.Live)
					}
					if err := e.Close(); err != nil {
						t.Error(err)
					}
					if n := dev.Allocated(); n != 0 {
						t.Errorf("%d bytes are left", n)
					}
				})
			}
		}
	}
}
