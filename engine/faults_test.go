package engine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nosa/compute/cpu"
	"nosa/kv"
	"nosa/kv/vfs"
)

// faultRig is an engine over a disk that fails when it is told to.
type faultRig struct {
	e     *Engine
	disk  *vfs.Faults
	count atomic.Int64 // transfers of the running request
	at    atomic.Int64 // the one that fails
	kind  atomic.Int32
	sum   []byte
	dev   *cpu.Device
	files *vfs.Memory
}

const faultPrompt, faultGenerate = 300, 20

// newFaultRig gives transfers as long as they take, or so long where one is to
// hang.
func newFaultRig(t *testing.T, timeout time.Duration) *faultRig {
	t.Helper()
	r := &faultRig{files: &vfs.Memory{}}
	r.at.Store(-1)
	r.disk = &vfs.Faults{FS: r.files, Plan: func(op vfs.Op) vfs.Fault {
		kind, n, at := vfs.Fault(r.kind.Load()), r.count.Add(1)-1, r.at.Load()
		switch {
		case at < 0 || n < at:
			return vfs.None
		case kind == vfs.WriteError || kind == vfs.NoSpace:
			// A write that fails once is tried again and does no harm; a disk that
			// stays full or broken does.
			if op.Write {
				return kind
			}
			return vfs.None
		case n == at:
			return kind
		}
		return vfs.None
	}}
	var err error
	if r.dev, err = cpu.New(cpu.Options{Threads: 1}); err != nil {
		t.Fatal(err)
	}
	src, err := OpenSource(*sameModel)
	if err != nil {
		t.Fatal(err)
	}
	o := NewOptions()
	o.Attention, o.Context, o.Chunk = "nosa", faultPrompt+faultGenerate, 100
	h := sha256.New()
	o.OnLogits = func(pos int, logits []float32) {
		if pos == 0 {
			h.Reset()
		}
		for _, v := range logits {
			_ = binary.Write(h, binary.LittleEndian, math.Float32bits(v))
		}
		r.sum = h.Sum(r.sum[:0])
	}
	budget{device: 0.1, host: 0.1, disk: true}.apply(t, src, &o)
	o.DiskDir, o.DiskFS, o.Timeout = "disk", r.disk, timeout
	if r.e, err = Open(testDevice(r.dev), src, o, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *faultRig) close(t *testing.T) {
	t.Helper()
	if err := r.e.Close(); err != nil {
		t.Error(err)
	}
	if err := r.dev.Close(); err != nil {
		t.Error(err)
	}
}

// ask runs one request; fault kind strikes at transfer number at.
func (r *faultRig) ask(ctx context.Context, kind vfs.Fault, at int64) error {
	ids := make([]int32, faultPrompt)
	for i := range ids {
		ids[i] = int32((i*i + 3*i) % r.e.model.Vocab)
	}
	r.count.Store(0)
	r.kind.Store(int32(kind))
	r.at.Store(at)
	_, err := r.e.Generate(ctx, Request{IDs: ids, MaxTokens: faultGenerate, IgnoreEnd: true})
	r.at.Store(-1)
	r.disk.Release()
	return err
}

// TestFaults lets each kind of fault strike at random transfers of a request. The
// request either ends with an error that names a block or the disk, or, where the
// fault did no harm, with its right bits; and the next request on the same engine
// gives the right bits, the books balanced.
func TestFaults(t *testing.T) {
	points := 12
	if testing.Short() {
		points = 4
	}
	if *faultPoints > 0 {
		points = *faultPoints
	}
	goroutines := runtime.NumGoroutine()
	for _, kind := range []vfs.Fault{vfs.FlipBit, vfs.ShortRead, vfs.ReadError, vfs.WriteError, vfs.NoSpace, vfs.Vanish, vfs.Stall} {
		t.Run(kind.String(), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(uint64(kind), 1))
			points, timeout := points, time.Duration(0)
			if kind == vfs.Stall {
				timeout = 2 * time.Second
				if *faultPoints == 0 {
					points = 2 // each is waited out
				}
			}
			r := newFaultRig(t, timeout)
			if err := r.ask(context.Background(), vfs.None, -1); err != nil {
				t.Fatal(err)
			}
			right, transfers := fmt.Sprintf("%x", r.sum), r.count.Load()
			failed := 0
			for i := range points {
				at := rnd.Int64N(transfers)
				if i == 0 && (kind == vfs.WriteError || kind == vfs.NoSpace) {
					at = 0 // near the end no write may follow; from the start some must
				}
				err := r.ask(context.Background(), kind, at)
				switch {
				case err == nil:
					if got := fmt.Sprintf("%x", r.sum); got != right {
						t.Fatalf("point %d: no error, and logits %s instead of %s", i, got, right)
					}
				case !strings.Contains(err.Error(), "block") && !strings.Contains(err.Error(), "--kv-disk"):
					t.Errorf("point %d: %q names neither a block nor the disk", i, err)
				case strings.Contains(err.Error(), "\n"):
					t.Errorf("point %d: %q is more than one line", i, err)
				default:
					failed++
				}
				if kind == vfs.FlipBit && err != nil && !errors.Is(err, kv.ErrCorrupt) {
					t.Errorf("point %d: %v is not %v", i, err, kv.ErrCorrupt)
				}
				r.settle(t)
				if kind == vfs.Vanish { // the file is gone for good: a new engine
					r.close(t)
					if n := r.files.OpenFiles(); n != 0 {
						t.Fatalf("%d files open", n)
					}
					r = newFaultRig(t, timeout)
				}
				if err := r.ask(context.Background(), vfs.None, -1); err != nil {
					t.Fatalf("point %d: the request after the failed one: %v", i, err)
				}
				if got := fmt.Sprintf("%x", r.sum); got != right {
					t.Fatalf("point %d: the request after it has logits %s instead of %s", i, got, right)
				}
			}
			if failed == 0 {
				t.Errorf("%d faults, and no request failed", points)
			}
			t.Logf("%d of %d requests failed, each with a named cause", failed, points)
			r.close(t)
			if n := r.files.OpenFiles(); n != 0 {
				t.Errorf("%d files open", n)
			}
			if n := r.dev.Allocated(); n != 0 {
				t.Errorf("%d bytes of device memory not given back", n)
			}
		})
	}
	waitGoroutines(t, goroutines)
}

