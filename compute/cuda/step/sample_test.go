//go:build linux && amd64

package step

import (
	"flag"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/dtype"
)

var sampleDraws = flag.Int("sample-draws", 100, "draws from each kind of rows that are held against those from whole ones")

// rowsOfLogits are ways to make a row.
var rowsOfLogits = map[string]func(r *rand.Rand, x []float32){
	"normal": func(r *rand.Rand, x []float32) { each(x, func(int) float64 { return 3 * r.NormFloat64() }) },
	"peaked": func(r *rand.Rand, x []float32) {
		each(x, func(int) float64 { return 2 * r.NormFloat64() })
		for range 5 {
			x[r.IntN(len(x))] = 12 + 3*r.Float32()
		}
	},
	"first are likely": func(r *rand.Rand, x []float32) {
		each(x, func(i int) float64 { return 10/(1+float64(i)/50) + r.NormFloat64() })
	},
	"flat": func(r *rand.Rand, x []float32) { each(x, func(int) float64 { return 0.25 }) },
	"ties": func(r *rand.Rand, x []float32) { each(x, func(int) float64 { return float64(r.IntN(9)) }) },
	"few":  func(r *rand.Rand, x []float32) { each(x, func(i int) float64 { return float64(r.IntN(500)) / 16 }) },
	"zeros": func(r *rand.Rand, x []float32) {
		each(x, func(int) float64 { return math.Copysign(0, r.NormFloat64()) })
	},
	"masked": func(r *rand.Rand, x []float32) {
		each(x, func(int) float64 { return one(r, 0.7, math.Inf(-1), r.NormFloat64()) })
	},
	"masked all": func(r *rand.Rand, x []float32) { each(x, func(int) float64 { return math.Inf(-1) }) },
	"one left": func(r *rand.Rand, x []float32) {
		each(x, func(int) float64 { return math.Inf(-1) })
		x[r.IntN(len(x))] = -7
	},
	"damaged": func(r *rand.Rand, x []float32) {
		each(x, func(int) float64 { return one(r, 0.3, math.NaN(), one(r, 0.1, math.Inf(-1), r.NormFloat64())) })
	},
	"infinite": func(r *rand.Rand, x []float32) {
		each(x, func(int) float64 { return one(r, 0.01, math.Inf(1), r.NormFloat64()) })
	},
	"no numbers": func(r *rand.Rand, x []float32) { each(x, func(int) float64 { return math.NaN() }) },
	"extreme": func(r *rand.Rand, x []float32) {
		each(x, func(int) float64 { return math.Copysign(math.Exp(88*r.Float64()), r.NormFloat64()) })
	},
}

func each(x []float32, f func(i int) float64) {
	for i := range x {
		x[i] = float32(f(i))
	}
}

func one(r *rand.Rand, p, a, b float64) float64 {
	if r.Float64() < p {
		return a
	}
	return b
}

