package compute

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// vocabularies are ways to make n logits: as models do, flat, with ties, masks,
// damage and extremes.
var vocabularies = map[string]func(r *rand.Rand, v []float32){
	"normal": func(r *rand.Rand, v []float32) { fill(v, func() float64 { return 3 * r.NormFloat64() }) },
	"peaked": func(r *rand.Rand, v []float32) {
		fill(v, func() float64 { return r.NormFloat64() })
		v[r.IntN(len(v))] = 25
	},
	"flat":       func(_ *rand.Rand, v []float32) { fill(v, func() float64 { return 0.5 }) },
	"near flat":  func(r *rand.Rand, v []float32) { fill(v, func() float64 { return 1e-3 * r.NormFloat64() }) },
	"ties":       func(r *rand.Rand, v []float32) { fill(v, func() float64 { return float64(r.IntN(5)) }) },
	"signs of 0": func(r *rand.Rand, v []float32) { fill(v, func() float64 { return math.Copysign(0, r.NormFloat64()) }) },
	"masked": func(r *rand.Rand, v []float32) {
		fill(v, func() float64 { return pick(r, 0.7, math.Inf(-1), 2*r.NormFloat64()) })
	},
	"all masked": func(_ *rand.Rand, v []float32) { fill(v, func() float64 { return math.Inf(-1) }) },
	"damaged": func(r *rand.Rand, v []float32) {
		fill(v, func() float64 { return pick(r, 0.3, math.NaN(), pick(r, 0.2, math.Inf(-1), r.NormFloat64())) })
	},
	"infinite": func(r *rand.Rand, v []float32) {
		fill(v, func() float64 { return pick(r, 0.1, math.Inf(1), r.NormFloat64()) })
	},
	"no numbers": func(_ *rand.Rand, v []float32) { fill(v, math.NaN) },
	"extreme": func(r *rand.Rand, v []float32) {
		fill(v, func() float64 { return math.Copysign(math.Exp(80*r.Float64()), r.NormFloat64()) })
	},
}

func fill(v []float32, f func() float64) {
	for i := range v {
		v[i] = float32(f())
	}
}

func pick(r *rand.Rand, p, a, b float64) float64 {
	if r.Float64() < p {
		return a
	}
	return b
}

func randomSampling(r *rand.Rand, n int) Sampling {
	s := Sampling{Temperature: float32(math.Exp(2 * r.NormFloat64())), Seed: r.Uint64()}
	if r.IntN(2) == 0 {
		s.TopK = []int{1, 2, 20, n - 1, n, n + 1, 1 + r.IntN(n)}[r.IntN(7)]
	}
	if r.IntN(2) == 0 {
		s.TopP = []float32{1, 0.999, 0.9, 1e-6, r.Float32()}[r.IntN(5)]
	}
	if r.IntN(3) == 0 {
		s.MinP = []float32{1, 0.05, 1e-20, r.Float32()}[r.IntN(4)]
	}
	if r.IntN(20) == 0 {
		s.Temperature = []float32{0, 1e-45, 3e38}[r.IntN(3)]
	}
	return s
}

// TestSamplerIsSample: the sampler draws what the definition does, from any
// logits, under any settings.
func TestSamplerIsSample(t *testing.T) {
	for name, make := range vocabularies {
		t.Run(name, func(t *testing.T) { testSampler(t, make) })
	}
}

func testSampler(t *testing.T, fill func(*rand.Rand, []float32)) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	var d Sampler
	for range 100 {
		logits := make([]float32, 1+r.IntN(1+r.IntN(3000)))
		fill(r, logits)
		for range 4 {
			s := randomSampling(r, len(logits))
			for pos := range 4 {
				if got, want := d.Sample(logits, s, pos), Sample(logits, s, pos); got != want {
					t.Fatalf("%d logits, %+v, position %d: %d (%v), want %d (%v)", len(logits), s, pos, got, logits[got], want, logits[want])
				}
			}
		}
	}
}

