package train

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/model"
)

// tiny is a config of a model small enough for finite differences, with selection that leaves blocks out.
func tiny(family, method string) *Config {
	c := Default()
	c.Out = "none"
	c.Model.Family, c.Model.Hidden, c.Model.Layers, c.Model.Heads, c.Model.KVHeads = family, 16, 2, 4, 2
	c.Model.HeadDim, c.Model.Intermediate, c.Model.Vocab, c.Model.Init, c.Model.InitScore = 4, 24, 29, 0.3, 0.5
	ptr := func(v int) *int { return &v }
	c.Sparse = SparseConfig{ptr(4), ptr(2), ptr(4), ptr(1), ptr(4), ptr(4), ptr(1), ptr(0)}
	c.Batch = BatchConfig{Tokens: 64, Rows: 64, Recompute: "none", HeadRows: 24}
	c.Stages = []StageConfig{{Steps: 10, Method: method, Context: 40}}
	c.Optimiser.Rate = 1e-2
	return &c
}

// settle gives a model's parameters values in general position, also those that begin as 0 or 1.
func settle(t *testing.T, p *Parameters) {
	t.Helper()
	rng := rand.New(rand.NewPCG(5, 6))
	for _, x := range p.list {
		v, err := p.Read(x.Name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range v {
			if x.role != roleMatrix && x.role != roleTable && x.role != roleDelta {
				v[i] += 0.3 * float32(rng.NormFloat64())
			}
		}
		if err := p.Write(x.Name, v); err != nil {
			t.Fatal(err)
		}
	}
	p.Refresh()
}

// newTiny builds the parameters and the decoder of a config's first stage; change may alter the shape.
func newTiny(t *testing.T, dev compute.Trainer, c *Config, change func(*model.Config)) (*Decoder, *Parameters) {
	t.Helper()
	_, shape, err := c.Shape(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(shape)
	}
	p, err := newParameters(dev, declare(shape, shape.Tied, true), &c.Optimiser)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range p.list {
		if err := p.Write(x.Name, c.Model.initial(x, shape.Layers, 3)); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, p)
	d, err := NewDecoder(dev, shape, p, c.Batch, c.Loss)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SetStage(c.Stages[0].Method, shape, c.Stages[0].Context); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close(); p.Close() })
	return d, p
}

// someRows are three documents with some targets left out.
func someRows(vocab int) Rows {
	rng := rand.New(rand.NewPCG(1, 9))
	r := Rows{Begins: []int32{0, 40, 41, 60}}
	for i := range 60 {
		r.IDs = append(r.IDs, int32(rng.IntN(vocab)))
		r.Targets = append(r.Targets, int32(rng.IntN(vocab)))
		if i%7 == 3 {
			r.Targets[i] = -1
		}
	}
	return r
}

func total(losses []float32) (sum float64) {
	for _, l := range losses {
		sum += float64(l)
	}
	return sum
}

// The gradients of a whole model are what its loss does when a weight is moved: the largest of each tensor, and some
// others. Where selection has a say, moving a weight may change a choice, and the loss jumps: then the difference is
// taken with the choice of the unmoved weights, as the gradient is (spec nosa, section 5).
func TestGradientsAgainstDifferences(t *testing.T) {
	for name, tc := range map[string]struct {
		family, method string
		importance     float64
		change         func(*model.Config)
	}{
		"llama full":    {"llama", "full", 0, nil},
		"llama biases":  {"llama", "full", 0, func(c *model.Config) { c.QKVBias, c.OutBias, c.MLPBias = true, true, true }},
		"llama own":     {"llama", "full", 0, func(c *model.Config) { c.Tied = false }},
		"qwen3 full":    {"qwen3", "full", 0, nil},
		"minicpm":       {"llama", "full", 0, func(c *model.Config) { c.EmbedScale, c.ResidualScale, c.LogitScale = 3, 0.6, 0.5 }},
		"llama blocks":  {"llama", "infllmv2", 0, nil},
		"nosa":          {"nosa", "nosa", 0, nil},
		"nosa by score": {"nosa", "dma", 0, nil},
		"nosa dense":    {"nosa", "full", 0, nil},
		"nosa taught":   {"nosa", "nosa", 0.7, nil},
		"dma taught":    {"nosa", "dma", 0.7, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dev := &frozenChoice{}
			c := tiny(tc.family, tc.method)
			c.Loss.Importance = tc.importance
			d, p := newTiny(t, dev, c, tc.change)
			r := someRows(d.cfg.Vocab)
			losses, err := d.Pass(r)
			if err != nil {
				t.Fatal(err)
			}
			if sum := total(losses); math.IsNaN(sum) || sum < 1 {
				t.Fatalf("loss %v", sum)
			}
			for _, x := range p.list {
				grads, err := p.ReadGrad(x.Name)
				if err != nil {
					t.Fatal(err)
				}
				compareDifferences(t, d, p, r, dev, x, grads)
			}
		})
	}
}

