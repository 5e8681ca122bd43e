package cpu

import (
	"errors"
	"fmt"
	"runtime"

	"nosa/compute"
	"nosa/dtype"
)

// Options say how the processor is used. The zero value takes all that there is.
type Options struct {
	Threads int    // goroutines that compute; 0: the processors this process may use
	Level   string // kernels, one of Levels; "": the best
}

// ErrLevel is returned by New for kernels that this machine or build does not have.
var ErrLevel = errors.New("level is not available")

// ErrThreads is returned by New for a number of threads that cannot be meant.
var ErrThreads = errors.New("impossible number of threads")

const maxThreads = 1024

// Device is the processor of this machine as a compute.Device. What it does not
// replace by something faster is the definition, by way of the embedded
// Reference.
type Device struct {
	compute.Reference
	kernels kernels
	threads int
	team    *team
	memory  memory

	// The tasks of the ops, kept so that calling one allocates nothing.
	linear    linear
	attend    attend
	pointwise pointwise
	norm      norm
	rotation  rotation
	embedding embedding
	score     score
	selection selection
	finish    finish
	seal      seal
}

var _ compute.Device = (*Device)(nil)

// New starts the worker threads; Close ends them.
func New(opts Options) (*Device, error) {
	k, err := pick(opts.Level)
	if err != nil {
		return nil, err
	}
	threads := opts.Threads
	if threads == 0 {
		threads = Threads()
	}
	if threads < 1 || threads > maxThreads {
		return nil, fmt.Errorf("cpu: %d threads: %w: use 1 to %d, or 0 for all", opts.Threads, ErrThreads, maxThreads)
	}
	return &Device{kernels: k, threads: threads, team: newTeam(threads)}, nil
}

// Name is cpu.
func (d *Device) Name() string { return "cpu" }

// Info names kernels and threads.
func (d *Device) Info() string {
	return fmt.Sprintf("cpu (%s), %s kernels, %d threads", runtime.GOARCH, d.kernels.name, d.threads)
}

// Close ends the workers and gives back all memory that Alloc gave. No op may
// run any more.
func (d *Device) Close() error {
	d.team.close()
	return d.memory.release()
}

// Alloc returns zeroed memory, aligned to a page when it is large.
func (d *Device) Alloc(t dtype.Type, shape ...int) (compute.Tensor, error) {
	x := compute.Describe(t, shape...)
	data, err := d.memory.alloc(x.Bytes())
	if err != nil {
		return compute.Tensor{}, fmt.Errorf("cpu: %v %v: %w", t, shape, err)
	}
	x.Data = data
	return x, nil
}

// Free gives the memory of a tensor of Alloc back to the system. Views of it must
// not be used any more.
func (d *Device) Free(x compute.Tensor) { d.memory.free(x.Data) }

// Allocated is the number of bytes that Alloc gave and Free has not taken back.
func (d *Device) Allocated() int64 { return d.memory.bytes() }