// TestSamplerLarge: the same at the size of a real vocabulary, where few are
// gathered at first, and where more must be.
func TestSamplerLarge(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	logits := make([]float32, 150_000)
	var d Sampler
	for _, spread := range []float64{5, 1, 0.1, 0} {
		fill(logits, func() float64 { return spread * r.NormFloat64() })
		for _, s := range []Sampling{{}, {Temperature: 1}, {Temperature: 0.7, TopP: 0.95}, {Temperature: 1, TopK: 40, TopP: 0.9}, {Temperature: 1, MinP: 0.1}, {Temperature: 1, TopK: 100_000}} {
			s.Seed = r.Uint64()
			if got, want := d.Sample(logits, s, 3), Sample(logits, s, 3); got != want {
				t.Errorf("spread %v, %+v: %d, want %d", spread, s, got, want)
			}
		}
	}
}

// TestSamplerBorder: the draw is Sample's where a part of equal logits has exactly
// TopP of the weight, and the way it is summed would decide.
func TestSamplerBorder(t *testing.T) {
	var d Sampler
	for _, n := range []int{2, 4, 8, 100, 5000} {
		for changed := range min(n, 8) {
			logits := slices.Repeat([]float32{6.4096906e-10}, n)
			logits[changed] = 6.409795e-10 // so near that every weight is 1
			for _, temperature := range []float32{1, 0.7, 45} {
				for _, minP := range []float32{0, 0.5} {
					for pos := range 8 {
						s := Sampling{Temperature: temperature, TopP: 0.5, MinP: minP, Seed: 44}
						if got, want := d.Sample(logits, s, pos), Sample(logits, s, pos); got != want {
							t.Fatalf("%d logits, %d higher, %+v, position %d: %d, want %d", n, changed, s, pos, got, want)
						}
					}
				}
			}
		}
	}
}

func TestSamplerAllocates(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	logits := make([]float32, 50_000)
	fill(logits, func() float64 { return 4 * r.NormFloat64() })
	for _, s := range []Sampling{{}, {Temperature: 1}, {Temperature: 1, TopP: 0.9}, {Temperature: 1, TopK: 40}, {Temperature: 1, MinP: 0.1}} {
		var d Sampler
		pos := 0
		if n := testing.AllocsPerRun(20, func() { d.Sample(logits, s, pos); pos++ }); n != 0 {
			t.Errorf("%+v: %v allocations a draw", s, n)
		}
	}
}

