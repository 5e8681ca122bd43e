package cpu

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// eachKernels runs a test with the kernels of every level.
func eachKernels(t *testing.T, f func(t *testing.T, k kernels)) {
	for _, k := range available() {
		t.Run(k.name, func(t *testing.T) { f(t, k) })
	}
}

func newRand(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// TestExpand: the values of dtype.Decode, for every number of every half format
// and for random blocks.
func TestExpand(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		all := make([]byte, 2<<16)
		for i := range 1 << 16 {
			all[2*i], all[2*i+1] = byte(i), byte(i>>8)
		}
		check := func(format dtype.Type, n int, src []byte) {
			t.Helper()
			got, want := make([]float32, n+1), make([]float32, n+1)
			got[n] = 77
			k.expand(format, got[:n], src)
			dtype.Decode(format, want[:n], src)
			for i := range n {
				if math.Float32bits(got[i]) != math.Float32bits(want[i]) && !(got[i] != got[i] && want[i] != want[i]) {
					t.Fatalf("%v: element %d of %d is %v, want %v", format, i, n, got[i], want[i])
				}
			}
			if got[n] != 77 {
				t.Fatalf("%v: written beyond %d elements", format, n)
			}
		}
		for _, format := range []dtype.Type{dtype.F16, dtype.BF16} {
			check(format, 1<<16, all)
			for n := range 40 {
				from := 2 * rng.IntN(1<<15)
				check(format, n, all[from:from+2*n:from+2*n])
			}
		}
		for _, format := range []dtype.Type{dtype.Q8_0, dtype.Q4_0, dtype.Q4_1, dtype.Q5_0, dtype.Q5_1, dtype.Q4_K, dtype.Q5_K, dtype.Q6_K} {
			for blocks := range 40 {
				src := make([]byte, blocks*format.BlockBytes())
				for i := range src {
					src[i] = byte(rng.Uint32())
				}
				check(format, blocks*format.Block(), src)
			}
		}
	})
}

// ulps is the distance of a from the float64 b, in units in the last place of b.
func ulps(a float32, b float64) float64 {
	x := float32(b)
	unit := float64(math.Nextafter32(x, float32(math.Inf(1)))) - float64(x)
	return math.Abs(float64(a)-b) / unit
}

// expOf is e^x by way of softmax, for x at most 0: the second of two logits, the
// first being the maximum, 0.
func expOf(k *kernels, x []float32) []float32 {
	var out []float32
	for len(x) > 0 {
		n := min(len(x), 63)
		p := append([]float32{0}, x[:n]...)
		state := [2]float32{negInf, 0}
		k.softmaxRow(p, nil, &state, 1)
		out, x = append(out, p[1:]...), x[n:]
	}
	return out
}

// softmaxRow is softmax for one row, whose memory it extends to what kernels ask
// for; what lies beyond the row is left alone.
func (k *kernels) softmaxRow(p, bias []float32, state *[2]float32, scale float32) float32 {
	row := make([]float32, (len(p)+63)&^63)
	copy(row, p)
	s := softRows{p: &row[0], ld: len(row), n: len(p), scale: scale}
	s.state[0] = state
	if bias != nil {
		s.bias = &bias[0]
	}
	k.softmax(&s, 1)
	copy(p, row)
	return s.decay[0]
}

// TestExp walks the range of e^x in softmax: within 2 units in the last place
// down to the smallest normal number, 0 below.
func TestExp(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		var x []float32
		for v := float32(-104); v < 0; v += 0.000173 {
			x = append(x, v)
		}
		for v := float32(-1e-3); v < -1e-30; v /= 1.01 {
			x = append(x, v)
		}
		worst := 0.0
		for i, got := range expOf(&k, x) {
			want := math.Exp(float64(x[i]))
			switch {
			case x[i] < -87.33656:
				if got != 0 {
					t.Fatalf("e^%v is %v, want 0", x[i], got)
				}
			case x[i] > -87.3365:
				worst = max(worst, ulps(got, want))
				if worst > 2 {
					t.Fatalf("e^%v is %v, want %v: %.2f units off", x[i], got, want, worst)
				}
			}
		}
		t.Logf("worst error %.3f units in the last place", worst)
		inf := float32(math.Inf(-1))
		for n := 1; n < 20; n++ { // a logit that is not a number spoils the sum
			p, state := make([]float32, n), [2]float32{negInf, 0}
			p[n*7%n] = float32(math.NaN())
			if k.softmaxRow(p, nil, &state, 1); state[1] == state[1] {
				t.Errorf("the sum of %d weights, one of them not a number, is %v", n, state[1])
			}
		}
		if got := expOf(&k, []float32{inf, 0, -1e30}); got[0] != 0 || got[1] != 1 || got[2] != 0 {
			t.Errorf("e^−∞, e^0, e^−1e30 are %v", got)
		}
	})
}

