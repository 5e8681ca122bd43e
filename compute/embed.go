package compute

import (
	"fmt"

	"nosa/dtype"
)

// Embed sets row r of out [rows, width] to row ids[r] of the embedding table, in
// any weight format.
func Embed(out []float32, table Tensor, ids []int32) {
	width := table.Stride()
	for r, id := range ids {
		if id < 0 || int(id) >= table.Dims[0] {
			panic(fmt.Sprintf("compute: token id %d outside the table of %d", id, table.Dims[0]))
		}
		dtype.Decode(table.Type, out[r*width:(r+1)*width], table.Rows(int(id), int(id)+1).Data)
	}
}
