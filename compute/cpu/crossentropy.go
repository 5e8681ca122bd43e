package cpu

import (
	"fmt"
	"math"

	"nosa/compute"
)

// entropyPiece is how many logits of a row meet one maximum. A piece's sum is one of float32;
// those of a row's pieces are added in float64.
const entropyPiece = 512

// crossEntropy is the task of CrossEntropy; a piece is a run of rows.
type crossEntropy struct {
	k            *kernels
	loss, logits []float32
	targets      []int32
	scale        float32
	vocab, step  int
}

// CrossEntropy: see compute.CrossEntropy.
func (d *Device) CrossEntropy(loss, logits compute.Tensor, targets []int32, scale float32) {
	rows := len(targets)
	if rows == 0 {
		return
	}
	t := &d.crossEntropy
	*t = crossEntropy{k: &d.kernels, loss: loss.F32()[:rows], logits: logits.F32(), targets: targets, scale: scale, vocab: logits.Len() / rows}
	for _, target := range targets {
		if target < -1 || int(target) >= t.vocab {
			panic(fmt.Sprintf("cpu: target %d of a vocabulary of %d", target, t.vocab))
		}
	}
	var pieces int
	t.step, pieces = d.share(rows, t.vocab)
	d.team.do(t, pieces)
	*t = crossEntropy{}
}

func (t *crossEntropy) run(w *worker, piece int) {
	for r := piece * t.step; r < min(len(t.targets), (piece+1)*t.step); r++ {
		row := t.logits[r*t.vocab : (r+1)*t.vocab]
		if target := t.targets[r]; target >= 0 {
			t.loss[r] = t.row(w, row, int(target))
		} else {
			t.loss[r] = 0
			clear(row)
		}
	}
}

// row turns a row of logits into its gradient. Each piece of it becomes e^(l − the maximum so
// far), which one more factor corrects when the maximum of all and the sum are known.
func (t *crossEntropy) row(w *worker, row []float32, target int) (loss float32) {
	logit := float64(row[target])
	pieces := (len(row) + entropyPiece - 1) / entropyPiece
	tops := room(&w.tops, pieces)
	state := [2]float32{negInf, 0}
	var sum float64
	for i := range pieces {
		before := state[0]
		state[1] = 0
		t.exponentials(w, row[i*entropyPiece:min(len(row), (i+1)*entropyPiece)], &state)
		tops[i] = state[0]
		if before != state[0] && before != negInf {
			sum *= math.Exp(float64(before) - float64(state[0]))
		}
		sum += float64(state[1])
	}
	top := float64(state[0])
	for i := range pieces {
		factor := float32(float64(t.scale) * math.Exp(float64(tops[i])-top) / sum)
		compute.Scale(row[i*entropyPiece:min(len(row), (i+1)*entropyPiece)], factor)
	}
	row[target] = float32((math.Exp(logit-top)/sum - 1) * float64(t.scale))
	return float32(math.Log(sum) + (top - logit))
}

// exponentials continues a softmax over a piece of a row; a short one goes by way of a buffer,
// as kernels ask for room behind it.
func (t *crossEntropy) exponentials(w *worker, p []float32, state *[2]float32) {
	s := softRows{p: &p[0], ld: entropyPiece, n: len(p), scale: 1}
	s.state[0] = state
	if len(p)%64 == 0 {
		t.k.softmax(&s, 1)
		return
	}
	buf := room(&w.edge, entropyPiece)
	copy(buf, p)
	s.p = &buf[0]
	t.k.softmax(&s, 1)
	copy(p, buf)
}
