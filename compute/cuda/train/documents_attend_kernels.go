//go:build linux && amd64

package train

import (
	"errors"

	"nosa/compute"
	"nosa/compute/cuda/driver"
)

const arrangeThreads = 256 // of a thread block that arranges a tile

// attendKernel is one way to attend: documents_attend.cu's or, where it has tiles, one of documents_attend_group.cu's.
type attendKernel struct {
	name             string
	wide             int                // channels
	queries, threads int                // of a thread block
	f                [2]driver.Function // without biases and with them
	arrange          driver.Function
	tile             int // bytes of keys, values and biases
	fixed, word      int // bytes of shared memory: any documents', and of each word of a row's bits
}

func (k *attendKernel) shared(words int) int { return k.fixed + k.word*words }

// takes reports whether a kernel is for a shape. Arranged tiles are whole ones, which many short documents would
// have too much memory for.
func (k *attendKernel) takes(s documentShape, docs compute.Documents) bool {
	if k.wide != s.wide() {
		return false
	}
	const few, most = 1024, 4 // tiles; times of the rows' own memory
	tiles := 0
	for i := range docs.Count() {
		begin, end := docs.Span(i)
		tiles += 2 * ceil(end-begin, 2*documentTokens)
	}
	return k.tile == 0 || tiles <= few || tiles*documentTokens <= most*docs.Rows()
}

// attendKernel is the first that takes a shape.
func (d *Device) attendKernel(s documentShape, docs compute.Documents) *attendKernel {
	for _, k := range d.a.attend {
		if k.takes(s, docs) {
			return k
		}
	}
	return nil
}

// loadAttend loads the kernels that the GPU has.
func (d *Device) loadAttend() error {
	plain := func(name string, wide, queries int) *attendKernel {
		const matrices = 2 // stages, of keys and values
		tile := 2 * wide * documentTokens
		return &attendKernel{name: name, wide: wide, queries: queries, threads: documentThreads,
			fixed: 2*wide*queries + 2*matrices*tile + 8*documentTokens, word: 4}
	}
	group := func(name string, wide, groups, tiles, stages int, kept bool) *attendKernel {
		const biases = 4 * documentTokens
		matrices := 4 * wide * documentTokens
		k := &attendKernel{name: name, wide: wide, queries: documentTokens * groups, threads: 128 * groups,
			tile: matrices + biases, fixed: 16*stages + 8 + 1024 + stages*(tiles*matrices+1024), word: 4 * (groups + 1)}
		if !kept {
			k.fixed += 2 * wide * k.queries
		}
		return k
	}
	all := []*attendKernel{plain("64", 64, 128), plain("128", 128, 64)}
	if p := d.Properties(); p.Major == 9 && p.Minor == 0 {
		// Behind the others until they have been measured: no GPU has run them yet.
		all = append(all, []*attendKernel{
			group("group_64x3", 64, 3, 1, 10, true), group("group_64x2", 64, 2, 1, 5, false), group("group_64x4", 64, 4, 1, 10, false),
			group("group_64x3d", 64, 3, 2, 5, false), group("group_64x2d", 64, 2, 2, 6, true),
			group("group_128x2", 128, 2, 1, 6, true), group("group_128x3", 128, 3, 1, 5, false), group("group_128x2d", 128, 2, 2, 3, true),
		}...)
	}
	var arrange documentKernels
	plainNames, groupNames := map[string]*driver.Function{}, map[string]*driver.Function{"tiles_64": &arrange.narrow, "tiles_128": &arrange.wide}
	for _, k := range all {
		if k.tile == 0 {
			plainNames["attend_"+k.name] = &k.f[0]
		} else {
			groupNames["attend_"+k.name], groupNames["attend_"+k.name+"_biased"] = &k.f[0], &k.f[1]
		}
	}
	errs := []error{d.load("documents_attend", plainNames)}
	if all[len(all)-1].tile > 0 {
		errs = append(errs, d.load("documents_attend_group", groupNames))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, k := range all {
		if k.tile == 0 {
			k.f[1] = k.f[0]
		}
		k.arrange = arrange.of(documentShape{dim: k.wide})
		for _, f := range k.f {
			errs = append(errs, d.Context().AllowShared(f, d.Properties().SharedMemory))
		}
	}
	d.a.attend = all
	return errors.Join(errs...)
}