func compareDifferences(t *testing.T, d *Decoder, p *Parameters, r Rows, dev *frozenChoice, x *Parameter, grads []float32) {
	t.Helper()
	values, err := p.Read(x.Name)
	if err != nil {
		t.Fatal(err)
	}
	norm := 0.0
	largest := 0
	for i, g := range grads {
		norm += float64(g) * float64(g)
		if math.Abs(float64(g)) > math.Abs(float64(grads[largest])) {
			largest = i
		}
	}
	unused := !d.scored() && (x.role == roleDelta || x.role == roleA || x.Name[len(x.Name)-10:] == "delta.bias")
	if norm == 0 != unused {
		t.Errorf("%s: the gradient's norm is %v", x.Name, norm)
	}
	at := func(i int, v float32) float64 {
		moved := slices.Clone(values)
		moved[i] = v
		if err := p.Write(x.Name, moved); err != nil {
			t.Fatal(err)
		}
		dev.replay()
		losses, err := d.Losses(r)
		if err != nil {
			t.Fatal(err)
		}
		return total(losses) + dev.taught
	}
	for _, i := range []int{largest, 0, len(grads) / 3, len(grads) - 1} {
		const h = 1.0 / 256
		up, down := values[i]+h, values[i]-h
		// Fourth order, so that the step may be large against the rounding of losses in float32.
		near := (at(i, up) - at(i, down)) / (float64(up) - float64(down))
		far := (at(i, values[i]+2*h) - at(i, values[i]-2*h)) / (4 * h)
		want := (4*near - far) / 3
		if diff := math.Abs(want - float64(grads[i])); diff > 2e-3+2e-3*math.Abs(want) {
			t.Errorf("%s[%d]: gradient %v, the loss moves by %v", x.Name, i, grads[i], want)
		}
	}
	if err := p.Write(x.Name, values); err != nil {
		t.Fatal(err)
	}
}

// frozenChoice is the reference device; once it has chosen for the layers of a pass, it can give the same choices again.
type frozenChoice struct {
	compute.Reference
	chosen []compute.Selection
	next   int // −1: choose
	again  bool

	lessons []taught // of the layers, the last one first
	layer   int
	taught  float64 // what the scores of a pass lose by the lessons
}

func (f *frozenChoice) replay() { f.again, f.next, f.layer, f.taught = true, 0, 0, 0 }

func (f *frozenChoice) ChooseBlocks(sel compute.Selection, q, k, s compute.Tensor, docs compute.Documents, p compute.SelectParams) {
	if f.again {
		f.Copy(sel.Blocks, f.chosen[f.next].Blocks)
		f.Copy(sel.Count, f.chosen[f.next].Count)
		f.next++
		return
	}
	f.Reference.ChooseBlocks(sel, q, k, s, docs, p)
	clone := func(x compute.Tensor) compute.Tensor { x.Data = slices.Clone(x.Data); return x }
	f.chosen = append(f.chosen, compute.Selection{Blocks: clone(sel.Blocks), Count: clone(sel.Count)})
}

