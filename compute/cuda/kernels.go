//go:build linux && amd64

package cuda

import (
	"embed"
	"errors"
	"fmt"
	"strings"

	"nosa/compute"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

//go:embed fatbin/*.fatbin
var fatbins embed.FS

// formats are the names that kernels have for formats of weights.
var formats = map[dtype.Type]string{
	dtype.F32: "f32", dtype.F16: "f16", dtype.BF16: "bf16", dtype.Q8_0: "q8_0",
	dtype.Q4_0: "q4_0", dtype.Q4_1: "q4_1", dtype.Q5_0: "q5_0", dtype.Q5_1: "q5_1",
	dtype.Q4_K: "q4_k", dtype.Q5_K: "q5_k", dtype.Q6_K: "q6_k",
}

// FormatName is the name that kernels have for a format of weights; "" if they have none
// for it.
func FormatName(t dtype.Type) string { return formats[t] }

// kernels are the functions of all modules, by format where there is one for each.
type kernels struct {
	modules []driver.Module

	embed                             map[dtype.Type]driver.Function
	linear                            map[dtype.Type]linearKernels
	product                           map[dtype.Type][4]driver.Function // for up to 8, 16, 32 and 64 rows
	rmsNorm, angles, rotate           driver.Function
	swiglu, addScaled, scale          driver.Function
	importance                        driver.Function
	append, seal                      driver.Function
	scoreParts, scoreBlocks, scoreImp driver.Function
	selectBlocks                      driver.Function
	attendBegin, attendList           driver.Function
	attendBlock                       [compute.KVQ4 + 1]driver.Function
	attendFold, attendEnd             driver.Function
	attendTile, attendTiles           [compute.KVQ4 + 1]tileKernels // of runs, and of whole walks
	attendTileFold                    driver.Function
	scoreTileImage, scoreTileQueries  driver.Function
	scoreTile                         map[int]scoreTileKernels // by panels of channels
}

// linearKernels multiply groups of 1, 4 and 8 rows.
type linearKernels struct{ one, four, eight driver.Function }

// tileKernels attend to up to 64 channels, and to up to 128.
type tileKernels struct{ narrow, wide driver.Function }

// scoreTileKernels are the two passes of block scores, the second for groups of 16 places and
// for groups of fewer.
type scoreTileKernels struct{ sums, blocks, few driver.Function }

// load loads the modules and finds every kernel.
func (k *kernels) load(ctx *driver.Context) error {
	modules := map[string]driver.Module{}
	for _, name := range []string{"dense", "linear", "product", "cache", "score", "select", "attend", "attend_tile", "score_tile"} {
		image, err := fatbins.ReadFile("fatbin/" + name + ".fatbin")
		if err != nil {
			return err
		}
		m, err := ctx.LoadModule(image)
		if err != nil {
			return fmt.Errorf("kernels of %s: %w", name, err)
		}
		modules[name] = m
		k.modules = append(k.modules, m)
	}
	var errs []error
	find := func(module, name string) driver.Function {
		f, err := ctx.Function(modules[module], name)
		errs = append(errs, err)
		return f
	}
	k.embed, k.linear = map[dtype.Type]driver.Function{}, map[dtype.Type]linearKernels{}
	for t, name := range formats {
		k.embed[t] = find("dense", "embed_"+name)
		p := "linear_" + name
		k.linear[t] = linearKernels{find("linear", p+"_1"), find("linear", p+"_4"), find("linear", p+"_8")}
	}
	k.product = map[dtype.Type][4]driver.Function{}
	for _, t := range []dtype.Type{dtype.BF16, dtype.Q8_0, dtype.Q4_0} {
		var p [4]driver.Function
		for i, rows := range []string{"8", "16", "32", "64"} {
			p[i] = find("product", "product_"+formats[t]+"_"+rows)
		}
		k.product[t] = p
	}
	for name, f := range map[string]*driver.Function{
		"dense rms_norm": &k.rmsNorm, "dense angles": &k.angles, "dense rotate": &k.rotate,
		"dense swiglu": &k.swiglu, "dense add_scaled": &k.addScaled, "dense scale": &k.scale,
		"dense importance": &k.importance, "cache append": &k.append, "cache seal": &k.seal,
		"score score_parts": &k.scoreParts, "score score_blocks": &k.scoreBlocks, "score score_importance": &k.scoreImp,
		"select select_blocks": &k.selectBlocks,
		"attend attend_begin":  &k.attendBegin, "attend attend_list": &k.attendList,
		"attend attend_fold": &k.attendFold, "attend attend_end": &k.attendEnd,
		"attend_tile attend_tile_fold": &k.attendTileFold,
		"score_tile score_tile_image":  &k.scoreTileImage, "score_tile score_tile_queries": &k.scoreTileQueries,
	} {
		module, function, _ := strings.Cut(name, " ")
		*f = find(module, function)
	}
	for t := range k.attendBlock {
		k.attendBlock[t] = find("attend", "attend_block_"+compute.KVType(t).String())
	}
	for t := compute.KVBF16; t <= compute.KVQ4; t++ {
		p := "attend_tile_" + t.String()
		k.attendTile[t] = tileKernels{find("attend_tile", p+"_64_64"), find("attend_tile", p+"_128_64")}
		p = "attend_tiles_" + t.String()
		k.attendTiles[t] = tileKernels{find("attend_tile", p+"_64_64"), find("attend_tile", p+"_128_64")}
	}
	k.scoreTile = map[int]scoreTileKernels{}
	for _, panels := range []int{1, 2, 4} {
		of := func(pass string) driver.Function {
			return find("score_tile", fmt.Sprintf("score_tile_%s_%d", pass, panels))
		}
		k.scoreTile[panels] = scoreTileKernels{of("sums"), of("blocks"), of("blocks_few")}
	}
	return errors.Join(errs...)
}

// widen allows the kernels that want more than the usual 48 KiB of shared memory what
// there is.
func (k *kernels) widen(ctx *driver.Context, shared int) error {
	wide := append([]driver.Function{}, k.attendBlock[:]...)
	for t := compute.KVBF16; t <= compute.KVQ4; t++ {
		wide = append(wide, k.attendTile[t].narrow, k.attendTile[t].wide, k.attendTiles[t].narrow, k.attendTiles[t].wide)
	}
	for _, t := range k.scoreTile {
		wide = append(wide, t.sums, t.blocks, t.few)
	}
	var errs []error
	for _, f := range wide {
		errs = append(errs, ctx.AllowShared(f, shared))
	}
	return errors.Join(errs...)
}

// unload gives the modules back.
func (k *kernels) unload(ctx *driver.Context) error {
	var errs []error
	for _, m := range k.modules {
		errs = append(errs, ctx.FreeModule(m))
	}
	k.modules = nil
	return errors.Join(errs...)
}
