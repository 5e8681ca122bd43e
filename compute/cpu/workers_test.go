package cpu

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// tally is a task whose pieces count themselves and give way, so that helpers are
// caught at every point of the hand-over.
type tally struct {
	counts [16]atomic.Int32
	yield  bool
}

func (c *tally) run(_ *worker, piece int) {
	c.counts[piece].Add(1)
	if c.yield {
		runtime.Gosched()
	}
}

// TestTeamFinishes calls a team many times, with more threads than processors,
// and expects every piece to have run once, and all of them before the call
// returns: a helper that is late with the end of one call must not end the next.
func TestTeamFinishes(t *testing.T) {
	for _, threads := range []int{2, 3, 7} {
		team := newTeam(threads)
		for _, noise := range []bool{false, true} {
			stop := make(chan struct{})
			if noise { // goroutines that take the processors away
				for range runtime.GOMAXPROCS(0) {
					go func() {
						for {
							select {
							case <-stop:
								return
							default:
								runtime.Gosched()
							}
						}
					}()
				}
			}
			for call := range 3000 {
				job := &tally{yield: call%3 == 0}
				pieces := 1 + call%len(job.counts)
				team.do(job, pieces)
				for i := range job.counts {
					want := int32(0)
					if i < pieces {
						want = 1
					}
					if got := job.counts[i].Load(); got != want {
						t.Fatalf("%d threads, call %d: piece %d of %d ran %d times", threads, call, i, pieces, got)
					}
				}
			}
			close(stop)
		}
		team.close()
	}
}

// idleTask is a task without work.
type idleTask struct{}

func (idleTask) run(*worker, int) {}

// BenchmarkDispatch is what an op costs beside its work: two pieces with nothing to
// do, called again after a pause that the caller spends computing. Nanoseconds are
// those of the call alone.
func BenchmarkDispatch(b *testing.B) {
	for _, pause := range []time.Duration{0, 2 * time.Microsecond, 10 * time.Microsecond, 40 * time.Microsecond, 500 * time.Microsecond} {
		b.Run(fmt.Sprintf("threads=2/pause=%v", pause), func(b *testing.B) {
			team := newTeam(2)
			defer team.close()
			var job idleTask
			var spent time.Duration
			for b.Loop() {
				began := time.Now()
				for time.Since(began) < pause {
				}
				began = time.Now()
				team.do(job, 2)
				spent += time.Since(began)
			}
			b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "ns/call")
		})
	}
}