// What is computed again has the same bits as what was kept, and no cut of the head's rows shows but in the order of
// the sums of its gradient.
func TestRecompute(t *testing.T) {
	for _, method := range []string{"nosa", "full"} {
		var want map[string][]float32
		for _, how := range []string{"none", "cheap", "layer"} {
			c := tiny("nosa", method)
			c.Batch.Recompute = how
			d, p := newTiny(t, compute.Reference{}, c, nil)
			got := map[string][]float32{}
			var err error
			if got["loss"], err = d.Pass(someRows(d.cfg.Vocab)); err != nil {
				t.Fatal(err)
			}
			alone, err := d.Losses(someRows(d.cfg.Vocab))
			if err != nil || !slices.Equal(alone, got["loss"]) {
				t.Errorf("%s %s: forward alone gives another loss: %v", method, how, err)
			}
			for _, x := range p.list {
				if got[x.Name], err = p.ReadGrad(x.Name); err != nil {
					t.Fatal(err)
				}
			}
			if want == nil {
				want = got
			}
			for name := range want {
				if !slices.Equal(want[name], got[name]) {
					t.Errorf("%s, recompute %s: %s differs from what is kept", method, how, name)
				}
			}
		}
	}
}

// Documents that are computed together have the losses and add up to the gradients of documents that are computed alone.
func TestPackedDocuments(t *testing.T) {
	d, p := newTiny(t, compute.Reference{}, tiny("nosa", "nosa"), nil)
	r := someRows(d.cfg.Vocab)
	together, err := d.Pass(r)
	if err != nil {
		t.Fatal(err)
	}
	together = slices.Clone(together)
	grads := map[string][]float32{}
	for _, x := range p.list {
		if grads[x.Name], err = p.ReadGrad(x.Name); err != nil {
			t.Fatal(err)
		}
	}
	p.zeroGrads()
	for i, from := range r.Begins[:len(r.Begins)-1] {
		to := r.Begins[i+1]
		alone, err := d.Pass(Rows{IDs: r.IDs[from:to], Targets: r.Targets[from:to], Begins: []int32{0, to - from}})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(alone, together[from:to]) {
			t.Errorf("document %d has other losses alone", i)
		}
	}
	for _, x := range p.list {
		got, err := p.ReadGrad(x.Name)
		if err != nil {
			t.Fatal(err)
		}
		for i, g := range got {
			if math.Abs(float64(g-grads[x.Name][i])) > 1e-5*(1+math.Abs(float64(g))) {
				t.Errorf("%s[%d]: %v by documents, %v together", x.Name, i, g, grads[x.Name][i])
				break
			}
		}
	}
}

// Rows that do not fit are refused before an op sees them.
func TestWrongRows(t *testing.T) {
	d, _ := newTiny(t, compute.Reference{}, tiny("llama", "full"), nil)
	good := Rows{IDs: []int32{1, 2, 3}, Targets: []int32{2, 3, -1}, Begins: []int32{0, 1, 3}}
	if _, err := d.Losses(good); err != nil {
		t.Fatal(err)
	}
	long := Rows{IDs: make([]int32, 41), Targets: make([]int32, 41), Begins: []int32{0, 41}}
	for i, r := range []Rows{
		{}, long,
		{IDs: []int32{29}, Targets: []int32{0}, Begins: []int32{0, 1}}, {IDs: []int32{-1}, Targets: []int32{0}, Begins: []int32{0, 1}},
		{IDs: []int32{0}, Targets: []int32{29}, Begins: []int32{0, 1}}, {IDs: []int32{0}, Targets: []int32{-2}, Begins: []int32{0, 1}},
		{IDs: []int32{0, 1}, Targets: []int32{0}, Begins: []int32{0, 1}}, {IDs: []int32{0, 1}, Targets: []int32{0, 1}, Begins: []int32{0, 1}},
		{IDs: []int32{0, 1}, Targets: []int32{0, 1}, Begins: []int32{0, 2, 1, 2}}, {IDs: []int32{0, 1}, Targets: []int32{0, 1}, Begins: []int32{0, 0, 2}},
		{IDs: []int32{0, 1}, Targets: []int32{0, 1}, Begins: []int32{0, 3, 2}}, {IDs: []int32{0, 1}, Targets: []int32{0, 1}, Begins: []int32{1, 2}},
	} {
		if _, err := d.Losses(r); err == nil {
			t.Errorf("rows %d were taken", i)
		}
	}
}
