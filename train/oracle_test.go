package train

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nosa/compute"
)

// oracle is what scripts/oracles/train_models.py has written of a tiny model: its first loss and gradient, and 200 steps
// of AdamW, by PyTorch in float64.
type oracle struct {
	floats map[string][]float64
	ids    [][]int32 // of each batch
	goals  [][]int32
	begins []int32
}

// oracleConfig has the script's OPTIMISER.
const oracleConfig = `out = %q
[model]
path = %q
[batch]
tokens = %d
rows = %d
head_rows = 50
[optimiser]
rate = 1e-3
schedule = "constant"
beta1 = 0.9
beta2 = 0.95
eps = 1e-8
weight_decay = 0.1
clip = 1.0
[[stage]]
steps = %d
method = %q
context = %d
`

func readOracle(t *testing.T, path string) oracle {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(data)
	var header map[string]json.RawMessage
	if err := json.Unmarshal(data[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	o := oracle{floats: map[string][]float64{}}
	for name, raw := range header {
		var e struct {
			Dtype   string `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets [2]int `json:"data_offsets"`
		}
		if name == "__metadata__" {
			continue
		}
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		b := data[8+int(n)+e.Offsets[0] : 8+int(n)+e.Offsets[1]]
		var ints []int32
		switch e.Dtype {
		case "F32":
			for i := 0; i < len(b); i += 4 {
				o.floats[name] = append(o.floats[name], float64(math.Float32frombits(binary.LittleEndian.Uint32(b[i:]))))
			}
		case "F64":
			for i := 0; i < len(b); i += 8 {
				o.floats[name] = append(o.floats[name], math.Float64frombits(binary.LittleEndian.Uint64(b[i:])))
			}
		case "I32":
			for i := 0; i < len(b); i += 4 {
				ints = append(ints, int32(binary.LittleEndian.Uint32(b[i:])))
			}
		}
		switch name {
		case "ids":
			o.ids = slices.Collect(slices.Chunk(ints, e.Shape[1]))
		case "targets":
			o.goals = slices.Collect(slices.Chunk(ints, e.Shape[1]))
		case "begins":
			o.begins = ints
		}
	}
	return o
}

// Next makes an oracle a Source, which gives its batches again and again.
func (o *oracleSource) Next(int, int) (Rows, error) {
	b := o.at % len(o.of.ids)
	o.at++
	return Rows{IDs: o.of.ids[b], Targets: o.of.goals[b], Begins: o.of.begins}, nil
}

type oracleSource struct {
	of oracle
	at int
}

func (o *oracleSource) State() ([]byte, error)     { return json.Marshal(o.at) }
func (o *oracleSource) Restore(state []byte) error { return json.Unmarshal(state, &o.at) }

// The gradients of whole tiny models are those of PyTorch's autograd, and 200 steps from the same start have its losses
// (the bars: 1e-4 and 1e-3).
func TestOracles(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*/golden.safetensors")
	if err != nil || len(dirs) != 4 {
		t.Fatalf("%d folders, %v", len(dirs), err)
	}
	for _, dev := range trainers(t) {
		for _, path := range dirs {
			dir := filepath.Dir(path)
			t.Run(dev.Name()+"/"+filepath.Base(dir), func(t *testing.T) {
				o := readOracle(t, path)
				longest := 0
				for i, end := range o.begins[1:] {
					longest = max(longest, int(end-o.begins[i]))
				}
				n := len(o.ids[0])
				steps := len(o.floats["losses"])
				if dev.Name() == "reference" {
					steps = 10 // it is slow
				}
				text := fmt.Sprintf(oracleConfig, t.TempDir(), dir, n, n, steps, filepath.Base(dir), longest)
				job := jobOf(t, text)
				job.Devices, job.Train, job.Heldout = []compute.Trainer{dev}, &oracleSource{of: o}, nil
				var losses, norms []float64
				job.Report = func(r Record) { losses, norms = append(losses, r.Loss), append(norms, r.Norm) }
				r := mustOpen(t, job)
				defer r.Close()
				compareGradients(t, r, o)
				if err := r.Do(context.Background()); err != nil {
					t.Fatal(err)
				}
				compareCurves(t, losses, norms, o)
			})
		}
	}
}

// compareGradients computes the first batch, of which the relative error of each tensor's gradient is bounded.
func compareGradients(t *testing.T, r *Run, o oracle) {
	t.Helper()
	if err := r.enter(0); err != nil {
		t.Fatal(err)
	}
	losses, err := r.replicas[0].decoder.Pass(Rows{IDs: o.ids[0], Targets: o.goals[0], Begins: o.begins})
	if err != nil {
		t.Fatal(err)
	}
	targets := 0.0
	for _, g := range o.goals[0] {
		if g >= 0 {
			targets++
		}
	}
	if got, want := total(losses)/targets, o.floats["loss"][0]; !(math.Abs(got-want) <= 1e-5*want) {
		t.Errorf("loss %v, want %v", got, want)
	}
	compared, worst := 0, 0.0
	for name, want := range o.floats {
		name, ok := strings.CutPrefix(name, "grad.")
		if !ok {
			continue
		}
		got, err := r.params.ReadGrad(name)
		if err != nil {
			t.Fatal(err)
		}
		var diff, norm float64
		for i, w := range want {
			d := float64(got[i])/targets - w
			diff, norm = diff+d*d, norm+w*w
		}
		relative := math.Sqrt(diff / norm)
		if !(relative <= 1e-4) {
			t.Errorf("%s: relative error %.1e of the gradient", name, relative)
		}
		compared, worst = compared+1, max(worst, relative)
	}
	if compared != len(r.params.list) {
		t.Errorf("%d gradients compared, the model has %d tensors", compared, len(r.params.list))
	}
	t.Logf("largest relative error of %d gradients: %.1e", compared, worst)
}

func compareCurves(t *testing.T, losses, norms []float64, o oracle) {
	t.Helper()
	worst := 0.0
	for i, got := range losses {
		want := o.floats["losses"][i]
		d := math.Abs(got - want)
		if !(d <= 1e-3) {
			t.Errorf("step %d: loss %v, want %v", i+1, got, want)
			break
		}
		worst = max(worst, d)
	}
	if d := math.Abs(norms[0] - o.floats["norms"][0]); !(d <= 1e-4*norms[0]) {
		t.Errorf("norm of the first gradient %v, want %v", norms[0], o.floats["norms"][0])
	}
	t.Logf("largest difference of a loss in %d steps: %.1e", len(losses), worst)
}