// sampled is a sampling with its memory, for so many rows.
func sampled(t testing.TB, d *cuda.Device, g *gpu, rows int) (*sampling, func(logits compute.Tensor, asks []compute.Ask)) {
	s := &sampling{}
	if err := s.load(g); err != nil {
		t.Fatal(err)
	}
	for _, b := range s.buffers(rows) {
		x, err := d.Alloc(b.shape.Type, b.shape.Dims[:b.shape.Rank]...)
		if err != nil {
			t.Fatal(err)
		}
		*b.to = x
		t.Cleanup(func() { d.Free(x) })
	}
	if err := s.open(g); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(g); err != nil {
			t.Error(err)
		}
	})
	return s, func(logits compute.Tensor, asks []compute.Ask) {
		rows := make([]compute.StepRow, len(asks))
		for i := range asks {
			rows[i].Ask = asks[i]
		}
		s.ask(rows)
		s.post(d, g, logits)
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

// settingsOf are draws of every kind.
func settingsOf(r *rand.Rand, vocab int) compute.Sampling {
	s := compute.Sampling{Temperature: float32(math.Exp(r.NormFloat64())), Seed: r.Uint64()}
	if r.IntN(3) == 0 {
		s.TopK = []int{1, 2, 20, 50, 1023, 1024, 1025, vocab, 1 + r.IntN(vocab)}[r.IntN(9)]
	}
	if r.IntN(2) == 0 {
		s.TopP = []float32{1, 0.999, 0.95, 0.9, 1e-6, r.Float32()}[r.IntN(6)]
	}
	if r.IntN(3) == 0 {
		s.MinP = []float32{1, 0.05, 1e-20, r.Float32()}[r.IntN(4)]
	}
	if r.IntN(8) == 0 {
		s.Temperature = []float32{0, 0, 1e-45, 3e38}[r.IntN(4)]
	}
	return s
}

// TestSamplePeaks: what comes of rows of any kind and length begins as compute.PeakOf says,
// and every draw from it is that from the whole row.
func TestSamplePeaks(t *testing.T) {
	const rows = 5
	d, g := open(t)
	s, run := sampled(t, d, g, rows)
	var sampler compute.Sampler
	for name, fill := range rowsOfLogits {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(7, uint64(len(name))))
			draws, from := 0, 0
			vocabularies := []int{1, 31, 2048, 2049, 5000, 70001}
			if !testing.Short() {
				vocabularies = append(vocabularies, 32000, 128256, 200019)
			}
			for _, vocab := range vocabularies {
				logits, err := d.Alloc(dtype.F32, rows, vocab)
				if err != nil {
					t.Fatal(err)
				}
				x := make([]float32, rows*vocab)
				for i := range rows {
					fill(r, x[i*vocab:][:vocab])
				}
				d.Upload(logits, compute.F32s(x, len(x)).Data)
				for n := rows; n > 0; n -= 2 {
					settings, asks := make([]compute.Sampling, n), make([]compute.Ask, n)
					for i := range n {
						if settings[i] = settingsOf(r, vocab); r.IntN(10) > 0 {
							asks[i] = settings[i].Ask(vocab)
						}
					}
					run(logits, asks)
					for i := range n {
						got, row := s.peak(i), x[i*vocab:][:vocab]
						want := compute.PeakOf(row, asks[i])
						if len(got.Keys) > len(want.Keys) || !slices.Equal(got.Keys, want.Keys[:len(got.Keys)]) {
							t.Fatalf("row %d of %d, %+v: %d keys that are not the first of %d", i, vocab, asks[i], len(got.Keys), len(want.Keys))
						}
						if len(got.Keys) > 0 && math.Abs(got.Weight-want.Weight) > 1e-11*want.Weight {
							t.Fatalf("row %d of %d, %+v: weight %v, want %v", i, vocab, asks[i], got.Weight, want.Weight)
						}
						if name == "normal" && len(got.Keys) < min(len(want.Keys), vocab/100) {
							t.Errorf("row %d of %d, %+v: %d keys of %d", i, vocab, asks[i], len(got.Keys), len(want.Keys))
						}
						for pos := range max(1, *sampleDraws/(9*len(vocabularies))) {
							draws++
							if id, ok := sampler.SamplePeak(got, settings[i], vocab, pos); ok {
								from++
								if want := sampler.Sample(row, settings[i], pos); id != want {
									t.Fatalf("row %d of %d, %+v, position %d: %d, want %d", i, vocab, settings[i], pos, id, want)
								}
							}
						}
					}
				}
				d.Free(logits)
			}
			t.Logf("%d of %d draws from peaks", from, draws)
		})
	}
}

// TestSampleAlone: a row's answer is the same bits alone and beside others, of any settings.
func TestSampleAlone(t *testing.T) {
	const rows, vocab = 7, 12345
	d, g := open(t)
	s, run := sampled(t, d, g, rows)
	logits, err := d.Alloc(dtype.F32, rows, vocab)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Free(logits)
	r := rand.New(rand.NewPCG(3, 3))
	x := make([]float32, rows*vocab)
	each(x, func(int) float64 { return 2 * r.NormFloat64() })
	d.Upload(logits, compute.F32s(x, len(x)).Data)
	asks := []compute.Ask{{Most: 1}, {Most: 1024, Temperature: 0.8}, {}, {Most: 50}, {Most: 1024}, {Most: 1024, Temperature: 1.5}, {Most: 2}}
	run(logits, asks)
	var want []compute.Peak
	for i := range rows {
		p := s.peak(i)
		want = append(want, compute.Peak{Keys: slices.Clone(p.Keys), Weight: p.Weight})
	}
	for i := range rows {
		run(logits.Rows(i, rows), asks[i:i+1])
		if got := s.peak(0); !slices.Equal(got.Keys, want[i].Keys) || got.Weight != want[i].Weight {
			t.Errorf("row %d: %d keys of weight %v, beside others %d of %v", i, len(got.Keys), got.Weight, len(want[i].Keys), want[i].Weight)
		}
	}
}

// BenchmarkSample is what asks of rows cost beside a step.
func BenchmarkSample(b *testing.B) {
	const vocab, most = 128256, 128
	d, g := open(b)
	s, _ := sampled(b, d, g, most)
	logits, err := d.Alloc(dtype.F32, most, vocab)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Free(logits)
	r := rand.New(rand.NewPCG(3, 3))
	x := make([]float32, most*vocab)
	each(x, func(int) float64 { return 3 * r.NormFloat64() })
	d.Upload(logits, compute.F32s(x, len(x)).Data)
	for _, a := range []struct {
		name string
		ask  compute.Ask
	}{{"greedy", compute.Ask{Most: 1}}, {"top-k", compute.Ask{Most: 50}}, {"weight", compute.Ask{Most: 1024, Temperature: 0.8}}} {
		for _, rows := range []int{1, 32, 96} {
			b.Run(a.name+"/"+strconv.Itoa(rows), func(b *testing.B) {
				s.ask(slices.Repeat([]compute.StepRow{{Ask: a.ask}}, rows))
				for b.Loop() {
					for range 100 {
						s.post(d, g, logits)
					}
					if err := d.Sync(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(100*b.N), "us")
			})
		}
	}
}
