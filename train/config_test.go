package train

import (
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"nosa/compute"
	"nosa/model"
)

// A config that no run can follow is refused in one line, which says where or which field.
func TestConfigRefused(t *testing.T) {
	good := runConfig("x", "")
	if _, err := Parse("c.toml", []byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ from, to, want string }{
		"unknown field":    {"rate = 0.01", "rate = 0.01\nlearning_rate = 1.0", "c.toml:26: there is no field optimiser.learning_rate"},
		"unknown table":    {"[batch]", "[bach]", "there is no field bach"},
		"unknown in stage": {"context = 16", "contex = 16", "there is no field stage.contex"},
		"wrong type":       {"rate = 0.01", `rate = "fast"`, "c.toml:25:8: optimiser.rate is a string, want a number"},
		"no TOML":          {"[batch]", "[batch", "c.toml:20:7"},
		"twice":            {"rate = 0.01", "rate = 0.01\nrate = 0.02", "c.toml:26:1"},
		"method":           {`method = "nosa"`, `method = "sparse"`, "want one of [full infllmv2 dma nosa]"},
		"rows":             {"rows = 32", "rows = 33", "batch.rows is 33"},
		"context":          {"context = 16", "context = 64", "stage 1: context is 64"},
		"rate":             {"rate = 0.01", "rate = 0.0", "optimiser.rate"},
		"rate nan":         {"rate = 0.01", "rate = nan", "optimiser.rate"},
		"schedule":         {"rate = 0.01", "rate = 0.01\nschedule = \"linear\"", "want one of [cosine wsd constant]"},
		"warmup":           {"warmup = 2", "warmup = 20", "optimiser.warmup is 20"},
		"decay":            {"warmup = 2", "warmup = 2\ndecay = 3", "decay belongs to wsd"},
		"pattern":          {"warmup = 2", "warmup = 2\ntrain = [\"[\"]", "pattern \"[\""},
		"recompute":        {"rows = 32", "rows = 32\nrecompute = \"some\"", "want none, cheap or layer"},
		"keep":             {"keep = 2", "keep = -1", "checkpoint.keep"},
		"no out":           {`out = "x"`, "", "out is missing"},
		"loss":             {"keep = 2", "keep = 2\n[loss]\nimportance = -0.1", "loss.importance is -0.1, want 0 to 1000"},
		"full chooses":     {`method = "nosa"`, "method = \"full\"\ntopk = 3", "stage 1: window_size, topk and topk_q are of methods that choose blocks, and method is full"},
		"negative steps":   {"steps = 6", "steps = -6", "stage 1: steps is -6"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(good, tc.from, tc.to, 1)
			if text == good {
				t.Fatal("nothing was changed")
			}
			_, err := Parse("c.toml", []byte(text))
			if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v\nwant %s", err, tc.want)
			}
		})
	}
}

// What only shows with the model's shape is refused when the run is opened.
func TestShapeRefused(t *testing.T) {
	for name, tc := range map[string]struct{ from, to, want string }{
		"family":          {`family = "nosa"`, `family = "gpt2"`, "model.family"},
		"no hidden":       {"hidden = 16", "hidden = 0", "hidden_size"},
		"heads":           {"kv_heads = 2", "kv_heads = 3", "do not divide"},
		"topk":            {"topk = 4", "topk = 1", "[sparse]"},
		"topk of a stage": {"context = 32", "context = 32\ntopk = 2", "stage 2: config.json is not usable: topk 2 is fewer than the 3 blocks"},
		"window":          {"context = 16", "context = 16\nwindow_size = -4", "stage 1: "},
		"eos":             {"vocab = 19", "vocab = 19\neos = 19", "eos_token_id is 19"},
		"not scored":      {`family = "nosa"`, `family = "qwen3"`, "begin with a llama"},
		"path":            {"hidden = 16", "path = \"/nowhere\"", "model.path"},
		"no match":        {"warmup = 2", "warmup = 2\ntrain = [\"*.self_attn.dleta.*\"]", "no tensor has a name like \"*.self_attn.dleta.*\""},
		"all frozen":      {"warmup = 2", "warmup = 2\nfreeze = [\"*\"]", "nothing to train"},
	} {
		t.Run(name, func(t *testing.T) {
			job := jobOf(t, strings.Replace(runConfig(t.TempDir(), ""), tc.from, tc.to, 1))
			if _, err := Open(job); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v\nwant %s", err, tc.want)
			}
		})
	}
}

