package engine

import (
	"errors"
	"strings"
	"testing"

	"nosa/model"
)

func smol(t *testing.T) *model.Config {
	t.Helper()
	c, err := model.ParseConfig([]byte(`{"architectures":["LlamaForCausalLM"],"hidden_size":576,"num_hidden_layers":30,
		"num_attention_heads":9,"num_key_value_heads":3,"intermediate_size":1536,"vocab_size":49152,
		"max_position_embeddings":8192,"tie_word_embeddings":true}`))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func planned(t *testing.T, c *model.Config, available int64, change func(*Options)) (*Plan, error) {
	t.Helper()
	o := NewOptions()
	change(&o)
	set, err := o.resolve(c, false)
	if err != nil {
		t.Fatal(err)
	}
	return plan(c, set, 100<<20, available)
}

func TestPlanResident(t *testing.T) {
	p, err := planned(t, smol(t), 24<<30, func(*Options) {})
	if err != nil {
		t.Fatal(err)
	}
	const blocks = 8192 / 64 * 30 * 3
	if p.Blocks != blocks || p.Slots != blocks || p.Pages != 0 || p.Records != 0 || p.SlotBytes != blocks*16384 {
		t.Errorf("plan %+v", p)
	}
	if sum := p.Weights + p.SlotBytes + p.Tails + p.Summaries + p.Tables + p.Step + p.Host; p.Memory != sum {
		t.Errorf("memory %d, the parts are %d", p.Memory, sum)
	}
}

// TestPlanSequences: every sequence has its blocks and its tails, and a row in a
// step.
func TestPlanSequences(t *testing.T) {
	one, err := planned(t, smol(t), 0, func(o *Options) { o.Chunk = 4 })
	if err != nil {
		t.Fatal(err)
	}
	many, err := planned(t, smol(t), 0, func(o *Options) { o.Chunk, o.Sequences = 4, 8 })
	if err != nil {
		t.Fatal(err)
	}
	if many.Blocks != 8*one.Blocks || many.SlotBytes != 8*one.SlotBytes || many.Tails != 8*one.Tails || many.Step <= one.Step {
		t.Errorf("one sequence: %+v, eight: %+v", one, many)
	}
	// Where they do not fit, as many are proposed as do.
	three, err := planned(t, smol(t), 0, func(o *Options) { o.Chunk, o.Sequences = 8, 3 })
	if err != nil {
		t.Fatal(err)
	}
	_, err = planned(t, smol(t), three.Memory+one.SlotBytes/2, func(o *Options) { o.Chunk, o.Sequences = 8, 8 })
	if !errors.Is(err, ErrPlan) || !strings.Contains(err.Error(), " in 8 sequences takes ") || !strings.Contains(err.Error(), "or 3 sequences at once") {
		t.Errorf("eight where there is room for three: %v", err)
	}
	for _, n := range []int{-1, 1<<16 + 1} {
		o := NewOptions()
		o.Sequences = n
		if _, err := o.resolve(smol(t), false); !errors.Is(err, ErrOptions) {
			t.Errorf("%d sequences: %v", n, err)
		}
	}
	if _, err := planned(t, smol(t), 0, func(o *Options) { o.Context, o.Sequences = 1<<24, 1<<12 }); !errors.Is(err, ErrPlan) {
		t.Errorf("more blocks than numbers: %v", err)
	}
}

func TestPlanTiers(t *testing.T) {
	const block = 16384
	c := smol(t)
	tails := int64(90 * 2 * 64 * 64 * 4)
	for name, tc := range map[string]struct {
		change                func(*Options)
		slots, pages, records int
	}{
		"device and host": {func(o *Options) { o.KVDevice = tails + 1000*block }, 1000, 11520, 0},
		"device, host, disk": {func(o *Options) {
			o.KVDevice, o.KVHost, o.DiskDir = tails+1000*block, 2000*block, "d"
		}, 1000, 2000, 11520},
		"disk with a size": {func(o *Options) {
			o.KVDevice, o.KVHost, o.DiskDir, o.DiskSize = tails+1000*block, 2000*block, "d", 9521*block
		}, 1000, 2000, 9521},
		"device budget above what is needed": {func(o *Options) { o.KVDevice = 1 << 40 }, 11520, 0, 0},
		"host budget above what is needed":   {func(o *Options) { o.KVDevice, o.KVHost = tails+block, 1<<40 }, 1, 11520, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := planned(t, c, 24<<30, tc.change)
			if err != nil {
				t.Fatal(err)
			}
			if p.Slots != tc.slots || p.Pages != tc.pages || p.Records != tc.records {
				t.Errorf("%d slots, %d pages, %d records, want %d, %d, %d", p.Slots, p.Pages, p.Records, tc.slots, tc.pages, tc.records)
			}
		})
	}
}

