package cpu

import (
	"fmt"

	"nosa/compute"
)

// embedGrad is the task of EmbedGrad; a piece is a run of columns, for all rows in their order.
type embedGrad struct {
	table, dout []float32
	ids         []int32
	width, step int
}

// EmbedGrad: see compute.EmbedGrad, whose bits these are.
func (d *Device) EmbedGrad(dtable, dout compute.Tensor, ids []int32) {
	for _, id := range ids {
		if id < 0 || int(id) >= dtable.Dims[0] {
			panic(fmt.Sprintf("cpu: token id %d outside the table of %d", id, dtable.Dims[0]))
		}
	}
	t := &d.embedGrad
	*t = embedGrad{table: dtable.F32(), dout: dout.F32(), ids: ids, width: dtable.Stride()}
	var pieces int
	t.step, pieces = d.share(t.width, len(ids))
	d.team.do(t, pieces)
	*t = embedGrad{}
}

func (t *embedGrad) run(_ *worker, piece int) {
	from, to := piece*t.step, min(t.width, (piece+1)*t.step)
	for r, id := range t.ids {
		row := t.table[int(id)*t.width+from : int(id)*t.width+to]
		for i, g := range t.dout[r*t.width+from : r*t.width+to] {
			row[i] += g
		}
	}
}
