package engine

import (
	"errors"
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"nosa/compute"
	"nosa/model"
)

var proposalFlag = regexp.MustCompile(`--(kv-device|kv-host|kv-disk|context|chunk) ([^ ,]+)`)

// take applies a proposal, read as a user would type it.
func take(t *testing.T, o *Options, proposal string) {
	t.Helper()
	size := func(s string) int64 {
		digits, unit := strings.TrimRight(s, "GMKiB"), int64(1)
		switch s[len(digits):] {
		case "MiB":
			unit = 1 << 20
		case "GiB":
			unit = 1 << 30
		default:
			t.Fatalf("%q: size %q", proposal, s)
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			t.Fatalf("%q: %v", proposal, err)
		}
		return n * unit
	}
	flags := proposalFlag.FindAllStringSubmatch(proposal, -1)
	if len(flags) == 0 {
		t.Fatalf("proposal %q has no flag", proposal)
	}
	for _, f := range flags {
		switch f[1] {
		case "kv-device":
			o.KVDevice = size(f[2])
		case "kv-host":
			o.KVHost = size(f[2])
		case "kv-disk":
			dir, n, sized := strings.Cut(f[2], ":")
			if o.DiskDir = dir; sized {
				o.DiskSize = size(n)
			}
		default:
			n, err := strconv.Atoi(f[2])
			if err != nil {
				t.Fatalf("%q: %v", proposal, err)
			}
			if f[1] == "context" {
				o.Context = n
			} else {
				o.Chunk = n
			}
		}
	}
}

// TestEveryProposalFits plans thousands of random models, budgets and memories.
// Whatever is refused is refused in one line, and every proposal in it, taken
// alone, is accepted. What is accepted fits the memory.
func TestEveryProposalFits(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	log := func(most float64) int64 { return int64(math.Exp2(rnd.Float64() * most)) }
	refused, proposals, accepted := 0, map[string]int{}, 0
	for range 4000 {
		kvHeads, head := 1+rnd.IntN(8), 2*(1+rnd.IntN(128))
		c := &model.Config{
			Hidden: 64 * (1 + rnd.IntN(64)), Layers: 1 + rnd.IntN(64), KVHeads: kvHeads, Heads: kvHeads * (1 + rnd.IntN(8)), HeadDim: head,
			Intermediate: 64 * (1 + rnd.IntN(200)), Vocab: 1 + rnd.IntN(200000), MaxPositions: int(log(22)),
		}
		c.Rope.Dims = head
		o := NewOptions()
		o.Attention = []string{"full", "infllmv2", "nosa"}[rnd.IntN(3)]
		o.KVType = compute.KVType(rnd.IntN(5))
		o.Context = int(log(28))
		o.Chunk = int(log(16))
		if rnd.IntN(3) > 0 {
			o.KVDevice = log(40)
		}
		if rnd.IntN(3) > 0 {
			o.KVHost = log(40)
		}
		if rnd.IntN(2) > 0 {
			if o.DiskDir = "d"; rnd.IntN(2) > 0 {
				o.DiskSize = log(42)
			}
		}
		weights, available := log(33), 1<<26+log(42)
		try := func(o Options) (*Plan, error) {
			set, err := o.resolve(c, true)
			if err != nil {
				t.Fatalf("%+v: %v", o, err)
			}
			return plan(c, set, weights, available)
		}
		p, err := try(o)
		if err == nil {
			if accepted++; p.Memory > available {
				t.Fatalf("%+v: %d bytes of %d", o, p.Memory, available)
			}
			continue
		}
		refused++
		if !errors.Is(err, ErrPlan) || strings.Contains(err.Error(), "\n") {
			t.Fatalf("%+v: %v", o, err)
		}
		_, say, ok := strings.Cut(err.Error(), ": try ")
		if !ok {
			proposals["smaller model"]++
			continue
		}
		for _, proposal := range strings.Split(say, ", or ") {
			changed := o
			take(t, &changed, proposal)
			if _, err := try(changed); err != nil {
				t.Fatalf("%+v, %d bytes free:\n%v\n%q is refused: %v", o, available, say, proposal, err)
			}
			proposals[strings.Fields(proposal)[0]]++
		}
	}
	t.Logf("%d accepted, %d refused; proposals %v", accepted, refused, proposals)
	for _, flag := range []string{"--context", "--kv-device", "--kv-host", "--kv-disk"} {
		if proposals[flag] < 20 {
			t.Errorf("%s was proposed %d times: not tested", flag, proposals[flag])
		}
	}
	if accepted < 100 {
		t.Errorf("%d plans were accepted: the others prove little", accepted)
	}
}

// TestPlanExtremes: the largest numbers that settings may have neither overflow
// nor pass.
func TestPlanExtremes(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Options)
		fits   bool
	}{
		"budgets beyond all memory": {func(o *Options) {
			o.KVDevice, o.KVHost, o.DiskDir, o.DiskSize = math.MaxInt64, math.MaxInt64, "d", math.MaxInt64
		}, true},
		"one byte everywhere": {func(o *Options) { o.KVDevice, o.KVHost, o.DiskDir, o.DiskSize = 1, 1, "d", 1 }, false},
		"the longest context": {func(o *Options) { o.Context = 1 << 28 }, false},
		"negative device":     {func(o *Options) { o.KVDevice = -1 }, false},
		"one token":           {func(o *Options) { o.Context = 1 }, true},
	} {
		p, err := planned(t, smol(t), 24<<30, tc.change)
		if (err == nil) != tc.fits || err != nil && !strings.Contains(err.Error(), ": try --") {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if err == nil && (p.Memory <= 0 || p.Slots <= 0) {
			t.Errorf("%s: %+v", name, p)
		}
	}
}
