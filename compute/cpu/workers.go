package cpu

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// task is an op cut into pieces that write to places of their own. Which worker
// runs which piece, and how many pieces there are, must not show in the result.
type task interface {
	run(w *worker, piece int)
}

// worker is one thread of an op: the caller's goroutine is worker 0, the others
// live from New to Close. Its buffers serve the op that runs and carry nothing
// over.
type worker struct {
	panel     []float32 // expanded weights
	spare     []float32 // eight rows of them
	edge      []float32 // results of tiles that reach beyond them
	rowPack   []float32 // of worker 0: the rows, for tiles
	attend    attendWork
	documents documentsWork
	sum       []float32 // of a group's scores
	pairs     []float32 // minima, then scales, of a block's channels
	codes     []byte    // of a block, one a byte
	score     scoreMemory

	packed  []byte // a panel of a weight that was not loaded
	opened  []byte // a panel for many rows
	outputs [8 * panelOutputs]float32

	row  []float64 // a row's gradient
	tops []float32 // maxima of a row's pieces

	started uint32        // calls that this worker has seen
	calls   atomic.Uint32 // calls that want it
	ended   atomic.Uint32 // calls that it has finished
	parked  atomic.Bool   // it waits on wake
	wake    chan struct{}
}

// team hands the pieces of one task at a time to its workers. It creates no
// goroutine after newTeam and allocates nothing per call.
//
// Where one side sets a flag and then looks at what the other one sets, the flag is
// swapped in: on amd64 a Store is the same, and QEMU, which runs the tests for arm64,
// lets the load overtake a store, so that both sides would wait.
type team struct {
	workers []*worker
	ended   sync.WaitGroup
	closed  atomic.Bool

	task    task
	pieces  int64
	next    atomic.Int64  // piece that nobody has taken yet
	waiting atomic.Bool   // the caller waits on done
	done    chan struct{} // says: look again; one that comes late says it for nothing
	failed  atomic.Pointer[failure]
}

// failure is a panic of a helper, on its way to the caller's goroutine.
type failure struct {
	value any
	stack []byte
}

// spinTime is how long a worker looks for work before it parks: a decode step,
// whose ops follow each other in microseconds, wakes nobody, and an engine at rest
// leaves the processor alone.
const spinTime = 100 * time.Microsecond

// looks is how often a worker looks before it lets other goroutines run and
// glances at the clock. There is no PAUSE between looks: a virtual machine may take
// the processor away for it, which cost microseconds where this was measured.
const looks = 256

// spin counts the looks of a wait.
type spin struct {
	n     int
	began time.Time
}

// more reports whether to look again.
func (s *spin) more() bool {
	s.n++
	return s.n%looks != 0 || s.yield()
}

func (s *spin) yield() bool {
	runtime.Gosched()
	if s.n == looks {
		s.began = time.Now()
		return true
	}
	return s.n%(8*looks) != 0 || time.Since(s.began) < spinTime
}

func newTeam(threads int) *team {
	t := &team{done: make(chan struct{}, 1)}
	for range threads {
		t.workers = append(t.workers, &worker{wake: make(chan struct{}, 1)})
	}
	for _, w := range t.workers[1:] {
		t.ended.Add(1)
		go t.serve(w)
	}
	return t
}

// close ends the helpers and waits for them.
func (t *team) close() {
	if t.closed.Swap(true) {
		return
	}
	for _, w := range t.workers[1:] {
		t.call(w)
	}
	t.ended.Wait()
}

// do runs all pieces of a task and returns when they are done.
func (t *team) do(job task, pieces int) {
	helpers := min(len(t.workers), pieces) - 1
	if helpers <= 0 {
		for i := range pieces {
			job.run(t.workers[0], i)
		}
		return
	}
	t.task, t.pieces = job, int64(pieces)
	t.next.Store(0)
	for _, w := range t.workers[1 : 1+helpers] {
		t.call(w)
	}
	t.take(t.workers[0])
	t.wait(t.workers[1 : 1+helpers])
	t.task = nil
	if f := t.failed.Swap(nil); f != nil {
		if _, fault := f.value.(interface{ Addr() uintptr }); fault {
			panic(f.value) // a mapped file was cut short: the caller may know what to do
		}
		panic(fmt.Sprintf("%v\n\nraised by a worker:\n%s", f.value, f.stack))
	}
}

func (t *team) call(w *worker) {
	w.calls.Add(1)
	if w.parked.Load() && w.parked.Swap(false) {
		w.wake <- struct{}{}
	}
}

// serve is the life of a helper.
func (t *team) serve(w *worker) {
	defer t.ended.Done()
	debug.SetPanicOnFault(true) // as the caller's goroutine, for take to pass on
	for {
		w.await()
		if t.closed.Load() {
			return
		}
		t.take(w)
		// From here on the caller may be in its next call: what follows may only
		// make it look once more.
		w.ended.Swap(w.started)
		if t.waiting.Load() && t.waiting.Swap(false) {
			select {
			case t.done <- struct{}{}:
			default:
			}
		}
	}
}

// await returns when there is a call that the worker has not seen, and counts it
// as seen.
func (w *worker) await() {
	for {
		for s := (spin{}); s.more(); {
			if w.calls.Load() != w.started {
				w.started++
				return
			}
		}
		w.parked.Swap(true)
		// A call before this look left parked as it was, or took it and sends.
		if w.calls.Load() != w.started && w.parked.Swap(false) {
			continue
		}
		// A caller that was held up between its two steps may wake the worker for a
		// call that it has already answered: look again.
		<-w.wake
	}
}

// take runs pieces until none are left.
func (t *team) take(w *worker) {
	defer func() {
		if v := recover(); v != nil {
			buf := make([]byte, 16<<10)
			t.failed.CompareAndSwap(nil, &failure{v, buf[:runtime.Stack(buf, false)]})
			t.next.Store(t.pieces) // what is left is of no use any more
		}
	}()
	for {
		i := t.next.Add(1) - 1
		if i >= t.pieces {
			return
		}
		t.task.run(w, int(i))
	}
}

// wait returns when every helper has finished its last call.
func (t *team) wait(helpers []*worker) {
	for s := (spin{}); s.more(); {
		if finished(helpers) {
			return
		}
	}
	for {
		t.waiting.Swap(true)
		// A helper that ends before this look is seen by it; one that ends later
		// finds waiting set.
		if finished(helpers) {
			t.waiting.Store(false)
			return
		}
		<-t.done
	}
}

func finished(helpers []*worker) bool {
	for _, w := range helpers {
		if w.ended.Load() != w.calls.Load() {
			return false
		}
	}
	return true
}

// room returns buf with at least n elements, grown when it is too short.
func room[T any](buf *[]T, n int) []T {
	if cap(*buf) < n {
		*buf = make([]T, n)
	}
	return (*buf)[:n]
}