// TestSoftmax continues a softmax over pieces and compares with float64; lengths
// around the width of a vector, with and without bias.
func TestSoftmax(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		for n := 1; n <= 70; n++ {
			logit, bias := make([]float32, n), make([]float32, n+3)
			fill(logit, rng)
			fill(bias, rng)
			if n > 4 {
				bias[rng.IntN(n)] = negInf
			}
			for _, b := range [][]float32{nil, bias} {
				p := append(append([]float32(nil), logit...), 77)
				state := [2]float32{0.25, 3}
				decay := k.softmaxRow(p[:n], b, &state, 0.5)
				top := 0.25
				l := make([]float64, n)
				for i := range l {
					l[i] = float64(logit[i]) * 0.5
					if b != nil {
						l[i] += float64(b[i])
					}
					top = max(top, l[i])
				}
				sum := 3 * math.Exp(0.25-top)
				for i := range l {
					want := math.Exp(l[i] - top)
					sum += want
					if math.Abs(float64(p[i])-want) > 1e-6 {
						t.Fatalf("%d logits: weight %d is %v, want %v", n, i, p[i], want)
					}
				}
				if math.Abs(float64(state[0])-top) > 1e-6 || math.Abs(float64(state[1])-sum) > 1e-5*sum || math.Abs(float64(decay)-math.Exp(0.25-top)) > 1e-6 {
					t.Fatalf("%d logits: state %v, decay %v, want %v %v, %v", n, state, decay, top, sum, math.Exp(0.25-top))
				}
				if p[n] != 77 {
					t.Fatalf("%d logits: written beyond them", n)
				}
			}
			// Nothing but −∞, at the beginning and after something.
			p := make([]float32, n)
			for i := range p {
				p[i] = negInf
			}
			state := [2]float32{negInf, 0}
			k.softmaxRow(p, nil, &state, 1)
			if state[0] != negInf || state[1] != 0 || p[n-1] != 0 {
				t.Fatalf("%d logits of −∞: state %v, weight %v", n, state, p[n-1])
			}
			p[0] = negInf
			for i := range p {
				p[i] = negInf
			}
			state = [2]float32{1, 2}
			if decay := k.softmaxRow(p, nil, &state, 1); state != [2]float32{1, 2} || decay != 1 {
				t.Fatalf("%d logits of −∞ after something: state %v, decay %v", n, state, decay)
			}
		}
	})
}

// TestDecodeBlock: the values of the definition, to the bit.
func TestDecodeBlock(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		for _, kv := range []compute.KVType{compute.KVF32, compute.KVBF16, compute.KVF16, compute.KVQ8, compute.KVQ4} {
			for _, shape := range [][2]int{{64, 64}, {64, 128}, {16, 80}, {8, 24}, {3, 7}, {1, 1}, {5, 16}} {
				l := compute.Layout{Heads: 1, Block: shape[0], Dim: shape[1], Type: kv}
				n := l.Block * l.Dim
				key, val := make([]float32, n), make([]float32, n)
				fill(key, rng)
				fill(val, rng)
				data := make([]byte, l.BlockBytes())
				l.EncodeBlock(data, key, val)
				wantKey, wantVal := make([]float32, n), make([]float32, n)
				l.DecodeBlock(wantKey, wantVal, data)
				decodeBlock(&worker{}, &k, &l, key, val, data)
				for i := range n {
					if key[i] != wantKey[i] || val[i] != wantVal[i] {
						t.Fatalf("%v %v: element %d is %v and %v, want %v and %v", kv, shape, i, key[i], val[i], wantKey[i], wantVal[i])
					}
				}
			}
		}
	})
}

// TestSeal: the bytes of the definition, ties of ranges, constant channels and
// what is not a number included.
func TestSeal(t *testing.T) {
	eachLevel(t, func(t *testing.T, level string) {
		rng := newRand(t)
		d := open(t, Options{Threads: 2, Level: level})
		special := []float32{0, 1, -1, 3e38, -3e38, 1e-42, float32(math.Inf(1)), negInf, float32(math.NaN())}
		for round := range 60 {
			shape := [][2]int{{64, 64}, {64, 128}, {16, 80}, {8, 24}, {3, 7}, {1, 1}, {5, 16}}[round%7]
			for _, kv := range []compute.KVType{compute.KVQ8, compute.KVQ4} {
				l := compute.Layout{Heads: 2, Block: shape[0], Dim: shape[1], Type: kv}
				tail := make([]float32, 4*l.Block*l.Dim)
				fill(tail, rng)
				for range round {
					i := rng.IntN(len(tail))
					tail[i] = special[rng.IntN(2+round%8)]
					for d := i % l.Dim; rng.IntN(9) == 0 && d < len(tail); d += l.Dim { // a constant channel
						tail[d] = tail[i]
					}
				}
				got, want := make([]byte, 3*l.BlockBytes()), make([]byte, 3*l.BlockBytes())
				tile := compute.Tile{N: 1, Pos: l.Block - 1, Tail: compute.F32s(tail, 2, 2, l.Block, l.Dim)}
				for _, side := range []struct {
					dev  compute.Device
					data []byte
				}{{d, got}, {compute.Reference{}, want}} {
					c := &compute.Cache{Layout: l, Slots: compute.NewTensor(dtype.U8, side.data, 3, l.BlockBytes())}
					side.dev.Seal(c, tile, 1, 2)
				}
				pairs := 3*l.BlockBytes() - 8*(l.Dim+l.Block)
				if !bytes.Equal(got[:pairs], want[:pairs]) {
					t.Fatalf("%v %v round %d: other codes than the definition's", kv, shape, round)
				}
				for i := pairs; i < len(want); i += 4 { // a zero is as good as its negative, a NaN as any other
					g := math.Float32frombits(binary.LittleEndian.Uint32(got[i:]))
					w := math.Float32frombits(binary.LittleEndian.Uint32(want[i:]))
					if g != w && !(g != g && w != w) {
						t.Fatalf("%v %v round %d: value %d of the pairs is %v, want %v", kv, shape, round, (i-pairs)/4, g, w)
					}
				}
			}
		}
	})
}
