//go:build linux && amd64

package train

import (
	"fmt"

	"nosa/compute"
	"nosa/dtype"
)

// embedArgs is a struct of token.cu.
type embedArgs struct {
	out, table, ids uintptr
	width           int32
}

// Embed: see the definition.
func (d *Device) Embed(out, table compute.Tensor, ids []int32) {
	if out.Type == dtype.F32 {
		d.Device.Embed(out, table, ids)
		return
	}
	if table.Type != dtype.BF16 {
		panic(fmt.Sprintf("cuda: rows of %v embedded as %v", table.Type, out.Type))
	}
	inside(ids, table.Dims[0])
	if len(ids) == 0 {
		return
	}
	width := table.Stride()
	a := embedArgs{out.Addr, table.Addr, d.List(ids), int32(width)}
	launch(d, d.k.embed.of(width, out.Addr, table.Addr), grid(len(ids), 1), 128, 0, &a)
}

// inside panics where an id is not one of the table's.
func inside(ids []int32, vocab int) {
	for _, id := range ids {
		if id < 0 || int(id) >= vocab {
			panic(fmt.Sprintf("cuda: token id %d outside the table of %d", id, vocab))
		}
	}
}

// embedGradArgs is a struct of token.cu.
type embedGradArgs struct {
	table, dout, ids, first, order uintptr
	width                          int32
}

// EmbedGrad: see the definition. Rows are put in the order of their ids here, so that each id is
// one thread block's.
func (d *Device) EmbedGrad(dtable, dout compute.Tensor, ids []int32) {
	inside(ids, dtable.Dims[0])
	if len(ids) == 0 {
		return
	}
	distinct, first, order := d.byID(ids, dtable.Dims[0])
	at := d.List(distinct, first, order)
	width := dtable.Stride()
	a := embedGradArgs{dtable.Addr, dout.Addr, at, at + uintptr(4*len(distinct)), at + uintptr(4*(len(distinct)+len(first))), int32(width)}
	launch(d, d.k.embedGrad, grid(len(distinct), ceil(width, 32)), 256, 0, &a)
}

// byID lists the ids that occur, in ascending order, the rows of each one after the other, and
// where in that list each one's begin, with its length at the end.
func (d *Device) byID(ids []int32, vocab int) (distinct, first, order []int32) {
	if len(d.counts) < vocab {
		d.counts = make([]int32, vocab)
	}
	counts := d.counts[:vocab] // at first how often an id occurs, then where its next row goes
	for _, id := range ids {
		counts[id]++
	}
	at := int32(0)
	for id, n := range counts {
		if n > 0 {
			distinct, first = append(distinct, int32(id)), append(first, at)
			counts[id] = at
			at += n
		}
	}
	order = make([]int32, len(ids))
	for r, id := range ids {
		order[counts[id]] = int32(r)
		counts[id]++
	}
	for _, id := range distinct {
		counts[id] = 0
	}
	return distinct, append(first, at), order
}

// lossArgs is a struct of token.cu.
type lossArgs struct {
	loss, logits, targets uintptr
	vocab                 int32
	scale                 float32
}

// CrossEntropy: see the definition.
func (d *Device) CrossEntropy(loss, logits compute.Tensor, targets []int32, scale float32) {
	if len(targets) == 0 {
		return
	}
	vocab := logits.Len() / len(targets)
	for _, t := range targets {
		if t < -1 || int(t) >= vocab {
			panic(fmt.Sprintf("cuda: target %d of a vocabulary of %d", t, vocab))
		}
	}
	a := lossArgs{loss.Addr, logits.Addr, d.List(targets), int32(vocab), scale}
	launch(d, d.k.loss.of(vocab, logits.Addr), grid(len(targets), 1), 512, 0, &a)
}
