package attention

import (
	"math"

	"nosa/compute"
)

// full reads every block: dense attention, without a bias. It keeps nothing
// beside K and V.
type full struct{}

func (full) Name() string   { return "full" }
func (full) Keeps() Keeps   { return Keeps{} }
func (full) Foresees() bool { return true }

func (full) Params(Constants) compute.SelectParams {
	return compute.SelectParams{DenseLen: math.MaxInt}
}
