package cpu

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"nosa/compute"
	"nosa/dtype"
)

// Options say how the processor is used. The zero value takes all that there is.
type Options struct {
	Threads int    // goroutines that compute; 0: the processors this process may use
	Level   string // kernels, one of Levels; "": the best

	// Numerics of products with quantised weights; auto: int16.
	Numerics compute.Numerics
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

	numerics compute.Numerics // never auto
	packed   packedStore
	codes    []byte    // activations of a product in integers
	matrixA  []float32 // packed blocks of a product of matrices
	matrixB  []float32
	sums     []float64 // of the pieces of an op

	// The tasks of the ops, kept so that calling one allocates nothing.
	linear       linear
	packedLinear packedLinear
	attend       attend
	documents    documents
	pointwise    pointwise
	norm         norm
	rotation     rotation
	embedding    embedding
	score        score
	selection    selection
	finish       finish
	seal         seal
	matrix       matrixProduct
	columns      columnSums
	normGrad     normGrad
	embedGrad    embedGrad
	swigluGrad   swigluGrad
	crossEntropy crossEntropy
	optimiser    optimiser
	norms        squaredNorm

	importanceGrad importanceGrad
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
	numerics := opts.Numerics
	switch numerics {
	case compute.NumericsAuto:
		numerics = compute.NumericsInt16
	case compute.NumericsF32, compute.NumericsInt16, compute.NumericsInt8:
	default:
		return nil, fmt.Errorf("cpu: %v: %w", numerics, compute.ErrNumerics)
	}
	return &Device{kernels: k, threads: threads, numerics: numerics, team: newTeam(threads)}, nil
}

// Name is cpu.
func (d *Device) Name() string { return "cpu" }

// Info names kernels and threads.
func (d *Device) Info() string {
	return fmt.Sprintf("cpu (%s), %s kernels, %v products, %d threads", runtime.GOARCH, d.kernels.name, d.numerics, d.threads)
}

// Numbers names the kernels and the format of products; no result depends on the
// number of threads.
func (d *Device) Numbers() string {
	return fmt.Sprintf("cpu %s %s %v", runtime.GOARCH, d.kernels.name, d.numerics)
}

// Numerics names the numbers in which quantised weights are multiplied.
func (d *Device) Numerics() string { return d.numerics.String() }

// TakesTiles: none, as what the host chooses costs no waiting here, and a tile is enough for
// all threads.
func (d *Device) TakesTiles(compute.Layout, int, int) bool { return false }

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
	if len(data) > 0 { // what was packed from memory that lay here is gone
		d.forget(d.packed.drop(unsafe.SliceData(data), true))
	}
	return x, nil
}

// Free gives the memory of a tensor of Alloc back to the system, or what Load took
// beside a weight. Views of it must not be used any more.
func (d *Device) Free(x compute.Tensor) {
	if len(x.Data) > 0 {
		d.forget(d.packed.drop(unsafe.SliceData(x.Data), false))
	}
	d.memory.free(x.Data)
}

// Allocated is the number of bytes that Alloc gave and Load took, and that Free has
// not taken back.
func (d *Device) Allocated() int64 { return d.memory.bytes() }