// Scores that no stage has cannot be taught.
func TestLossOfNone(t *testing.T) {
	text := strings.ReplaceAll(runConfig("x", "[loss]\nimportance = 0.1"), `method = "nosa"`, `method = "infllmv2"`)
	if _, err := Parse("c.toml", []byte(text)); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "no stage has importance scores") {
		t.Error(err)
	}
}

// A stage's own constants are those of its passes; what is written beside the weights has those of [sparse].
func TestStageConstants(t *testing.T) {
	text := strings.Replace(runConfig(t.TempDir(), ""), "context = 16", "context = 16\ntopk = 3\ntopk_q = 0\nwindow_size = 0", 1)
	r := mustOpen(t, jobOf(t, text))
	defer r.Close()
	for stage, want := range []compute.SelectParams{
		{Init: 1, K: 3, ByQuery: true, ByScore: true}, {Init: 1, Local: 1, Query: 1, K: 4, ByQuery: true, ByScore: true},
	} {
		if err := r.enter(stage); err != nil {
			t.Fatal(err)
		}
		if got := r.replicas[0].decoder.choice; got != want {
			t.Errorf("stage %d: %+v, want %+v", stage+1, got, want)
		}
		c, err := model.ParseConfig(r.shape)
		if err != nil || c.Sparse.TopK != 4 || c.Sparse.TopKQ != 1 || c.Sparse.WindowSize != 4 {
			t.Errorf("stage %d: config.json has %+v, %v", stage+1, c.Sparse, err)
		}
	}
}

// docs/train.md has the table of fields that the program knows.
func TestDocumentedFields(t *testing.T) {
	var table strings.Builder
	if err := WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../docs/train.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), table.String()) {
		t.Errorf("docs/train.md does not have this table:\n%s", table.String())
	}
	for _, f := range Fields() {
		if f.Help == "" {
			t.Errorf("%s %s has no help", f.Table, f.Key)
		}
	}
}

