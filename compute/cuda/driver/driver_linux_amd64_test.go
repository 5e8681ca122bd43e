package driver

import (
	"errors"
	"testing"
)

// open is the first GPU, or the end of the test.
func open(t *testing.T) *Context {
	t.Helper()
	d, err := Load()
	if errors.Is(err, ErrNoDriver) {
		t.Skipf("needs a GPU: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestProperties(t *testing.T) {
	c := open(t)
	v, err := c.d.Version()
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.d.Properties(0)
	if err != nil {
		t.Fatal(err)
	}
	free, total, err := c.Memory()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("driver %d, %+v, free %d of %d", v, p, free, total)
	if p.Name == "" || p.Major < 1 || p.Processors < 1 || p.L2 < 1 || p.Memory < total || free < 1 || free > total {
		t.Errorf("impossible: %+v, free %d of %d", p, free, total)
	}
	if _, err := c.d.Open(99); err == nil {
		t.Error("GPU 99 opens")
	}
}

// TestCopies: pinned memory to the GPU and back, with memset, copies on it, streams
// and events, and nothing of it left.
func TestCopies(t *testing.T) {
	c := open(t)
	copies(t, c) // the driver keeps some of what the first ones take
	before, _, err := c.Memory()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		copies(t, c)
	}
	if after, _, err := c.Memory(); err != nil || after != before {
		t.Errorf("%d bytes free, %d before; %v", after, before, err)
	}
}

func copies(t *testing.T, c *Context) {
	t.Helper()
	const n = 8 << 20
	host, err := c.AllocHost(n)
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.Alloc(n)
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.Alloc(n)
	if err != nil {
		t.Fatal(err)
	}
	s1, err1 := c.NewStream(0)
	s2, err2 := c.NewStream(-1)
	e, err3 := c.NewEvent(false)
	from, err4 := c.NewEvent(true)
	to, err5 := c.NewEvent(true)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	for i := range host {
		host[i] = byte(i * 31)
	}
	c.Record(from, s1)
	c.CopyIn(s1, a, addressOf(host), n)
	c.Memset(s1, a, 7, 100)
	c.Copy(s1, b, a, n)
	c.Record(e, s1)
	c.Record(to, s1)
	c.Wait(s2, e)
	c.CopyOut(s2, addressOf(host), b, n)
	if err := c.Synchronize(s2); err != nil {
		t.Fatal(err)
	}
	for i, v := range host {
		want := byte(i * 31)
		if i < 100 {
			want = 7
		}
		if v != want {
			t.Fatalf("byte %d is %d, want %d", i, v, want)
		}
	}
	if err := c.WaitHost(to); err != nil {
		t.Fatal(err)
	}
	if ms, err := c.Elapsed(from, to); err != nil || !(ms > 0 && ms < 10_000) {
		t.Errorf("%v ms, %v", ms, err)
	}
	if err := errors.Join(c.Err(), c.FreeEvent(e), c.FreeEvent(from), c.FreeEvent(to), c.FreeStream(s1), c.FreeStream(s2),
		c.Free(a), c.Free(b), c.FreeHost(host)); err != nil {
		t.Fatal(err)
	}
}

// TestErrors: what can not be is refused with the driver's name for it, at once or by Err.
func TestErrors(t *testing.T) {
	c := open(t)
	_, err := c.Alloc(1 << 50)
	var e *Error
	if !errors.Is(err, ErrMemory) || !errors.As(err, &e) || e.Name != "CUDA_ERROR_OUT_OF_MEMORY" || e.Call != "cuMemAlloc_v2" {
		t.Errorf("a petabyte: %v", err)
	}
	if _, err := c.LoadModule(make([]byte, 64)); err == nil {
		t.Error("zeros load as a module")
	}
	if err := c.Err(); err != nil {
		t.Errorf("Err before: %v", err)
	}
	c.Record(0, 0) // no event
	if err := c.Err(); !errors.As(err, &e) || e.Call != "cuEventRecord" {
		t.Errorf("an event that is none: %v", err)
	}
	if err := c.Err(); err != nil {
		t.Errorf("an error comes twice: %v", err)
	}
}

// TestGraph: what is captured is done once per launch.
func TestGraph(t *testing.T) {
	c := open(t)
	s, err := c.NewStream(0)
	if err != nil {
		t.Fatal(err)
	}
	const n = 1 << 20
	host, err1 := c.AllocHost(n)
	a, err2 := c.Alloc(2 * n)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	record := func(v byte) Graph {
		if err := c.BeginCapture(s); err != nil {
			t.Fatal(err)
		}
		c.Memset(s, a, v, n)
		c.Copy(s, a+n, a, n)
		c.CopyOut(s, addressOf(host), a+n, n)
		g, err := c.EndCapture(s)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	g := record(3)
	x, err := c.Instantiate(g)
	if err != nil {
		t.Fatal(err)
	}
	check := func(want byte) {
		clear(host)
		c.LaunchGraph(x, s)
		if err := errors.Join(c.Synchronize(s), c.Err()); err != nil {
			t.Fatal(err)
		}
		if host[0] != want || host[n-1] != want {
			t.Fatalf("the graph leaves %d and %d, want %d", host[0], host[n-1], want)
		}
	}
	check(3)
	check(3)
	other := record(9)
	if err := c.UpdateGraph(x, other); err != nil {
		t.Fatal(err)
	}
	check(9)
	if err := errors.Join(c.FreeGraphExec(x), c.FreeGraph(g), c.FreeGraph(other), c.Free(a), c.FreeHost(host), c.FreeStream(s)); err != nil {
		t.Fatal(err)
	}
}