func FuzzSampler(f *testing.F) {
	f.Add([]byte("\x30\x30\x30\x30\x30\x30\x30\x30\xec\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30\x30"), float32(45), uint(0), float32(0.5), float32(0.5), uint64(44))
	f.Add([]byte("0123456789abcdefghij"), float32(1), uint(3), float32(0.9), float32(0), uint64(7))
	f.Add([]byte{0, 0, 0xc0, 0x7f, 0, 0, 0x80, 0xff, 0, 0, 0x80, 0x7f}, float32(0.5), uint(0), float32(0.5), float32(0.5), uint64(0))
	f.Add([]byte{0, 0, 0, 0x80, 0, 0, 0, 0}, float32(0), uint(1), float32(1), float32(1), uint64(1))
	var d Sampler
	f.Fuzz(func(t *testing.T, data []byte, temperature float32, k uint, p, m float32, seed uint64) {
		s := Sampling{Temperature: temperature, TopK: int(k >> 1), TopP: p, MinP: m, Seed: seed}
		if s.Validate() != nil || len(data) < 4 {
			return
		}
		logits := make([]float32, len(data)/4)
		for i := range logits {
			logits[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
		for pos := range 3 {
			if got, want := d.Sample(logits, s, pos), Sample(logits, s, pos); got != want {
				t.Fatalf("%v, %+v, position %d: %d, want %d", logits, s, pos, got, want)
			}
		}
	})
}

// TestMinP: of the best one's likelihood, a part.
func TestMinP(t *testing.T) {
	logits := []float32{float32(math.Log(1)), float32(math.Log(2)), float32(math.Log(4)), float32(math.Log(1.01)), -50}
	count := make([]int, len(logits))
	for pos := range 20000 {
		count[Sample(logits, Sampling{Temperature: 1, MinP: 0.2502}, pos)]++
	}
	for id, want := range []float64{0, 2 / 7.01, 4 / 7.01, 1.01 / 7.01, 0} {
		if got := float64(count[id]) / 20000; math.Abs(got-want) > 4*math.Sqrt(want*(1-want)/20000) {
			t.Errorf("id %d came in %.4f of the draws, want %.4f", id, got, want)
		}
	}
}

func TestExpNeg(t *testing.T) {
	worst := 0.0
	for x := -699.9; x <= 0; x += 0.00173 {
		worst = max(worst, math.Abs(expNeg(x)/math.Exp(x)-1))
	}
	if worst > 1e-11 {
		t.Errorf("an error of %.2g, want 1e-11", worst)
	}
	if a, b, c, d := expNeg(0), expNeg(math.Inf(-1)), expNeg(math.NaN()), expNeg(-1e300); a != 1 || b != 0 || c == c || d != 0 {
		t.Errorf("exp of 0, −∞, NaN and −1e300: %v, %v, %v, %v", a, b, c, d)
	}
}

func TestLogProb(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 40 {
		logits := make([]float32, n+1)
		fill(logits, func() float64 { return 5 * r.NormFloat64() })
		var sum float64
		for _, v := range logits {
			sum += math.Exp(float64(v))
		}
		for id, v := range logits {
			if got, want := LogProb(logits, int32(id)), float64(v)-math.Log(sum); math.Abs(got-want) > 2e-6 {
				t.Errorf("%d of %d: %v, want %v", id, n+1, got, want)
			}
		}
	}
	inf, nan := math.Inf(1), math.NaN()
	for _, tc := range []struct {
		logits []float32
		want   float64
	}{
		{[]float32{0, float32(-inf)}, 0}, {[]float32{float32(-inf), 0}, -inf}, {[]float32{0, float32(nan)}, nan}, {[]float32{float32(inf), 0}, nan},
		{[]float32{float32(-inf), float32(-inf)}, nan}, {[]float32{1, 2, 3, 4, float32(nan)}, nan}, {[]float32{3e38, -3e38}, 0},
	} {
		if got := LogProb(tc.logits, 0); got != tc.want && !(got != got && tc.want != tc.want) {
			t.Errorf("%v: %v, want %v", tc.logits, got, tc.want)
		}
	}
}

func BenchmarkSampler(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	logits := make([]float32, 150_000)
	fill(logits, func() float64 { return 3 * r.NormFloat64() })
	logits[777] = 16 // as models are, a few stand out
	logits[778] = 15
	var d Sampler
	for _, s := range []Sampling{{}, {Temperature: 0.8}, {Temperature: 0.8, TopP: 0.95}, {Temperature: 0.8, TopK: 40, TopP: 0.95}, {Temperature: 0.8, MinP: 0.05}} {
		name := fmt.Sprintf("t%v-k%d-p%v-m%v", s.Temperature, s.TopK, s.TopP, s.MinP)
		b.Run(name+"/definition", func(b *testing.B) {
			for b.Loop() {
				Sample(logits, s, b.N)
			}
		})
		b.Run(name+"/sampler", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				d.Sample(logits, s, b.N)
			}
		})
	}
	b.Run("logprob", func(b *testing.B) {
		for b.Loop() {
			LogProb(logits, 5)
		}
	})
}

// TestSamplerBest holds Best against a sort of the whole row.
func TestSamplerBest(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var d Sampler
	for range 500 {
		logits := make([]float32, 1+rng.IntN(300))
		for i := range logits {
			if logits[i] = float32(rng.IntN(40)); rng.IntN(20) == 0 { // many ties
				logits[i] = float32(math.NaN())
			}
		}
		var want []int32
		for i, v := range logits {
			if v == v {
				want = append(want, int32(i))
			}
		}
		slices.SortStableFunc(want, func(a, b int32) int { return cmp.Compare(logits[b], logits[a]) })
		n := rng.IntN(25)
		want = want[:min(n, len(want))]
		if got := d.Best(nil, logits, n); !slices.Equal(got, want) {
			t.Fatalf("the best %d of %v: %v, want %v", n, logits, got, want)
		}
	}
}
