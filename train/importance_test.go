package train

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"nosa/compute"
)

// taught is what a layer's scores are taught: the weights that rows give to tokens which are far from them, which do not
// change when the scores do.
type taught struct {
	begins  []int32
	weights [][]float64 // of a row and KV head, by token of the far ones
	from    []int       // the first far token of a row
	kvHeads int
	scale   float64
}

func (f *frozenChoice) ReceivedLoss(loss, ds, lse, q, k, s compute.Tensor, sel compute.Selection, docs compute.Documents, p compute.SelectParams, scale float32) {
	f.Reference.ReceivedLoss(loss, ds, lse, q, k, s, sel, docs, p, scale)
	heads, kvHeads, dim := q.Dims[1], k.Dims[1], q.Dims[2]
	l := taught{begins: slices.Clone(docs.Begins), kvHeads: kvHeads, scale: float64(scale)}
	for i := range docs.Count() {
		begin, end := docs.Span(i)
		for row := begin; row < end; row++ {
			own := (row - begin) / docs.Block
			from, to := begin+p.Init*docs.Block, begin+(own-p.Local)*docs.Block
			l.from = append(l.from, from)
			for head := range kvHeads {
				weights := make([]float64, max(to-from, 0))
				for j := range weights {
					b := int32((from + j - begin) / docs.Block)
					if !sel.None() && sel.Count.I32()[row*kvHeads+head] >= 0 && !slices.Contains(sel.List(row, head, own), b) {
						continue
					}
					for h := head * heads / kvHeads; h < (head+1)*heads/kvHeads; h++ {
						logit := float64(s.F32()[(from+j)*kvHeads+head]) - float64(lse.F32()[row*heads+h])
						for c := range dim {
							logit += float64(q.F32()[(row*heads+h)*dim+c]) * float64(k.F32()[((from+j)*kvHeads+head)*dim+c]) / math.Sqrt(float64(dim))
						}
						weights[j] += math.Exp(logit)
					}
				}
				l.weights = append(l.weights, weights)
			}
		}
	}
	f.lessons = append(f.lessons, l)
}

// Importance also says what the scores lose by the lesson of their layer.
func (f *frozenChoice) Importance(out, v, delta, bias, a compute.Tensor) {
	f.Reference.Importance(out, v, delta, bias, a)
	if f.again && len(f.lessons) > 0 {
		f.layer++
		f.taught += f.lessons[len(f.lessons)-f.layer].loss(out.F32())
	}
}

func (l *taught) loss(s []float32) (sum float64) {
	for i, weights := range l.weights {
		row, head := i/l.kvHeads, i%l.kvHeads
		var z float64
		score := func(j int) float64 { return float64(s[(l.from[row]+j)*l.kvHeads+head]) }
		for j := range weights {
			z += math.Exp(score(j))
		}
		for j, w := range weights {
			sum += w * (math.Log(z) - score(j))
		}
	}
	return l.scale * sum
}

// A row counts as the pass's targets by row, and a query head as one of its group; what is told is the mean.
func TestLessons(t *testing.T) {
	c := tiny("nosa", "nosa")
	c.Loss.Importance = 0.7
	dev := &frozenChoice{}
	d, _ := newTiny(t, dev, c, nil)
	rows := someRows(d.cfg.Vocab)
	targets := 0
	for _, id := range rows.Targets {
		if id >= 0 {
			targets++
		}
	}
	if _, err := d.Pass(rows); err != nil {
		t.Fatal(err)
	}
	if want := 0.7 * float64(targets) / 60 / 2; len(dev.lessons) != 2 || targets == 60 || math.Abs(dev.lessons[0].scale-want) > 1e-7 {
		t.Fatalf("%d lessons, scale %v, want %v", len(dev.lessons), dev.lessons[0].scale, want)
	}
	dev.replay()
	if _, err := d.Losses(rows); err != nil {
		t.Fatal(err)
	}
	weight := 0.0
	for _, l := range dev.lessons {
		for _, list := range l.weights {
			for _, w := range list {
				weight += w
			}
		}
	}
	r := &Run{replicas: []*replica{{decoder: d}}}
	loss, far := r.lessons()
	if loss == nil {
		t.Fatal("nothing is told")
	}
	if want := dev.taught / dev.lessons[0].scale / weight; math.Abs(*loss-want) > 1e-4 || math.Abs(*far-weight/(60*2*4)) > 1e-5 || *far < 0.05 {
		t.Errorf("told %v of %v, want %v of %v", *loss, *far, want, weight/(60*2*4))
	}
	if loss, far := r.lessons(); loss != nil || far != nil {
		t.Errorf("told again: %v, %v", loss, far)
	}
}

// sameRows is a Source of one batch.
type sameRows struct{ counting }

func (s *sameRows) Next(n, context int) (Rows, error) {
	s.At = 0
	return s.counting.Next(n, context)
}

// Scores alone are trained, on one batch: they learn what they are taught better than by the bias alone.
func TestScoresLearn(t *testing.T) {
	last := func(importance string) (first, end float64) {
		out := t.TempDir()
		text := strings.Replace(runConfig(out, "[loss]\nimportance = "+importance), "rate = 0.01",
			"rate = 0.03\nschedule = \"constant\"\ntrain = [\"*.self_attn.delta.*\", \"*.self_attn.A\"]", 1)
		text = strings.Replace(text, "steps = 6", "steps = 60", 1)
		text = strings.Replace(text, "context = 16", "context = 32", 1)
		job := jobOf(t, strings.Replace(text, "every = 3", "every = 1000", 1))
		job.Train, job.Heldout = &sameRows{counting{Vocab: 19, Seed: 4}}, nil
		var told []float64
		job.Report = func(r Record) {
			if r.Importance != nil {
				told = append(told, *r.Importance)
			}
		}
		r := mustOpen(t, job)
		defer r.Close()
		if err := r.Do(context.Background()); err != nil {
			t.Fatal(err)
		}
		if len(told) != 66 {
			t.Fatalf("told %d times", len(told))
		}
		return told[0], told[59]
	}
	began, taught := last("3.0")
	_, alone := last("1e-9")
	t.Logf("%v at first, %v taught, %v alone", began, taught, alone)
	if !(taught < 0.5*began) || !(taught < 0.95*alone) {
		t.Errorf("the loss of what tokens received is %v at first, %v after it was taught, %v by the bias alone", began, taught, alone)
	}
}
