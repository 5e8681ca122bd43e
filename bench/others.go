package bench

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// What other programs take of the machine while something is measured makes a
// figure low, and nothing in the figure itself says so. Linux counts it.

// clock is the processor time that the machine and this process have used.
type clock struct {
	at   time.Time
	all  time.Duration // by anybody, over all processors
	self time.Duration
	ok   bool
}

// now reads the counters; where there are none the clock is not ok.
func now() clock {
	c := clock{at: time.Now()}
	machine, err1 := os.ReadFile("/proc/stat")
	self, err2 := os.ReadFile("/proc/self/stat")
	if err1 != nil || err2 != nil {
		return c
	}
	var ok1, ok2 bool
	c.all, ok1 = busy(string(machine))
	c.self, ok2 = used(string(self))
	c.ok = ok1 && ok2
	return c
}

// tick is Linux's unit of processor time for people, whatever the kernel's own is.
const tick = 10 * time.Millisecond

// busy sums the first line of /proc/stat: user, nice, system, not idle and iowait,
// then interrupts and what the host takes. Guests are in user already.
func busy(stat string) (time.Duration, bool) {
	line, _, _ := strings.Cut(stat, "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, false
	}
	var ticks int64
	for _, i := range []int{1, 2, 3, 6, 7, 8} {
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, false
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, true
}

// used sums utime and stime of /proc/self/stat, whose second field is a name in
// brackets that may hold anything.
func used(stat string) (time.Duration, bool) {
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 13 {
		return 0, false
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * tick, err1 == nil && err2 == nil
}

// share is processor time of others, out of all that there was.
type share struct{ others, all time.Duration }

// since is what others took from then to now, beside this process and a peer that
// has used so much and has ended.
func (then clock) since(peer time.Duration) share {
	c := now()
	if !then.ok || !c.ok {
		return share{}
	}
	return share{
		others: c.all - then.all - (c.self - then.self) - peer, // a tick more or less, and so at times below 0
		all:    c.at.Sub(then.at) * time.Duration(runtime.NumCPU()),
	}
}

func (s *share) add(o share) {
	s.others += o.others
	s.all += o.all
}

// part is the share as a fraction; 0 also where it is not known, or what was
// measured is too short for the unit that it is counted in.
func (s share) part() float64 {
	if s.all < 50*tick {
		return 0
	}
	return max(0, min(1, float64(s.others)/float64(s.all)))
}
