package policy_test

import (
	"errors"
	"testing"

	"nosa/compute"
	"nosa/policy"
	"nosa/policy/policytest"
)

func TestDeltaKV(t *testing.T) {
	shape := policy.Shape{Layers: 1, Heads: 1, KVHeads: 1, Dim: 2, Block: 1}
	k := []float32{4, 0, 1, 3, 2, 2, -1, 5, 0, 1, 3.5, .6}
	v := []float32{1, 1, 0, 2, 7, 7, 3, 4, 3, -1, .8, 1.3}
	l := policytest.New(shape, 0, nil)
	s := begin(t, "deltakv:stride=4,sinks=2,near=2,bits=2,scales=together,recent=0,batch=1,whole=none", shape, 6)
	next := s.Next(0)
	for i := range 6 {
		l.Append([]float32{0, 0}, k[2*i:2*i+2], v[2*i:2*i+2], nil)
		if i+1 == next {
			compress(t, s, l)
			next = s.Next(next)
		}
	}
	gotK, err := l.Keys(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	gotV, err := l.Values(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 1, 4} { // references
		near(t, "key", gotK[2*i:2*i+2], k[2*i:2*i+2]...)
		near(t, "value", gotV[2*i:2*i+2], v[2*i:2*i+2]...)
	}
	// Minimum and scale lie in half precision, which moves the fourth digit.
	for i, want := range []float32{3.5, .6, .86667, 1.23333} {
		if got := append(gotK[10:12:12], gotV[10:]...)[i]; max(got-want, want-got) > 3e-4 {
			t.Errorf("number %d of token 5 is %v, want %v", i, got, want)
		}
	}
	if n := s.(policy.Holder).Bytes(); n < 3*4*4 {
		t.Errorf("three references take %d bytes", n)
	}
}

// Batches are encoded when none of their tokens is recent.
func TestDeltaKVNext(t *testing.T) {
	s := begin(t, "deltakv:recent=10,batch=2", policy.Shape{Layers: 1, Heads: 1, KVHeads: 1, Dim: 2, Block: 4}, 100)
	for tokens, want := range map[int]int{0: 18, 9: 18, 17: 18, 18: 26, 25: 26, 26: 34} {
		if got := s.Next(tokens); got != want {
			t.Errorf("after %d tokens encodes at %d, want %d", tokens, got, want)
		}
	}
}

func TestDeltaKVRefused(t *testing.T) {
	for name, kind := range map[string]compute.KVType{"deltakv": compute.KVQ8, "deltakv:whole=0+7": compute.KVF32} {
		spec, err := policy.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := spec.Method.New(spec.Values, policy.Shape{Layers: 7, Heads: 1, KVHeads: 1, Dim: 8, Block: 4, Type: kind}); !errors.Is(err, policy.ErrPolicy) {
			t.Errorf("%s in a %v cache: %v", name, kind, err)
		}
	}
	for _, name := range []string{"deltakv:whole=", "deltakv:whole=0+", "deltakv:whole=-1", "deltakv:whole=a+1", "deltakv:whole=9999"} {
		if _, err := policy.Parse(name); !errors.Is(err, policy.ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