// The example of docs/train.md is a config.
func TestDocumentedExample(t *testing.T) {
	doc, err := os.ReadFile("../docs/train.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "```toml\n")
	example, _, ok := strings.Cut(rest, "```")
	c, err := Parse("docs/train.md", []byte(example))
	if err != nil || !ok || c.Steps() != 2000 || c.Theta(0) != 0 || c.Theta(1) != 500000 || len(c.Corpus.Heldout) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
}

// What --help-config prints is a config, once its fields are no comments any more.
func TestHelpConfig(t *testing.T) {
	var text strings.Builder
	if err := WriteFields(&text); err != nil {
		t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(text.String()) {
		line = strings.TrimSuffix(line, "\n")
		if key, value, ok := strings.Cut(strings.TrimPrefix(line, "#"), " = "); ok && !strings.HasPrefix(line, "# ") {
			if value == "" || strings.Contains(value, " ") {
				continue
			}
			line = key + " = " + value
		}
		kept = append(kept, line)
	}
	all := strings.Join(kept, "\n")
	all = strings.Replace(all, "\n[model]", "\nout = \"x\"\n[model]", 1)
	all = strings.Replace(all, "[batch]", "[batch]\ntokens = 8\nrows = 8", 1)
	all = strings.Replace(all, "[optimiser]", "[optimiser]\nrate = 1.0", 1)
	all = strings.Replace(all, "[[stage]]", "[[stage]]\nsteps = 1\nmethod = \"full\"\ncontext = 8", 1)
	all = strings.Replace(all, "[[optimiser.group]]", "[[optimiser.group]]\nmatch = \"*\"", 1)
	for _, list := range []string{"[[corpus.train]]", "[[corpus.heldout]]"} {
		all = strings.Replace(all, list, list+"\npath = \"x\"", 1)
	}
	got, err := Parse("help", []byte(all))
	if err != nil {
		t.Fatalf("%v in\n%s", err, all)
	}
	if d := Default(); got.Optimiser.Beta2 != d.Optimiser.Beta2 || got.Model != d.Model || got.Checkpoint != d.Checkpoint {
		t.Errorf("%+v\nwant %+v", got, d)
	}
}

func TestRateAt(t *testing.T) {
	base := OptimiserConfig{Rate: 2, Warmup: 4, Floor: 0.1}
	for _, tc := range []struct {
		schedule    string
		decay, step int
		want        float64
	}{
		{"constant", 0, 0, 0.5}, {"constant", 0, 3, 2}, {"constant", 0, 99, 2},
		{"cosine", 0, 1, 1}, {"cosine", 0, 4, 2}, {"cosine", 0, 52, 1.1}, {"cosine", 0, 100, 0.2},
		{"wsd", 9, 3, 2}, {"wsd", 9, 90, 2}, {"wsd", 9, 91, 1.82}, {"wsd", 9, 99, 0.38}, {"wsd", 9, 100, 0.2},
	} {
		o := base
		o.Schedule, o.Decay = tc.schedule, tc.decay
		if got := o.RateAt(tc.step, 100); math.Abs(got-tc.want) > 1e-12 {
			t.Errorf("%s, step %d: %v, want %v", tc.schedule, tc.step, got, tc.want)
		}
	}
	zero := OptimiserConfig{Rate: 1, Schedule: "cosine"}
	if got := zero.RateAt(0, 1); got != 1 {
		t.Errorf("a run of one step: %v", got)
	}
}

// Norms, biases and A never decay, embeddings if they are told to; patterns freeze, and groups have their own way.
func TestTreatment(t *testing.T) {
	o := Default().Optimiser
	none := 0.0
	o.Freeze = []string{"*.layers.0.*"}
	o.Groups = []GroupConfig{{Match: "*.delta.*", Rate: 10, WeightDecay: &none}, {Match: "*", Rate: 2}}
	for _, tc := range []struct {
		name string
		role role
		want treatment
	}{
		{"model.layers.1.mlp.up_proj.weight", roleMatrix, treatment{true, true, true, 2, 0.1}},
		{"model.layers.0.mlp.up_proj.weight", roleMatrix, treatment{works: true}},
		{"model.layers.0.input_layernorm.weight", roleNorm, treatment{grads: true}},
		{"model.layers.1.input_layernorm.weight", roleNorm, treatment{true, true, false, 2, 0}},
		{"model.layers.1.self_attn.delta.weight", roleDelta, treatment{true, true, false, 10, 0}},
		{"model.layers.1.self_attn.A", roleA, treatment{true, true, false, 2, 0}},
		{"model.embed_tokens.weight", roleTable, treatment{true, true, true, 2, 0}},
	} {
		if got := o.treat(&Parameter{Name: tc.name, role: tc.role}); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

// Whatever a file says, it is refused or is a config whose numbers are within their limits.
func FuzzParse(f *testing.F) {
	f.Add(runConfig("x", ""))
	f.Add("out = 'x'\n[[stage]]\nsteps = 1073741825\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("fuzz", []byte(text))
		switch {
		case err != nil && !errors.Is(err, ErrConfig):
			t.Errorf("another error: %v", err)
		case err == nil && (c.Steps() < 1 || c.Steps() > maxSteps || c.Context() > c.Batch.Rows || c.Stage(c.Steps()) != len(c.Stages)-1):
			t.Errorf("%+v", c)
		}
		if err != nil {
			return
		}
		_, _, _ = c.Shape(nil, 0) // refused or not: no panic
	})
}
