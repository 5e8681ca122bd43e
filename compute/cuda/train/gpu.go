//go:build linux && amd64

package train

import (
	"embed"
	"errors"
	"fmt"
	"unsafe"

	"nosa/compute/cuda/driver"
)

//go:embed fatbin/*.fatbin
var fatbins embed.FS

// both are two kernels of one: eight has rows of whole eights that begin at 16 bytes, one has any.
type both struct{ one, eight driver.Function }

// of is the kernel for rows of a width in these places.
func (b both) of(width int, places ...uintptr) driver.Function {
	if width%8 != 0 {
		return b.one
	}
	return b.flat(places...)
}

// flat is the kernel for elements that are one long row.
func (b both) flat(places ...uintptr) driver.Function {
	for _, p := range places {
		if p%16 != 0 {
			return b.one
		}
	}
	return b.eight
}

// kernels are the functions of all modules but those of products.
type kernels struct {
	narrow, widen                        both
	swiglu, swigluGrad, addScaled, scale both
	rotate, adamw, norm, normGrad        both
	embed, loss, foldFew                 both
	squares, fold, columns, embedGrad    driver.Function
	importance, importanceGrad           driver.Function
}

func (d *Device) loadKernels() error {
	k := &d.k
	return errors.Join(
		d.load("point", map[string]*driver.Function{
			"narrow_1": &k.narrow.one, "narrow_8": &k.narrow.eight, "widen_1": &k.widen.one, "widen_8": &k.widen.eight,
			"swiglu_1": &k.swiglu.one, "swiglu_8": &k.swiglu.eight, "swiglu_grad_1": &k.swigluGrad.one, "swiglu_grad_8": &k.swigluGrad.eight,
			"add_scaled_1": &k.addScaled.one, "add_scaled_8": &k.addScaled.eight, "scale_1": &k.scale.one, "scale_8": &k.scale.eight,
			"rotate_1": &k.rotate.one, "rotate_8": &k.rotate.eight, "adamw_1": &k.adamw.one, "adamw_8": &k.adamw.eight, "squares": &k.squares,
		}),
		d.load("norm", map[string]*driver.Function{
			"norm_1": &k.norm.one, "norm_8": &k.norm.eight, "norm_grad_1": &k.normGrad.one, "norm_grad_8": &k.normGrad.eight,
		}),
		d.load("token", map[string]*driver.Function{
			"embed_1": &k.embed.one, "embed_8": &k.embed.eight, "embed_grad": &k.embedGrad, "loss_1": &k.loss.one, "loss_8": &k.loss.eight,
		}),
		d.load("importance", map[string]*driver.Function{"importance": &k.importance, "importance_grad": &k.importanceGrad}),
		d.load("fold", map[string]*driver.Function{
			"fold": &k.fold, "fold_few_1": &k.foldFew.one, "fold_few_8": &k.foldFew.eight, "columns": &k.columns,
		}),
	)
}

// load loads the kernels of a source file by their names, which begin with train_ there.
func (d *Device) load(source string, functions map[string]*driver.Function) error {
	image, err := fatbins.ReadFile("fatbin/" + source + ".fatbin")
	if err != nil {
		return err
	}
	m, err := d.Context().LoadModule(image)
	if err != nil {
		return fmt.Errorf("kernels of %s: %w", source, err)
	}
	d.modules = append(d.modules, m)
	var errs []error
	for name, f := range functions {
		*f, err = d.Context().Function(m, "train_"+name)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// launch posts a kernel with a struct as its parameter, as the .cu file declares it.
func launch[T any](d *Device, f driver.Function, grid driver.Dim, threads, shared int, args *T) {
	d.Context().Launch(f, grid, driver.Dim{X: threads, Y: 1, Z: 1}, shared, d.Stream(), bytesOf(args))
}

// bytesOf is a kernel's parameter as it lies in memory.
func bytesOf[T any](args *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(args)), unsafe.Sizeof(*args))
}

// grid is the number of thread blocks along two axes.
func grid(x, y int) driver.Dim { return driver.Dim{X: x, Y: y, Z: 1} }

func ceil(n, by int) int { return (n + by - 1) / by }

// flag is a bool as kernels are told it.
func flag(b bool) int32 {
	if b {
		return 1
	}
	return 0
}
