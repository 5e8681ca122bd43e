package cpu

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
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
	panel  []float32 // expanded weights
	keys   []float32 // a block's expanded keys
	values []float32 // and values
	logits []float32 // of one step of rows
	sum    []float32 // of a group's scores
	state  [2]float32
	pairs  []float32 // minima, then scales, of a block's channels
	rows   []int     // of a tile that want a block
	next   []int     // by row: place in its selection
	codes  []byte    // of a block, one a byte
	in     []bool    // by block: chosen
	order  []uint64  // of the blocks that may be chosen

	started uint32        // calls that this worker has seen
	calls   atomic.Uint32 // calls that want it
	parked  atomic.Bool   // it waits on wake
	wake    chan struct{}
}

// team hands the pieces of one task at a time to its workers. It creates no
// goroutine after newTeam and allocates nothing per call.
type team struct {
	workers []*worker
	ended   sync.WaitGroup
	closed  atomic.Bool

	task    task
	pieces  int64
	next    atomic.Int64 // piece that nobody has taken yet
	working atomic.Int32 // helpers that have not finished
	waiting atomic.Bool  // the caller waits on done
	done    chan struct{}
	failed  atomic.Pointer[failure]
}

// failure is a panic of a helper, on its way to the caller's goroutine.
type failure struct {
	value any
	stack []byte
}

// spins is how often a worker looks for work before it parks: some ten
// microseconds, about the pause between the ops of a decode step.
const spins = 4000

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
	t.working.Store(int32(helpers))
	for _, w := range t.workers[1 : 1+helpers] {
		t.call(w)
	}
	t.take(t.workers[0])
	t.wait()
	t.task = nil
	if f := t.failed.Swap(nil); f != nil {
		panic(fmt.Sprintf("%v\n\nraised by a worker:\n%s", f.value, f.stack))
	}
}

func (t *team) call(w *worker) {
	w.calls.Add(1)
	if w.parked.Swap(false) {
		w.wake <- struct{}{}
	}
}

// serve is the life of a helper.
func (t *team) serve(w *worker) {
	defer t.ended.Done()
	for {
		w.await()
		if t.closed.Load() {
			return
		}
		t.take(w)
		if t.working.Add(-1) == 0 && t.waiting.Swap(false) {
			t.done <- struct{}{}
		}
	}
}

// await returns when there is a call that the worker has not seen.
func (w *worker) await() {
	defer func() { w.started++ }()
	for i := range spins {
		if w.calls.Load() != w.started {
			return
		}
		if i%256 == 255 {
			runtime.Gosched()
		}
	}
	w.parked.Store(true)
	// A call before this look left parked as it was, or took it and sends.
	if w.calls.Load() != w.started && w.parked.Swap(false) {
		return
	}
	<-w.wake
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

// wait returns when every helper has finished.
func (t *team) wait() {
	for i := range spins {
		if t.working.Load() == 0 {
			return
		}
		if i%256 == 255 {
			runtime.Gosched()
		}
	}
	t.waiting.Store(true)
	if t.working.Load() == 0 && t.waiting.Swap(false) {
		return
	}
	<-t.done
}

// room returns buf with at least n elements, grown when it is too short.
func room[T any](buf *[]T, n int) []T {
	if cap(*buf) < n {
		*buf = make([]T, n)
	}
	return (*buf)[:n]
}
