package cpu

import (
	"encoding/binary"
	"time"

	"nosa/dtype"
)

// What this machine can do at most, measured by the threads that compute: the
// figures that a step's bytes and operations are held against.

// probes are loops of a level that do one thing as fast as it can be done.
type probes struct {
	// read loads all bytes of p, whose length is a multiple of readStep.
	read func(p []byte)
	// madds runs n rounds of fused multiply-adds of float32 on registers and
	// returns the operations of one round, two for each. words and bytes do so for
	// products of int16 and of int8 that are summed in int32; 0 where the level has
	// no instruction for them.
	madds, words, bytes func(n int) int
}

// readStep is what a loop of read takes at a time.
const readStep = 512

// The time that a measurement takes, and the least number of passes in it: the best
// pass counts, since other programs can only make it slower.
const (
	probeTime   = 120 * time.Millisecond
	probePasses = 4
	passBytes   = 16 << 20 // that a thread reads in a pass, however small its share is
	passRounds  = 100_000  // of arithmetic in a pass
)

// Bandwidth is the bytes per second that all threads together read from a working
// set of about size bytes, which each thread has its own share of. It reads them
// over and over: what fits into a cache is read from there.
func (d *Device) Bandwidth(size int) (float64, error) { return d.bandwidth(size, probeTime) }

func (d *Device) bandwidth(size int, during time.Duration) (float64, error) {
	threads := len(d.team.workers)
	share := max(size/threads/readStep, 1) * readStep
	mem, err := d.Alloc(dtype.U8, threads, share)
	if err != nil {
		return 0, err
	}
	defer d.Free(mem)
	for i := 0; i < len(mem.Data); i += 512 { // a page that was never written to is no memory of its own
		mem.Data[i] = byte(i>>9) | 1
	}
	job := &readProbe{read: probesOf(d.kernels.name).read, mem: mem.Data, share: share, rounds: max(1, passBytes/share)}
	return float64(threads*share*job.rounds) * d.passes(job, during), nil
}

// Peak is operations per second of all threads together on values in registers, two
// for each product that is added to a sum: of float32, of int16 and of int8, both
// summed in int32; 0 where the kernels have no instruction for them.
func (d *Device) Peak() (f32, int16s, int8s float64) { return d.peak(probeTime) }

func (d *Device) peak(during time.Duration) (f32, int16s, int8s float64) {
	p := probesOf(d.kernels.name)
	rate := func(f func(int) int) float64 {
		each := f(1)
		if each == 0 {
			return 0
		}
		return float64(len(d.team.workers)*each*passRounds) * d.passes(arithmeticProbe(f), during)
	}
	return rate(p.madds), rate(p.words), rate(p.bytes)
}

// passes runs a job, a piece for each thread, for so long and tells how often in a
// second it could be run at its best.
func (d *Device) passes(job task, during time.Duration) float64 {
	best := time.Duration(1<<63 - 1)
	for start, n := time.Now(), 0; n < probePasses || time.Since(start) < during; n++ {
		pass := time.Now()
		d.team.do(job, len(d.team.workers))
		best = min(best, time.Since(pass))
	}
	return 1 / max(best, time.Nanosecond).Seconds()
}

// readProbe reads a share of memory, rounds times.
type readProbe struct {
	read   func([]byte)
	mem    []byte
	share  int
	rounds int
}

func (j *readProbe) run(_ *worker, piece int) {
	for range j.rounds {
		j.read(j.mem[piece*j.share:][:j.share])
	}
}

// arithmeticProbe runs rounds of arithmetic.
type arithmeticProbe func(n int) int

func (j arithmeticProbe) run(_ *worker, _ int) { j(passRounds) }

// probesGo are the loops of the portable level.
var probesGo = probes{read: readGo, madds: maddsGo, words: nothing, bytes: nothing}

func nothing(int) int { return 0 }

func readGo(p []byte) {
	var a, b, c, d uint64
	for ; len(p) >= 32; p = p[32:] {
		a |= binary.LittleEndian.Uint64(p)
		b |= binary.LittleEndian.Uint64(p[8:])
		c |= binary.LittleEndian.Uint64(p[16:])
		d |= binary.LittleEndian.Uint64(p[24:])
	}
	if a|b|c|d == 0 {
		neverZero(p)
	}
}

// neverZero keeps the compiler from leaving a loop out whose result nobody wants.
//
//go:noinline
func neverZero([]byte) {}

func maddsGo(n int) int {
	const lanes = 8
	x, y := float32(0.9999999), float32(1e-9)
	var a [lanes]float32
	for range n {
		a[0], a[1], a[2], a[3] = a[0]*x+y, a[1]*x+y, a[2]*x+y, a[3]*x+y
		a[4], a[5], a[6], a[7] = a[4]*x+y, a[5]*x+y, a[6]*x+y, a[7]*x+y
	}
	if a[0]+a[1]+a[2]+a[3]+a[4]+a[5]+a[6]+a[7] < 0 {
		neverZero(nil)
	}
	return 2 * lanes
}
