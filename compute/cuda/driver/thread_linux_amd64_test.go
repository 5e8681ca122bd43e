package driver

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"
	"unsafe"
)

// aThread is the thread of C of the tests, one for all.
var aThread = sync.OnceValues(newThread)

func needThread(t *testing.T) *thread {
	t.Helper()
	th, err := aThread()
	if errors.Is(err, ErrNoDriver) {
		t.Skipf("no glibc on this machine: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return th
}

// TestThread: C's functions run, with many arguments, threads of their own and TLS.
func TestThread(t *testing.T) {
	th := needThread(t)
	libc, err := th.open("libc.so.6")
	if err != nil {
		t.Fatal(err)
	}
	fn := func(name string) uintptr {
		f := th.symbol(libc, name)
		if f == 0 {
			t.Fatalf("libc has no %s", name)
		}
		return f
	}
	if got := th.call(fn("getpid")); int(got) != os.Getpid() {
		t.Errorf("getpid: %d, want %d", got, os.Getpid())
	}
	f, malloc, free := fn("snprintf"), fn("malloc"), fn("free")
	create, join, pid := fn("pthread_create"), fn("pthread_join"), fn("getpid")
	th.calls.Lock()
	defer th.calls.Unlock()
	out := uintptr(unsafe.Pointer(&th.out[0]))
	format, err := th.text("%d %d %d %d %d %d %d %d %d")
	if err != nil {
		t.Fatal(err)
	}
	// Twelve arguments: half of them lie on the stack.
	th.call(f, out, 100, format, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	if got, want := cString(out), "1 2 3 4 5 6 7 8 9"; got != want {
		t.Errorf("snprintf of nine numbers: %q, want %q", got, want)
	}
	for range 200 {
		p := th.call(malloc, 100_000)
		if p == 0 {
			t.Fatal("malloc failed")
		}
		th.call(free, p)
	}
	if r := th.call(create, out, 0, pid, 0); r != 0 {
		t.Fatalf("pthread_create: %d", r)
	}
	id := *(*uintptr)(unsafe.Pointer(&th.out[0]))
	if r := th.call(join, id, out); r != 0 {
		t.Fatalf("pthread_join: %d", r)
	}
	if got := *(*int32)(unsafe.Pointer(&th.out[0])); int(got) != os.Getpid() {
		t.Errorf("getpid on a thread of C's: %d, want %d", got, os.Getpid())
	}
}

// TestPost: commands run once each and in order, from many goroutines, under the
// collector and the signals by which Go takes threads from loops.
func TestPost(t *testing.T) {
	th := needThread(t)
	libc, err := th.open("libc.so.6")
	if err != nil {
		t.Fatal(err)
	}
	abs, usleep := th.symbol(libc, "labs"), th.symbol(libc, "usleep")
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 3000 {
				switch {
				case i%1000 == 7:
					th.wait(th.post(nil, 0, usleep, []uintptr{2000}, nil, 0))
					runtime.GC()
				case i%10 == 0:
					n := th.post(nil, 0, abs, []uintptr{uintptr(-(g*10000 + i))}, nil, 0)
					th.wait(n)
				default:
					th.post(nil, 0, abs, []uintptr{uintptr(i)}, nil, 0)
				}
			}
		})
	}
	wg.Wait()
	th.wait(th.c.head.Load())
	if h, d := th.c.head.Load(), th.c.tail.Load(); h != d {
		t.Errorf("%d commands posted, %d done", h, d)
	}
}

// TestFailure: the first result that is not 0 is kept, with its tag.
func TestFailure(t *testing.T) {
	th := needThread(t)
	libc, err := th.open("libc.so.6")
	if err != nil {
		t.Fatal(err)
	}
	abs := th.symbol(libc, "labs")
	p, err := mapPages(4096)
	if err != nil {
		t.Fatal(err)
	}
	fail := (*Failure)(p)
	for i, v := range []uintptr{0, 0, 7, 9, 0} {
		th.post(fail, uintptr(i), abs, []uintptr{v}, nil, 0)
	}
	th.wait(th.c.head.Load())
	if r, tag := fail.result.Load(), fail.tag.Load(); r != 7 || tag != 2 {
		t.Errorf("kept result %d of command %d, want 7 of command 2", r, tag)
	}
}

// TestParams: a parameter lies where the list of pointers says.
func TestParams(t *testing.T) {
	th := needThread(t)
	libc, err := th.open("libc.so.6")
	if err != nil {
		t.Fatal(err)
	}
	move := th.symbol(libc, "memcpy")
	th.calls.Lock()
	defer th.calls.Unlock()
	out := uintptr(unsafe.Pointer(&th.out[0]))
	th.wait(th.post(nil, 0, move, []uintptr{out, 0, 8}, []byte("kernel"), 1)) // the list
	p := *(*uintptr)(unsafe.Pointer(&th.out[0]))
	th.wait(th.post(nil, 0, move, []uintptr{out, p, 7}, nil, 0)) // what it names
	if got := cString(out); got != "kernel" {
		t.Errorf("parameter is %q", got)
	}
}

func TestOpenMissing(t *testing.T) {
	th := needThread(t)
	if _, err := th.open("libnosa-none.so.9"); !errors.Is(err, ErrNoDriver) {
		t.Errorf("a library that is not there: %v, want ErrNoDriver", err)
	}
}

func BenchmarkPost(b *testing.B) {
	th, err := aThread()
	if err != nil {
		b.Skip(err)
	}
	libc, err := th.open("libc.so.6")
	if err != nil {
		b.Fatal(err)
	}
	abs := th.symbol(libc, "labs")
	args := []uintptr{1}
	for b.Loop() {
		th.post(nil, 0, abs, args, nil, 0)
	}
	th.wait(th.c.head.Load())
}

func BenchmarkCall(b *testing.B) {
	th, err := aThread()
	if err != nil {
		b.Skip(err)
	}
	libc, err := th.open("libc.so.6")
	if err != nil {
		b.Fatal(err)
	}
	abs := th.symbol(libc, "labs")
	args := []uintptr{1}
	for b.Loop() {
		th.wait(th.post(nil, 0, abs, args, nil, 0))
	}
}
