package compute

import (
	"fmt"
	"math"
)

// CrossEntropy sets loss [rows] to −log softmax(logits)[target] of each row of logits [rows,
// vocab], and turns the logits into the gradient of scale·Σ loss: scale·(softmax − 1 at the
// target). A row whose target is −1 has no loss and no gradient.
func CrossEntropy(loss, logits []float32, targets []int32, scale float32) {
	for r, target := range targets {
		vocab := len(logits) / len(targets)
		row := logits[r*vocab : (r+1)*vocab]
		if target == -1 {
			loss[r] = 0
			clear(row)
			continue
		}
		if target < 0 || int(target) >= vocab {
			panic(fmt.Sprintf("compute: target %d of a vocabulary of %d", target, vocab))
		}
		top := math.Inf(-1)
		for _, l := range row {
			top = math.Max(top, float64(l))
		}
		var sum float64
		for _, l := range row {
			sum += math.Exp(float64(l) - top)
		}
		loss[r] = float32(math.Log(sum) + (top - float64(row[target])))
		for i, l := range row {
			p := math.Exp(float64(l)-top) / sum
			if i == int(target) {
				p--
			}
			row[i] = float32(p * float64(scale))
		}
	}
}