// TestPlanRefusals holds every refusal to its promise: one line that names the
// setting to change, and whose proposal is accepted when it is taken.
func TestPlanRefusals(t *testing.T) {
	c := smol(t)
	for name, tc := range map[string]struct {
		available int64
		change    func(*Options)
		say       []string
	}{
		"device budget below the tails": {24 << 30, func(o *Options) { o.KVDevice = 1 << 20 }, []string{"--kv-device 1MiB", "try --kv-device"}},
		"host pool too small":           {24 << 30, func(o *Options) { o.KVDevice, o.KVHost = 16<<20, 16<<20 }, []string{"--kv-host 16MiB", "try --kv-host 180MiB", "--kv-disk"}},
		"host pool below a block":       {24 << 30, func(o *Options) { o.KVDevice, o.KVHost, o.DiskDir = 16<<20, 100, "d" }, []string{"--kv-host 100B", "less than one block"}},
		"disk too small": {24 << 30, func(o *Options) {
			o.KVDevice, o.KVHost, o.DiskDir, o.DiskSize = 16<<20, 16<<20, "d", 16<<20
		}, []string{"--kv-disk d:16MiB", "try --kv-disk d:165MiB"}},
		"host without a device budget": {24 << 30, func(o *Options) { o.KVHost = 1 << 30 }, []string{"--kv-host", "--kv-device"}},
		"disk without a device budget": {24 << 30, func(o *Options) { o.DiskDir = "d" }, []string{"--kv-device"}},
		"more than the memory":         {400 << 20, func(o *Options) { o.Context = 1 << 20 }, []string{"1048576 tokens", "are free", "--context"}},
		"weights alone are too much":   {50 << 20, func(*Options) {}, []string{"smaller model"}},
		"more blocks than numbers":     {1 << 50, func(o *Options) { o.Context = 1 << 28; c.Layers = 1 << 13 }, []string{"--context"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.Layers = 30
			_, err := planned(t, c, tc.available, tc.change)
			if !errors.Is(err, ErrPlan) {
				t.Fatalf("error %v, want %v", err, ErrPlan)
			}
			for _, s := range tc.say {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is more than one line", err)
			}
		})
	}
}

// TestPlanContextProposal takes the proposed context and expects it to fit.
func TestPlanContextProposal(t *testing.T) {
	c := smol(t)
	_, err := planned(t, c, 600<<20, func(o *Options) { o.Context = 1 << 20 })
	if err == nil {
		t.Fatal("a context of a million tokens fits into 600 MiB")
	}
	at := strings.LastIndex(err.Error(), "--context ")
	var context int
	for _, r := range err.Error()[at+len("--context "):] {
		context = context*10 + int(r-'0')
	}
	p, err := planned(t, c, 600<<20, func(o *Options) { o.Context = context })
	if err != nil {
		t.Fatalf("the proposed --context %d: %v", context, err)
	}
	if p.Memory < 500<<20 {
		t.Errorf("the proposal uses %s of 600MiB", Size(p.Memory))
	}
}

func TestResolveMethod(t *testing.T) {
	c := smol(t)
	sparse := *c
	s := model.DefaultSparse()
	sparse.Sparse = &s
	scored := sparse
	scored.Scored = true
	for name, tc := range map[string]struct {
		config  *model.Config
		trained bool
		ask     string
		want    string // empty: refused
	}{
		"dense, auto":                {c, false, "auto", "full"},
		"sparse, auto":               {&sparse, false, "auto", "infllmv2"},
		"trained, auto":              {&sparse, true, "auto", "nosa"},
		"training-free":              {c, false, "infllmv2", "infllmv2"},
		"nosa without tensors":       {c, false, "nosa", ""},
		"dma without tensors":        {c, false, "dma", ""},
		"trained as full":            {&sparse, true, "full", "full"},
		"nosa without tensors, auto": {&scored, false, "auto", ""},
		"nosa without tensors, full": {&scored, false, "full", "full"},
		"unknown":                    {c, false, "flash", ""},
		"empty is auto":              {c, false, "", "full"},
		"capital letters differ":     {c, false, "Full", ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := NewOptions()
			o.Attention = tc.ask
			set, err := o.resolve(tc.config, tc.trained)
			switch {
			case err != nil && tc.want != "":
				t.Fatal(err)
			case err == nil && set.method.Name() != tc.want:
				t.Errorf("method %s, want %q", set.method.Name(), tc.want)
			}
		})
	}
}

// TestResolveDenseLen: 0 for the methods with scores, 8,192 for MiniCPM4's, unless
// the file says otherwise.
func TestResolveDenseLen(t *testing.T) {
	for sparse, want := range map[string][2]int{`{}`: {0, 8192}, `{"dense_len":5}`: {5, 5}, `{"dense_len":0}`: {0, 0}, `{"dense_len":8192}`: {8192, 8192}} {
		c, err := model.ParseConfig([]byte(`{"architectures":["LlamaForCausalLM"],"hidden_size":64,"num_hidden_layers":1,"num_attention_heads":1,
			"intermediate_size":64,"vocab_size":9,"max_position_embeddings":64,"sparse_config":` + sparse + `}`))
		if err != nil {
			t.Fatal(err)
		}
		for i, method := range []string{"nosa", "infllmv2"} {
			o := NewOptions()
			o.Attention = method
			set, err := o.resolve(c, true)
			if err != nil {
				t.Fatal(err)
			}
			if set.constants.DenseLen != want[i] {
				t.Errorf("%s of %s: dense_len %d, want %d", method, sparse, set.constants.DenseLen, want[i])
			}
		}
	}
}

func TestResolveRefusals(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"topk below the forced blocks": func(o *Options) { o.Attention, o.TopK = "infllmv2", 4 },
		"negative topk":                func(o *Options) { o.TopK = -1 },
		"window above topk":            func(o *Options) { o.Attention, o.Window = "infllmv2", 1<<16 },
		"chunk":                        func(o *Options) { o.Chunk = -1 },
		"context":                      func(o *Options) { o.Context = -5 },
	} {
		o := NewOptions()
		change(&o)
		if _, err := o.resolve(smol(t), false); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1024: "1KiB", 1536: "1.5KiB", 4 << 30: "4GiB", 16384 * 3: "48KiB"} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %s, want %s", n, got, want)
		}
	}
}