// settle waits until no transfer is under way, and checks the books.
func (r *faultRig) settle(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); r.e.store.Stats().UnderWay > 0; {
		if time.Now().After(deadline) {
			t.Fatal("transfers are still under way")
		}
		time.Sleep(time.Millisecond)
	}
	if err := r.e.store.Check(); err != nil {
		t.Fatal(err)
	}
	if s := r.e.store.Stats(); s.Live != 0 || s.InSlot != 0 || s.InHost != 0 || s.OnDisk != 0 || s.Sequences != 0 {
		t.Fatalf("after the request: %d blocks live, %d in slots, %d in host pages, %d on disk, %d sequences", s.Live, s.InSlot, s.InHost, s.OnDisk, s.Sequences)
	}
}

func waitGoroutines(t *testing.T, want int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d at the start", runtime.NumGoroutine(), want)
		}
	}
}

// TestCancel ends requests at random moments and expects that nothing of them is
// left and the next one is right.
func TestCancel(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	r := newFaultRig(t, 0)
	if err := r.ask(context.Background(), vfs.None, -1); err != nil {
		t.Fatal(err)
	}
	right := fmt.Sprintf("%x", r.sum)
	rnd := rand.New(rand.NewPCG(5, 6))
	cancelled := 0
	for range 40 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rnd.IntN(20000))*time.Microsecond)
		err := r.ask(ctx, vfs.None, -1)
		cancel()
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			cancelled++
		}
		r.settle(t)
	}
	if cancelled == 0 {
		t.Error("no request was cut short")
	}
	if err := r.ask(context.Background(), vfs.None, -1); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", r.sum); got != right {
		t.Errorf("logits %s after the cancelled ones, %s before", got, right)
	}
	r.close(t)
	waitGoroutines(t, goroutines)
}
