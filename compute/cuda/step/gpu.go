//go:build linux && amd64

package step

import (
	"embed"
	"errors"
	"fmt"
	"unsafe"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/driver"
)

//go:embed fatbin/*.fatbin
var fatbins embed.FS

// gpu is where a step's kernels run.
type gpu struct {
	ctx     *driver.Context
	stream  driver.Stream
	props   driver.Properties
	modules []driver.Module

	late bool // no kernel starts before the one ahead of it has ended, for comparison
}

func newGPU(d *cuda.Device) *gpu {
	return &gpu{ctx: d.Context(), stream: d.Stream(), props: d.Properties()}
}

// load loads the kernels of a source file by their names.
func (g *gpu) load(source string, functions map[string]*driver.Function) error {
	image, err := fatbins.ReadFile("fatbin/" + source + ".fatbin")
	if err != nil {
		return err
	}
	m, err := g.ctx.LoadModule(image)
	if err != nil {
		return fmt.Errorf("kernels of %s: %w", source, err)
	}
	g.modules = append(g.modules, m)
	var errs []error
	for name, f := range functions {
		*f, err = g.ctx.Function(m, name)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// close unloads the modules.
func (g *gpu) close() error {
	var errs []error
	for _, m := range g.modules {
		errs = append(errs, g.ctx.FreeModule(m))
	}
	g.modules = nil
	return errors.Join(errs...)
}

// launch posts a kernel with a struct as its parameter, as the .cu file declares it.
func launch[T any](g *gpu, f driver.Function, grid driver.Dim, threads, shared int, args *T) {
	params := unsafe.Slice((*byte)(unsafe.Pointer(args)), unsafe.Sizeof(*args))
	g.ctx.Launch(f, grid, driver.Dim{X: threads, Y: 1, Z: 1}, shared, g.stream, params)
}

// launchEarly is launch of a kernel that waits itself for the ones before it, and may begin
// before they end. What it reads until it has waited (positions, seats, tables, means of
// segments that are not the newest) was written before the step.
func launchEarly[T any](g *gpu, f driver.Function, grid driver.Dim, threads, shared int, args *T) {
	if !g.early() {
		launch(g, f, grid, threads, shared, args)
		return
	}
	params := unsafe.Slice((*byte)(unsafe.Pointer(args)), unsafe.Sizeof(*args))
	g.ctx.LaunchEarly(f, grid, driver.Dim{X: threads, Y: 1, Z: 1}, shared, g.stream, params)
}

// early reports whether kernels start before the ones ahead of them have ended. Code for other
// GPUs than these, which later ones run too, has no instruction to wait.
func (g *gpu) early() bool { return !g.late && g.props.Major == 9 }

// launchClusters is launchEarly of a kernel of sm_90a, whose blocks of a cluster run together.
func launchClusters[T any](g *gpu, f driver.Function, grid, cluster driver.Dim, threads, shared int, args *T) {
	params := unsafe.Slice((*byte)(unsafe.Pointer(args)), unsafe.Sizeof(*args))
	g.ctx.LaunchClusters(f, grid, cluster, driver.Dim{X: threads, Y: 1, Z: 1}, g.early(), shared, g.stream, params)
}

// launchOn is launch to another stream, without shared memory.
func launchOn[T any](g *gpu, s driver.Stream, f driver.Function, grid driver.Dim, threads int, args *T) {
	params := unsafe.Slice((*byte)(unsafe.Pointer(args)), unsafe.Sizeof(*args))
	g.ctx.Launch(f, grid, driver.Dim{X: threads, Y: 1, Z: 1}, 0, s, params)
}

// line is a grid of n thread blocks.
func line(n int) driver.Dim { return driver.Dim{X: max(n, 1), Y: 1, Z: 1} }

func ceil(n, by int) int { return (n + by - 1) / by }

func bytesOf[T int32 | int64 | poolState | compute.Ask](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(*new(T))))
}

// The structs of layout.cuh and step.cuh.

type rowsArgs struct {
	n         int32
	_         int32
	pos, seat uintptr
}

type cacheArgs struct {
	l                                                            cuda.LayoutArgs
	layer, seats, most, columns, first                           int32
	_                                                            int32
	table, slotOf, slots, tails, means, segmentScore, tokenScore uintptr
}

type selectionArgs struct {
	places        int32
	_             int32
	blocks, count uintptr
}
