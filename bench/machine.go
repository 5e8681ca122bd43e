package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
)

// Prober is a device that can tell what it can do at most. A device that is none
// has no roofline.
type Prober interface {
	// Bandwidth reads a working set of size bytes over and over and returns bytes
	// per second.
	Bandwidth(size int) (float64, error)
	// Peak is operations per second in registers, two for each product that is added
	// to a sum: of float32, of int16 and of int8; 0 without instructions for them.
	Peak() (f32, int16s, int8s float64)
}

// Machine is what was measured before anything else.
type Machine struct {
	Kind      string    `json:"kind"` // machine
	Processor string    `json:"processor"`
	Device    string    `json:"device"`
	Threads   int       `json:"n_threads"`
	Reads     []Reading `json:"bandwidth"`   // by working set, ascending; empty: not measured
	PeakF32   float64   `json:"peak_f32"`    // operations per second
	PeakInt16 float64   `json:"peak_int16"`  // 0: no instruction for them
	PeakInt8  float64   `json:"peak_int8"`   // likewise
	Available int64     `json:"memory_free"` // bytes that the process may take; 0: unknown
}

// Reading is how fast a working set is read.
type Reading struct {
	Bytes int     `json:"bytes"`
	Rate  float64 `json:"bytes_per_second"`
}

// workingSets are those that are measured. The least fits into the second cache of
// a core and is taken for each thread; the largest is beyond any cache.
var workingSets = []int{256 << 10, 4 << 20, 25_000_000, 100_000_000, 300_000_000, 600_000_000, 1_000_000_000}

// Probe measures the machine, some two seconds. Working sets that would take more
// than a quarter of the memory that is free (0: unknown) are left out.
func Probe(ctx context.Context, dev any, info string, threads int, free int64) (*Machine, error) {
	m := &Machine{Kind: "machine", Processor: processor(), Device: info, Threads: threads, Available: free}
	p, ok := dev.(Prober)
	if !ok {
		return m, nil
	}
	m.PeakF32, m.PeakInt16, m.PeakInt8 = p.Peak()
	for i, size := range workingSets {
		if i == 0 {
			size *= threads
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if free > 0 && int64(size) > free/4 {
			break
		}
		if n := len(m.Reads); n > 0 && size <= m.Reads[n-1].Bytes { // of many threads the least is large
			continue
		}
		rate, err := p.Bandwidth(size)
		if err != nil {
			return nil, fmt.Errorf("measuring how fast %d bytes are read: %w", size, err)
		}
		m.Reads = append(m.Reads, Reading{size, rate})
	}
	return m, nil
}

// Bandwidth is how fast a working set of so many bytes is read: between two that
// were measured, by the logarithm of the size; 0 if none was.
func (m *Machine) Bandwidth(bytes float64) float64 {
	if len(m.Reads) == 0 {
		return 0
	}
	for i, r := range m.Reads {
		if bytes > float64(r.Bytes) {
			continue
		}
		if i == 0 {
			return r.Rate
		}
		low := m.Reads[i-1]
		part := math.Log(bytes/float64(low.Bytes)) / math.Log(float64(r.Bytes)/float64(low.Bytes))
		return low.Rate + part*(r.Rate-low.Rate)
	}
	return m.Reads[len(m.Reads)-1].Rate
}

// peak is the operations per second of products in these numerics.
func (m *Machine) peak(numerics string) float64 {
	switch {
	case numerics == "int16" && m.PeakInt16 > 0:
		return m.PeakInt16
	case numerics == "int8" && m.PeakInt8 > 0:
		return m.PeakInt8
	}
	return m.PeakF32
}

// roofline is the least time, in seconds, that a run can take, and which of memory
// and arithmetic takes it; 0 if the machine was not measured.
func (m *Machine) roofline(c cost, numerics string) (seconds float64, bound string, rate float64) {
	rate = m.Bandwidth(c.working)
	if rate <= 0 || m.PeakF32 <= 0 {
		return 0, "", 0
	}
	memory := c.bytes.total() / rate
	arithmetic := c.plain/m.PeakF32 + c.quantised/m.peak(numerics)
	if memory < arithmetic {
		return arithmetic, "arithmetic", rate
	}
	return memory, "memory", rate
}

// processor names the processor as its maker does, or by its architecture.
func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer func() { _ = f.Close() }() // it was only read
	return modelName(f)
}

// modelName is the first "model name" of /proc/cpuinfo.
func modelName(r io.Reader) string {
	lines := bufio.NewScanner(io.LimitReader(r, 64<<10))
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	return runtime.GOARCH
}
