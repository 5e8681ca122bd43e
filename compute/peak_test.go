package compute

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestPeakIsSample: what is drawn from peaks is what Sample draws from the row, with as many
// of the largest as were asked for, with fewer, and with a weight that was added up otherwise.
func TestPeakIsSample(t *testing.T) {
	for name, fill := range vocabularies {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 2))
			var d Sampler
			draws, from := 0, 0
			for range 100 {
				logits := make([]float32, 1+r.IntN(1+r.IntN(3000)))
				fill(r, logits)
				for range 4 {
					s := randomSampling(r, len(logits))
					p := PeakOf(logits, s.Ask(len(logits)))
					if r.IntN(3) == 0 {
						p.Keys = p.Keys[:r.IntN(len(p.Keys)+1)]
					}
					p.Weight *= 1 + 1e-11*(2*r.Float64()-1)
					for pos := range 4 {
						draws++
						want := Sample(logits, s, pos)
						if got, ok := d.SampleBeyond(p, logits, s, pos, []Side{nil, backwards}[pos%2]); ok && got != want {
							t.Fatalf("%d logits, %+v, position %d: %d (%v), want %d (%v)", len(logits), s, pos, got, logits[got], want, logits[want])
						}
						got, ok := d.SamplePeak(p, s, len(logits), pos)
						if !ok {
							continue
						}
						from++
						if got != want {
							t.Fatalf("%d logits, %+v, position %d, %d largest: %d (%v), want %d (%v)", len(logits), s, pos, len(p.Keys), got, logits[got], want, logits[want])
						}
					}
				}
			}
			t.Logf("%d of %d draws from peaks", from, draws)
		})
	}
}

func backwards(n int, f func(i int)) {
	for i := n - 1; i >= 0; i-- {
		f(i)
	}
}

// TestPeakOf holds the largest ones and the weight against a row in order.
func TestPeakOf(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var d Sampler
	for name, fill := range vocabularies {
		for range 50 {
			logits := make([]float32, 1+r.IntN(2000))
			fill(r, logits)
			a := Ask{Most: int32(1 + r.IntN(MostPeak)), Temperature: float32(r.IntN(2)) * r.Float32()}
			p := PeakOf(logits, a)
			top := logits[argmax(logits)]
			if top-top != 0 {
				if p.Keys != nil {
					t.Fatalf("%s: %d largest of what has none", name, len(p.Keys))
				}
				continue
			}
			want := d.Best(nil, logits, int(a.Most))
			var ids []int32
			var weight float64
			for _, k := range p.Keys {
				ids = append(ids, int32(uint32(k)))
				if v := valueOf(k); v != logits[uint32(k)] {
					t.Fatalf("%s: the key of %v says %v", name, logits[uint32(k)], v)
				}
			}
			for _, v := range logits {
				if v == v && a.Temperature > 0 {
					weight += math.Exp(float64(v-top) / float64(a.Temperature))
				}
			}
			if !slices.Equal(ids, want) || math.Abs(p.Weight-weight) > 1e-10*weight {
				t.Fatalf("%s, %+v: %d largest, want %d; weight %v, want %v", name, a, len(ids), len(want), p.Weight, weight)
			}
		}
	}
	if p := PeakOf([]float32{1, 2}, Ask{}); p.Keys != nil || p.Weight != 0 {
		t.Errorf("nothing was asked: %+v", p)
	}
}
