package computetest

import (
	_ "embed"
	"encoding/json"
	"math"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// attentionGradients is written by scripts/oracles/attention_gradients.py, which says what is
// in it.
//
//go:embed testdata/attention_gradients.json
var attentionGradients []byte

type gradientCase struct {
	Name    string
	Lengths []int
	Block   int
	KVHeads int `json:"kv_heads"`
	Group   int
	Dim     int
	Q       []float32
	K       []float32
	V       []float32
	S       []float32
	DOut    []float32
	Blocks  [][][]int32

	Out, LSE, DQ, DK, DV, DS []float64

	Received struct {
		Init, Local      int
		Loss, Weight, DS []float64
	}
}

// RunAttentionGradients holds a device's attention over packed documents and its gradients
// against PyTorch's autograd in float64: within bound of the largest number of each kind.
func RunAttentionGradients(t *testing.T, dev DocumentsDevice, bound float64) {
	var cases []gradientCase
	if err := json.Unmarshal(attentionGradients, &cases); err != nil {
		t.Fatal(err)
	}
	for _, tc := range cases {
		t.Run(tc.Name, func(t *testing.T) { tc.run(t, dev, bound) })
	}
}

func (tc *gradientCase) run(t *testing.T, dev DocumentsDevice, bound float64) {
	t.Helper()
	d := compute.Documents{Begins: []int32{0}, Block: tc.Block}
	for _, n := range tc.Lengths {
		d.Begins = append(d.Begins, d.Begins[len(d.Begins)-1]+int32(n))
	}
	s := &suite{dev: dev, rng: newRand(t)}
	x := s.packed(t, dev, d, tc.KVHeads, tc.Group, tc.Dim, len(tc.S) > 0)
	x.params = compute.SelectParams{Init: tc.Received.Init, Local: tc.Received.Local}
	for _, in := range []struct {
		to compute.Tensor
		v  []float32
	}{{x.q.dev, tc.Q}, {x.k.dev, tc.K}, {x.v.dev, tc.V}, {x.dout.dev, tc.DOut}, {x.score.dev, tc.S}} {
		if in.to.None() {
			continue
		}
		data := make([]byte, in.to.Bytes())
		dtype.Encode(in.to.Type, data, in.v)
		dev.Upload(in.to, data)
	}
	rows, places := d.Rows(), 0
	for _, row := range tc.Blocks {
		for _, list := range row {
			places = max(places, len(list))
		}
	}
	if places > 0 {
		var blocks, counts []int32
		for _, row := range tc.Blocks {
			for _, list := range row {
				count := int32(len(list))
				if list == nil {
					count = -1
				}
				counts = append(counts, count)
				for i := range places {
					b := int32(-1)
					if i < len(list) {
						b = list[i]
					}
					blocks = append(blocks, b)
				}
			}
		}
		x.selDev = compute.Selection{
			Blocks: s.i32(t, blocks, rows, tc.KVHeads, places).dev,
			Count:  s.i32(t, counts, rows, tc.KVHeads).dev,
		}
	}
	x.again(t)
	for _, r := range []struct {
		name string
		got  compute.Tensor
		want []float64
	}{{"out", x.out.dev, tc.Out}, {"lse", x.lse.dev, tc.LSE}, {"dq", x.dq.dev, tc.DQ}, {"dk", x.dk.dev, tc.DK}, {"dv", x.dv.dev, tc.DV}, {"ds", x.ds.dev, tc.DS}} {
		if !r.got.None() {
			near(t, r.name, x.numbers(r.got), r.want, bound)
		}
	}
	if len(tc.S) > 0 {
		x.receivedGolden(t, tc, bound)
	}
}

// receivedGolden holds ReceivedLoss against autograd: the loss of all documents, and its gradient.
func (x *packed) receivedGolden(t *testing.T, tc *gradientCase, bound float64) {
	t.Helper()
	x.dev.Upload(x.received.dev, make([]byte, x.received.dev.Bytes()))
	x.dev.Upload(x.taught.dev, make([]byte, x.taught.dev.Bytes()))
	x.dev.ReceivedLoss(x.received.dev, x.taught.dev, x.lse.dev, x.q.dev, x.k.dev, x.score.dev, x.selDev, x.docs, x.params, 1)
	var sums [2][]float32
	for i, v := range x.numbers(x.received.dev) {
		if i < 2*tc.KVHeads {
			sums[i%2] = append(sums[i%2], 0)
		}
		sums[i%2][i/2%tc.KVHeads] += v
	}
	near(t, "the loss of what tokens received", sums[0], tc.Received.Loss, bound)
	near(t, "what they received", sums[1], tc.Received.Weight, bound)
	near(t, "its gradient", x.numbers(x.taught.dev), tc.Received.DS, bound)
}

// near holds numbers within bound of the largest.
func near(t *testing.T, name string, got []float32, want []float64, bound float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", name, len(got), len(want))
	}
	top, worst := 0.0, 0.0
	for i, w := range want {
		top, worst = max(top, math.Abs(w)), max(worst, math.Abs(float64(got[i])-w))
	}
	t.Logf("%s: off by %.2g of %.3g", name, worst, top)
	if !(worst <= bound*top) {
		t.Errorf("%s is off by %.3g, allowed %.3g of %.3g", name, worst, bound, top)
	}
}
